r"""Vector fields with gradients: what drift and diffusion of a differential equation are made of.

A field is a function of time t and state y, of shape (..., channels); all axes but the last are a
batch. It has

- ``field(t, y)``, the value, which keeps nothing;
- ``field.forward(t, y)``, the value and the residuals;
- ``field.backward(residuals, grad)``, the gradients ``(grad_y, grad_parameters)`` of what `grad` is
  the gradient with respect to the value of;
- ``field.parameters``, a tuple of arrays. ``grad_parameters`` is such a tuple, too;
- ``field.with_parameters(parameters)``, the same field with others: fields are never modified.

States have the type of the parameters, float32 or float64, and are of the same library, NumPy or
CuPy; integers are converted. Times are numbers.

`Linear`, `MLP`, `Activation`, `Scale`, `Constant`, `ConcatenateTime` and `Reshape` are such fields,
and `Sequential` composes them. Anything with these methods is a field: so is an own class, and
`pysig.wrap.torch.Field` and `pysig.wrap.jax.Field` make fields of modules and functions.

Examples
--------
Diffusion with general noise of two channels for a state of three, its rows bounded by tanh:

>>> import numpy as np
>>> from pysig.sde import fields
>>> diffusion = fields.Sequential(
...     fields.MLP((3, 8, 6), final="tanh", seed=7), fields.Reshape((3, 2))
... )
>>> y = np.zeros((5, 3))
>>> value, residuals = diffusion.forward(0.5, y)
>>> value.shape
(5, 3, 2)
>>> grad_y, grad_parameters = diffusion.backward(residuals, value)
>>> grad_y.shape, [grad.shape for grad in grad_parameters]
((5, 3), [(8, 4), (8,), (6, 8), (6,)])
"""

import copy
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from pysig._core.array import (
    FLOAT32,
    FLOAT64,
    Array,
    boolean,
    device_of,
    integer,
    is_cupy,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig._core.sde import layers as kernels
from pysig.sde.activations import (
    activate,
    activate_backward,
    activation,
    activation_backward,
    activation_forward,
    checked_gradient,
    kind_of,
    rows_of,
)

__all__ = [
    "MLP",
    "Activation",
    "ConcatenateTime",
    "Constant",
    "Field",
    "Linear",
    "MLPResiduals",
    "Reshape",
    "Scale",
    "Sequential",
    "StateResiduals",
    "clip_weights",
    "flatten_parameters",
    "unflatten_parameters",
]


class Field:
    """
    What all fields of this module share; subclasses add ``forward`` and ``backward``.

    Attributes
    ----------
    parameters : tuple of array
    is_weight : tuple of bool
        For each parameter, whether it is the matrix of a linear map: `clip_weights`.
    """

    parameters: tuple[Array, ...] = ()
    is_weight: tuple[bool, ...] = ()

    def __call__(self, t, y):
        """Return the value at time `t` and state `y`."""
        return self.forward(t, y)[0]

    def _operations(self, inputs):
        """
        Return what the field does to states of so many channels, or None if nothing compiled does.

        It is a list of ``(name, inputs, outputs, ...)``, with what `Trajectory` in
        ``pysig/_core/sde/trajectory.pyx`` takes.
        """
        return None

    def forward(self, t, y) -> tuple[Array, Any]:
        """Return the value at time `t` and state `y`, and the residuals."""
        raise NotImplementedError

    def backward(self, residuals, grad) -> tuple[Array, tuple[Array, ...]]:
        """Return the gradients with respect to the state, and to each of the parameters."""
        raise NotImplementedError

    def with_parameters(self, parameters):
        """
        Return the field with other parameters.

        Parameters
        ----------
        parameters : sequence of array
            In the order and of the shapes of `parameters`; all of one type and library, which the
            states will have to have.

        Returns
        -------
        Field
            Of the same class.

        Raises
        ------
        ValueError
            If there is another number of them, or one has another shape.
        TypeError
            If they are not of one type and library.
        """
        field = copy.copy(self)
        field.parameters = checked_parameters(parameters, self.parameters)
        return field


def checked_parameters(parameters, old):
    """Return parameters that can take the place of the old ones."""
    parameters = tuple(parameters)
    if len(parameters) != len(old):
        raise ValueError(f"parameters must be {len(old)} arrays, not {len(parameters)}")
    names = [f"parameters[{i}]" for i in range(len(old))]
    arrays = arrays_of_one_type(dict(zip(names, parameters, strict=True)))
    for name, array, before in zip(names, arrays, old, strict=True):
        if array.shape != before.shape:
            raise ValueError(f"{name} must have the shape {before.shape}, not {array.shape}")
    return arrays


def arrays_of_one_type(named):
    """Return arrays of one library and type: that of the first that is not of integers."""
    namespace(**named)
    dtypes = [getattr(value, "dtype", None) for value in named.values()]
    dtype = next((dtype for dtype in dtypes if dtype in (FLOAT32, FLOAT64)), FLOAT64)
    return tuple(real_array(value, name, dtype) for name, value in named.items())


def checked_state(y, channels, like=None):
    """Return the state, which has so many channels, or any number if that is None."""
    if like is None:
        y = real_array(y, "y")
    else:
        namespace(y=y, parameters=like)
        y = real_array(y, "y", like.dtype)
    if not y.ndim or (channels is not None and y.shape[-1] != channels):
        wanted = "channels" if channels is None else channels
        raise ValueError(f"y must have the shape (..., {wanted}), not {y.shape}")
    return y


def checked_time(t):
    """Return the time as a float."""
    try:
        return float(t)
    except (TypeError, ValueError):
        raise TypeError(f"t must be a number, not {type(t).__name__}") from None


class StateResiduals(NamedTuple):
    """What ``backward`` of all fields but `MLP`, `Activation` and `Sequential` needs."""

    y: Array


class Linear(Field):
    """
    The field A y + b.

    Parameters
    ----------
    matrix : array, shape (outputs, inputs)
        A; float32 or float64, integers become float64.
    bias : array, shape (outputs,), optional
        b, of the same type.

    Raises
    ------
    ValueError
        If a shape is wrong.
    TypeError
        If the arrays are not of one type and library.

    Examples
    --------
    >>> from pysig.sde import fields
    >>> field = fields.Linear([[0.0, 1.0], [-1.0, 0.0]], bias=[0.5, 0.0])
    >>> value, residuals = field.forward(0.0, [2.0, 3.0])
    >>> value
    array([ 3.5, -2. ])
    >>> field.backward(residuals, [1.0, 0.0])
    (array([0., 1.]), (array([[2., 3.], [0., 0.]]), array([1., 0.])))
    """

    def __init__(self, matrix, bias=None):
        if bias is None:
            self.parameters = arrays_of_one_type({"matrix": matrix})
        else:
            self.parameters = arrays_of_one_type({"matrix": matrix, "bias": bias})
        shape = self.parameters[0].shape
        if len(shape) != 2 or not all(shape):
            raise ValueError(f"matrix must have the shape (outputs, inputs), not {shape}")
        if bias is not None and self.parameters[1].shape != shape[:1]:
            raise ValueError(
                f"bias must have the shape {shape[:1]}, not {self.parameters[1].shape}"
            )
        self.is_weight = (True, False)[: len(self.parameters)]

    def _operations(self, inputs):
        matrix, *bias = self.parameters
        if inputs != matrix.shape[1]:
            return None
        return [("layer", inputs, len(matrix), NO_ACTIVATION, matrix, bias[0] if bias else None)]

    def forward(self, t, y):
        """Return the value, of shape (..., outputs), and the residuals."""
        matrix, *bias = self.parameters
        y = checked_state(y, matrix.shape[1], matrix)
        with device_of(y):
            value, _ = layer_forward(
                None, 0.0, rows_of(y), matrix, bias[0] if bias else None, False
            )
        return value.reshape(*y.shape[:-1], len(matrix)), StateResiduals(y)

    def backward(self, residuals, grad):
        """Return the gradients with respect to y, and (matrix, bias)."""
        matrix, y = self.parameters[0], residuals.y
        grad = rows_of(checked_gradient(grad, (*y.shape[:-1], len(matrix)), y))
        with device_of(y):
            grad_y, *gradients = layer_backward(0.0, rows_of(y), matrix, None, grad)
            return grad_y.reshape(y.shape), tuple(gradients[: len(self.parameters)])


class MLPResiduals(NamedTuple):
    """What `MLP.backward` needs."""

    inputs: tuple[Array, ...]  # of each layer
    derivatives: tuple[Array | None, ...]  # of its activation, None where it has none
    t: float
    shape: tuple[int, ...]  # of y


class MLP(Field):
    r"""
    A multilayer perceptron of time and state, or of the state alone.

    A layer is :math:`x \mapsto \phi(W x + b)`, with the activation function φ.

    Parameters
    ----------
    sizes : sequence of int
        Channels of the state, of each hidden layer, and of the value; at least two.
    activation : {"lipswish", "sigmoid", "silu", "softplus", "tanh"}
        That of the hidden layers; see `pysig.sde.activations`.
    final : str, optional
        That of the last layer, which has none by default.
    with_time : bool
        Whether the first layer sees (t, y), or y.
    seed : int, sequence of int or numpy.random.Generator, optional
        What the initial weights and biases of a layer come from: they are uniform up to
        1 / √inputs, where t is one of the inputs.
    dtype : dtype
        float32 or float64.
    like : array, optional
        An array of the library, and on the device, that the parameters are to be of.

    Attributes
    ----------
    parameters : tuple of array
        W: (outputs, inputs) and b: (outputs,) of each layer. The first column of the first W is
        for t.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If an argument has the wrong type.

    Notes
    -----
    The residuals are two arrays for each layer, its input and the derivative of its activation.

    Examples
    --------
    >>> from pysig.sde import fields
    >>> field = fields.MLP((2, 16, 2), "silu", seed=1, dtype="float32")
    >>> [parameter.shape for parameter in field.parameters]
    [(16, 3), (16,), (2, 16), (2,)]
    >>> import numpy as np
    >>> field(0.0, np.ones((4, 5, 2), np.float32)).shape
    (4, 5, 2)
    """

    def __init__(
        self,
        sizes,
        activation="lipswish",
        final=None,
        *,
        with_time=True,
        seed=None,
        dtype: Any = np.float64,
        like=None,
    ):
        sizes = checked_sizes(sizes, "sizes", 2)
        self.with_time = boolean(with_time, "with_time")
        hidden = kind_of(activation, "activation")
        last = None if final is None else kind_of(final, "final")
        self.kinds = (*[hidden] * (len(sizes) - 2), last)
        dtype = np.dtype(dtype)
        if dtype not in (FLOAT32, FLOAT64):
            raise TypeError(f"dtype must be float32 or float64, not {dtype}")
        self.parameters = initial_parameters(
            (sizes[0] + self.with_time, *sizes[1:]), np.random.default_rng(seed), dtype, like
        )
        self.is_weight = (True, False) * len(self.kinds)

    def _operations(self, inputs):
        if inputs + self.with_time != self.parameters[0].shape[1]:
            return None
        operations = []
        for number, kind in enumerate(self.kinds):
            weight, bias = self.parameters[2 * number : 2 * number + 2]
            kind = NO_ACTIVATION if kind is None else kind
            operations.append(("layer", inputs, len(weight), kind, weight, bias))
            inputs = len(weight)
        return operations

    def __call__(self, t, y):
        """Return the value, of shape (..., outputs), at time `t` and state `y`."""
        return self._evaluate(t, y, False)[0]

    def forward(self, t, y):
        """Return the value, of shape (..., outputs), and the residuals."""
        return self._evaluate(t, y, True)

    def _evaluate(self, t, y, keep):
        first = self.parameters[0]
        t = checked_time(t) if self.with_time else 0.0
        y = checked_state(y, first.shape[1] - self.with_time, first)
        inputs, derivatives = [], []
        with device_of(y):
            x = rows_of(y)
            for number, kind in enumerate(self.kinds):
                inputs.append(x)
                weight, bias = self.parameters[2 * number : 2 * number + 2]
                x, derivative = layer_forward(kind, t, x, weight, bias, keep)
                derivatives.append(derivative)
        residuals = MLPResiduals(tuple(inputs), tuple(derivatives), t, y.shape) if keep else None
        return x.reshape(*y.shape[:-1], x.shape[1]), residuals

    def backward(self, residuals, grad):
        """Return the gradients with respect to y and the parameters."""
        inputs, derivatives, t, shape = residuals
        outputs = len(self.parameters[-1])
        grad = rows_of(checked_gradient(grad, (*shape[:-1], outputs), inputs[0]))
        gradients = []
        with device_of(grad):
            for number in reversed(range(len(inputs))):
                weight = self.parameters[2 * number]
                grad, grad_weight, grad_bias = layer_backward(
                    t, inputs[number], weight, derivatives[number], grad
                )
                gradients[:0] = (grad_weight, grad_bias)
        return grad.reshape(shape), tuple(gradients)


# With more numbers, weights do not stay in the cache, and NumPy's products of matrices are faster;
# with few rows, they are faster because the kernel copies the weight first.
LARGEST_WEIGHT, LARGEST_FOR_A_ROW = 1 << 18, 1 << 12
NO_ACTIVATION = kernels.NO_ACTIVATION


def has_kernel(x, weight):
    """Return whether the layer is computed by the kernel; otherwise its products are NumPy's."""
    largest = min(LARGEST_WEIGHT, LARGEST_FOR_A_ROW * len(x))
    return isinstance(x, np.ndarray) and 0 < weight.size <= largest


def layer_forward(kind, t, x, weight, bias, keep):
    """
    Return the value of a layer, and the derivative of its activation if it is to be kept.

    If the weight has one more column than x, the first one is for t. The bias may be None.
    """
    if has_kernel(x, weight):
        value = np.empty((len(x), len(weight)), x.dtype)
        derivative = np.empty_like(value) if keep and kind is not None else None
        number = NO_ACTIVATION if kind is None else kind
        kernels.forward(x.dtype == FLOAT64, number, t, x, weight, bias, value, derivative)
        return value, derivative
    if weight.shape[1] > x.shape[1]:
        weight, bias = weight[:, 1:], bias + t * weight[:, 0]
    value, derivative = x @ weight.T, None
    if kind is not None:
        derivative = namespace_of(x).empty_like(value) if keep else None
        activate(kind, value, bias, value, derivative)
    elif bias is not None:
        value += bias
    return value, derivative


def layer_backward(t, x, weight, derivative, grad):
    """Return the gradients of a layer with respect to x, weight and bias."""
    if has_kernel(x, weight):
        of_x, of_weight = np.empty_like(x), np.empty(weight.shape, x.dtype)
        of_bias = np.empty(len(weight), x.dtype)
        is_double = x.dtype == FLOAT64
        kernels.backward(is_double, t, x, weight, derivative, grad, of_weight, of_bias, of_x)
        return of_x, of_weight, of_bias
    if derivative is None:
        grad_bias = grad.sum(axis=0)
    else:
        grad, grad_bias = activate_backward(derivative, grad)
    if weight.shape[1] == x.shape[1]:
        return grad @ weight, grad.T @ x, grad_bias
    grad_weight = namespace_of(x).empty_like(weight)
    grad_weight[:, 0] = t * grad_bias
    grad_weight[:, 1:] = grad.T @ x
    return grad @ weight[:, 1:], grad_weight, grad_bias


def checked_sizes(sizes, name, fewest):
    """Return numbers of channels as a tuple of int."""
    try:
        values = tuple(sizes)
    except TypeError:
        raise TypeError(f"{name} must be integers, not {type(sizes).__name__}") from None
    if len(values) < fewest:
        raise ValueError(f"{name} must be at least {fewest} integers, not {values}")
    return tuple(integer(value, name, 1, 1 << 31) for value in values)


def initial_parameters(sizes, generator, dtype, like):
    """Return random weights and biases of layers of these sizes."""
    arrays = []
    for inputs, outputs in itertools.pairwise(sizes):
        bound = 1 / math.sqrt(inputs)
        for shape in ((outputs, inputs), (outputs,)):
            arrays.append(generator.uniform(-bound, bound, shape).astype(dtype))
    if is_cupy(like):
        xp = namespace(like=like)
        with like.device:
            arrays = [xp.asarray(array) for array in arrays]
    elif like is not None and not isinstance(like, np.ndarray):
        raise TypeError(f"like must be a NumPy or CuPy array, not {type(like).__name__}")
    return tuple(arrays)


class Activation(Field):
    """
    An activation function of each number of the state.

    Parameters
    ----------
    name : {"lipswish", "sigmoid", "silu", "softplus", "tanh"}
        The function; see `pysig.sde.activations`.

    Raises
    ------
    ValueError
        If there is no such function.

    Examples
    --------
    >>> from pysig.sde import fields
    >>> fields.Activation("tanh")(0.0, [0.0, 1.0])
    array([0.        , 0.76159416])
    """

    def __init__(self, name):
        kind_of(name, "name")
        self.name = name

    def _operations(self, inputs):
        return [("activation", inputs, inputs, kind_of(self.name, "name"))]

    def __call__(self, t, y):
        """Return the value, of the shape of y."""
        return activation(checked_state(y, None), self.name)

    def forward(self, t, y):
        """Return the value, of the shape of y, and the residuals."""
        return activation_forward(checked_state(y, None), self.name)

    def backward(self, residuals, grad):
        """Return the gradient with respect to y; there are no parameters."""
        return activation_backward(residuals, grad).x, ()


class Scale(Field):
    """
    The state times a number, or each channel times a number of its own.

    That is the diffusion of geometric Brownian motion; after another field it scales that.

    Parameters
    ----------
    factor : float or array, shape (channels,)
        float32 or float64; integers become float64.

    Raises
    ------
    ValueError
        If `factor` has more than one axis.

    Examples
    --------
    >>> from pysig.sde import fields
    >>> field = fields.Scale([0.5, 2.0])
    >>> value, residuals = field.forward(0.0, [[1.0, 3.0], [2.0, 4.0]])
    >>> field.backward(residuals, value)
    (array([[ 0.25, 12.  ], [ 0.5 , 16.  ]]), (array([ 2.5, 50. ]),))
    """

    def __init__(self, factor):
        factor = real_array(factor, "factor")
        if factor.ndim > 1 or factor.size == 0:
            raise ValueError(f"factor must have the shape () or (channels,), not {factor.shape}")
        self.parameters = (factor,)
        self.is_weight = (False,)

    def _operations(self, inputs):
        (factor,) = self.parameters
        return [("scale", inputs, inputs, factor)] if factor.shape in ((), (inputs,)) else None

    def forward(self, t, y):
        """Return the value, of the shape of y, and the residuals."""
        (factor,) = self.parameters
        y = checked_state(y, len(factor) if factor.ndim else None, factor)
        with device_of(y):
            return y * factor, StateResiduals(y)

    def backward(self, residuals, grad):
        """Return the gradients with respect to y, and the factor."""
        (factor,), (y,) = self.parameters, residuals
        grad = checked_gradient(grad, y.shape, y)
        with device_of(y):
            total = sum_to_shape(grad * y, factor.shape)
            return grad * factor, (namespace_of(y).asarray(total),)


class Constant(Field):
    """
    A field that does not depend on time and state, as the diffusion with additive noise.

    Parameters
    ----------
    value : array, of any shape
        What it is for each state; float32 or float64, integers become float64.

    Examples
    --------
    >>> import numpy as np
    >>> from pysig.sde import fields
    >>> fields.Constant(np.eye(3, 2))(0.0, np.zeros((5, 3))).shape
    (5, 3, 2)
    """

    def __init__(self, value):
        self.parameters = (real_array(value, "value"),)
        self.is_weight = (False,)

    def _operations(self, inputs):
        (value,) = self.parameters
        return [("constant", inputs, value.size, value)]

    def forward(self, t, y):
        """Return the value, of shape (..., *value.shape), and the residuals."""
        (constant,) = self.parameters
        y = checked_state(y, None, constant)
        with device_of(y):
            value = namespace_of(y).empty((*y.shape[:-1], *constant.shape), y.dtype)
            value[...] = constant
        return value, StateResiduals(y)

    def backward(self, residuals, grad):
        """Return the gradients with respect to y, which is 0, and the value."""
        (constant,), (y,) = self.parameters, residuals
        grad = checked_gradient(grad, (*y.shape[:-1], *constant.shape), y)
        xp = namespace_of(y)
        with device_of(y):
            total = grad.sum(axis=tuple(range(y.ndim - 1)))
            return xp.zeros_like(y), (xp.asarray(total),)


class ConcatenateTime(Field):
    """
    The state with the time in front, (t, y), for fields after it that depend on time.

    Examples
    --------
    >>> from pysig.sde import fields
    >>> fields.ConcatenateTime()(0.5, [[1.0, 2.0], [3.0, 4.0]])
    array([[0.5, 1. , 2. ],
           [0.5, 3. , 4. ]])
    """

    def forward(self, t, y):
        """Return the value, of shape (..., 1 + channels), and the residuals."""
        y = checked_state(y, None)
        with device_of(y):
            value = namespace_of(y).empty((*y.shape[:-1], 1 + y.shape[-1]), y.dtype)
            value[..., 0] = checked_time(t)
            value[..., 1:] = y
        return value, StateResiduals(y)

    def backward(self, residuals, grad):
        """Return the gradient with respect to y; there are no parameters."""
        (y,) = residuals
        grad = checked_gradient(grad, (*y.shape[:-1], 1 + y.shape[-1]), y)
        with device_of(y):
            return namespace_of(y).ascontiguousarray(grad[..., 1:]), ()


class Reshape(Field):
    """
    The channels of the state as an array, such as a matrix for general noise.

    Parameters
    ----------
    shape : sequence of int
        What becomes of the last axis.

    Notes
    -----
    The value is a view of the state.

    Examples
    --------
    >>> import numpy as np
    >>> from pysig.sde import fields
    >>> fields.Reshape((2, 3))(0.0, np.zeros((4, 6))).shape
    (4, 2, 3)
    """

    def __init__(self, shape):
        self.shape = checked_sizes(shape, "shape", 1)

    def _operations(self, inputs):
        return [] if inputs == math.prod(self.shape) else None

    def forward(self, t, y):
        """Return the value, of shape (..., *shape), and the residuals."""
        y = checked_state(y, math.prod(self.shape))
        return y.reshape(*y.shape[:-1], *self.shape), StateResiduals(y)

    def backward(self, residuals, grad):
        """Return the gradient with respect to y; there are no parameters."""
        (y,) = residuals
        return checked_gradient(grad, (*y.shape[:-1], *self.shape), y).reshape(y.shape), ()


class Composite:
    """
    What has the parameters of several fields.

    Attributes
    ----------
    fields : tuple of Field
    """

    fields: tuple[Any, ...] = ()

    @property
    def parameters(self) -> tuple[Array, ...]:
        """The parameters of all fields."""
        return tuple(parameter for field in self.fields for parameter in field.parameters)

    @property
    def is_weight(self) -> tuple[bool, ...]:
        """For each parameter, whether it is the matrix of a linear map."""
        return tuple(flag for field in self.fields for flag in field.is_weight)

    def with_parameters(self, parameters):
        """Return the same with other parameters; see `Field.with_parameters`."""
        parameters = checked_parameters(parameters, self.parameters)
        fields, begin = [], 0
        for field in self.fields:
            end = begin + len(field.parameters)
            fields.append(field.with_parameters(parameters[begin:end]) if end > begin else field)
            begin = end
        composite = copy.copy(self)
        composite.fields = tuple(fields)
        return composite


class Sequential(Composite, Field):
    """
    Fields one after the other: each has the value of the one before as its state.

    All of them have the same time.

    Parameters
    ----------
    *fields : Field
        At least one.

    Attributes
    ----------
    parameters : tuple of array
        Those of all fields.

    Raises
    ------
    ValueError
        If there are no fields.
    TypeError
        If something is not a field.

    Examples
    --------
    >>> from pysig.sde import fields
    >>> field = fields.Sequential(fields.Scale(2.0), fields.Activation("tanh"), fields.Scale(3.0))
    >>> field(0.0, [0.5])
    array([2.28478247])
    >>> field.parameters
    (array(2.), array(3.))
    """

    def __init__(self, *fields):
        if not fields:
            raise ValueError("fields must be at least one field")
        for number, field in enumerate(fields):
            if not all(hasattr(field, name) for name in ("forward", "backward", "parameters")):
                raise TypeError(
                    f"fields[{number}] must have forward, backward and parameters, which a "
                    f"{type(field).__name__} has not"
                )
        self.fields = fields

    def _operations(self, inputs):
        operations = []
        for field in self.fields:
            some = operations_of(field, inputs)
            if some is None:
                return None
            operations += some
            inputs = some[-1][2] if some else inputs
        return operations

    def __call__(self, t, y):
        """Return the value of the last field."""
        for field in self.fields:
            y = field(t, y)
        return y

    def forward(self, t, y):
        """Return the value of the last field, and the residuals of all."""
        residuals = []
        for field in self.fields:
            y, kept = field.forward(t, y)
            residuals.append(kept)
        return y, tuple(residuals)

    def backward(self, residuals, grad):
        """Return the gradients with respect to y, and the parameters of all fields."""
        gradients = []
        for field, kept in zip(reversed(self.fields), reversed(residuals), strict=True):
            grad, grad_parameters = field.backward(kept, grad)
            gradients[:0] = grad_parameters
        return grad, tuple(gradients)


def operations_of(field, inputs):
    """Return the operations of a field, if it is one of those here, and not of a subclass."""
    return field._operations(inputs) if type(field) in BUILT_IN else None


BUILT_IN = (Linear, MLP, Activation, Scale, Constant, Reshape, Sequential)


def flatten_parameters(parameters):
    """
    Return all parameters of a field, or their gradients, as one vector.

    Parameters
    ----------
    parameters : Field or sequence of array
        A field, or what ``parameters`` and ``backward`` of one give.

    Returns
    -------
    array, shape (sum of the sizes,)
        A copy, with one parameter after the other in C order.

    See Also
    --------
    unflatten_parameters

    Examples
    --------
    Fit the rotation that has moved some points, by ``scipy.optimize``:

    >>> import numpy as np
    >>> import scipy.optimize
    >>> from pysig.sde import fields
    >>> points = np.random.default_rng(0).normal(size=(20, 2))
    >>> start = fields.Linear(np.eye(2))
    >>> def loss(vector):
    ...     field = fields.unflatten_parameters(start, vector)
    ...     value, residuals = field.forward(0.0, points)
    ...     error = value - points @ [[0.0, 1.0], [-1.0, 0.0]]
    ...     _, gradients = field.backward(residuals, 2 * error)
    ...     return (error**2).sum(), fields.flatten_parameters(gradients)
    >>> best = scipy.optimize.minimize(loss, fields.flatten_parameters(start), jac=True)
    >>> fields.unflatten_parameters(start, best.x).parameters[0].round(4) + 0.0
    array([[ 0., -1.],
           [ 1.,  0.]])
    """
    arrays = getattr(parameters, "parameters", parameters)
    if not arrays:
        return np.empty(0)
    xp = namespace(**{f"parameters[{i}]": array for i, array in enumerate(arrays)})
    with device_of(arrays[0]):
        return xp.concatenate([array.ravel() for array in arrays])


def unflatten_parameters(field, vector):
    """
    Return a field with the parameters that a vector consists of.

    Parameters
    ----------
    field : Field
        It is not changed.
    vector : array
        What `flatten_parameters` gives.

    Returns
    -------
    Field
        Its parameters are views of the vector, of its type.

    Raises
    ------
    ValueError
        If the vector has the wrong length.

    See Also
    --------
    flatten_parameters

    Examples
    --------
    >>> from pysig.sde import fields
    >>> field = fields.unflatten_parameters(fields.Linear([[1.0, 2.0]], [0.0]), [3.0, 4.0, 5.0])
    >>> field.parameters
    (array([[3., 4.]]), array([5.]))
    """
    vector = real_array(vector, "vector")
    sizes = [parameter.size for parameter in field.parameters]
    if vector.shape != (sum(sizes),):
        raise ValueError(f"vector must have the shape ({sum(sizes)},), not {vector.shape}")
    arrays, begin = [], 0
    for parameter in field.parameters:
        arrays.append(vector[begin : begin + parameter.size].reshape(parameter.shape))
        begin += parameter.size
    return field.with_parameters(arrays)


def clip_weights(field):
    """
    Return a field whose linear maps have weights of at most 1 / inputs in absolute value.

    So that no linear map, nor a composition of them with lipswish, has a Lipschitz constant above
    1 for the largest absolute value: what makes the discriminator of an SDE-GAN Lipschitz (Kidger,
    Foster, Li and Lyons, "Efficient and Accurate Gradients for Neural SDEs", NeurIPS 2021, section
    5). It is called after each step of the optimiser.

    Parameters
    ----------
    field : Field
        It is not changed. Weights are the matrices of `Linear` and `MLP`, also in a `Sequential`.

    Returns
    -------
    Field
        Of the same class.

    Raises
    ------
    TypeError
        If `field` does not say which of its parameters are weights.

    Examples
    --------
    >>> from pysig.sde import fields
    >>> fields.clip_weights(fields.Linear([[3.0, 0.1], [-0.7, 0.4]], [3.0, 3.0])).parameters
    (array([[ 0.5,  0.1], [-0.5,  0.4]]), array([3., 3.]))
    """
    if not hasattr(field, "is_weight"):
        raise TypeError(f"field must have is_weight, which a {type(field).__name__} has not")
    clipped = []
    for parameter, is_weight in zip(field.parameters, field.is_weight, strict=True):
        if is_weight:
            bound = 1 / parameter.shape[1]
            with device_of(parameter):
                parameter = parameter.clip(-bound, bound)
        clipped.append(parameter)
    return field.with_parameters(clipped)
