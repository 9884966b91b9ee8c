"""Every name and parameter of the double, and every name that the library uses, is CuPy's.

CuPy is asked in a process of its own, for which it must be installed; a GPU is not needed. It is
the CuPy of this interpreter, or of the one that PYSIG_CUPY_PYTHON names. Without any the tests are
skipped, or fail if PYSIG_REQUIRE_CUPY is set.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
INTERPRETER = os.environ.get("PYSIG_CUPY_PYTHON", sys.executable)

# Names of the double that are about the double.
OWN = {"is_double"}
# Parameters that CuPy passes on, so that its own signature does not show them.
PASSED_ON = {"RawKernel.__call__": {"shared_mem"}}

# Prints, for each dotted name that it reads, null if CuPy has it not, else its signature as a text,
# which is empty if it has none.
SCRIPT = """
import inspect, json, sys
import cupy

def signature(value):
    try:
        return "f" + str(inspect.signature(value))
    except (TypeError, ValueError):
        return (value.__doc__ or "").strip().partition("\\n")[0] if callable(value) else ""

def find(path):
    value = cupy
    for name in path.split("."):
        if not hasattr(value, name):
            return None
        value = getattr(value, name)
    return signature(value)

names = json.load(sys.stdin)
print(json.dumps([cupy.__version__, {name: find(name) for name in names}]))
"""


# ------------------------------------------------------------------------------------------ CuPy's


@functools.cache
def ask_cupy(*names: str) -> dict[str, str | None]:
    """Return what CuPy says of these names."""
    process = subprocess.run(
        [INTERPRETER, "-I", "-W", "ignore", "-c", SCRIPT],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        message = f"CuPy cannot be imported: {process.stderr.strip().splitlines()[-1]}"
        if os.environ.get("PYSIG_REQUIRE_CUPY"):
            pytest.fail(message)
        pytest.skip(message)
    version, answers = json.loads(process.stdout)
    assert "double" not in version
    return answers


def parse_signature(text: str) -> inspect.Signature | None:
    """
    Return a signature from a text such as ``name(self, int axis=-1, order=u'C') -> ndarray``.

    Types and the defaults that are no literals are left out; None if it is no signature.
    """
    if "(" not in text:
        return None
    text = text[text.index("(") + 1 : matching_bracket(text)].replace("\\", "")
    parameters, kind = [], inspect.Parameter.POSITIONAL_OR_KEYWORD
    for part in split_at_commas(text):
        declaration, _, default = part.partition("=")
        name = declaration.partition(":")[0].split()[-1] if declaration.strip() else ""
        if name in ("self", "cls", "/", "") or name.startswith("_ndarray_base"):
            continue
        if name == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
        elif name.startswith("**"):
            parameters.append(inspect.Parameter(name[2:], inspect.Parameter.VAR_KEYWORD))
        elif name.startswith("*"):
            parameters.append(inspect.Parameter(name[1:], inspect.Parameter.VAR_POSITIONAL))
            kind = inspect.Parameter.KEYWORD_ONLY
        else:
            value = literal(default) if default else inspect.Parameter.empty
            parameters.append(inspect.Parameter(name, kind, default=value))
    return inspect.Signature(parameters)


def matching_bracket(text: str) -> int:
    """Return where the first bracket of a text is closed."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character in ")]}":
            return place
    return len(text)


def split_at_commas(text: str) -> list[str]:
    """Return the parts of a text between commas that are not in brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def literal(text: str) -> Any:
    """Return the value of a default; its text, if that is not a literal."""
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, ValueError):
        return text.strip()


def test_signatures_are_read():
    signature = parse_signature("x.sum(self, int axis=-1, order=u'C', *, str path=None) -> ndarray")
    assert str(signature) == "(axis=-1, order='C', *, path=None)"
    signature = parse_signature("exp(x, /, out=None, \\*, casting='same_kind', dtype=None)")
    assert str(signature) == "(x, out=None, *, casting='same_kind', dtype=None)"
    signature = parse_signature(
        "f(shape: 'A', dtype: 'T[a, b]' = <class 'float'>, *args, **kwargs)"
    )
    assert str(signature) == "(shape, dtype=\"<class 'float'>\", *args, **kwargs)"
    assert parse_signature("no signature") is None


# ------------------------------------------------------------------------------------ the double's


def double_names(cupy: Any) -> dict[str, Any]:
    """Return all that the double has in public, by dotted names."""
    return {name: value for name, value in walk(cupy, "") if name not in OWN}


def walk(owner: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Give the public names of a module or a class, and those in it."""
    for name in getattr(owner, "__all__", vars(owner)):
        value = vars(owner)[name]
        if name.startswith("_") and name != "__call__":
            continue
        if isinstance(value, ModuleType) and not value.__name__.startswith("cupy."):
            continue
        if not isinstance(value, ModuleType):
            yield f"{prefix}{name}", value
        if isinstance(value, ModuleType) or (
            isinstance(value, type) and value.__module__.partition(".")[0] == "cupy"
        ):
            yield from walk(value, f"{prefix}{name}.")


def double_signature(name: str, value: Any) -> inspect.Signature | None:
    """Return the signature of what is called, without ``self``; None for attributes."""
    from cupy import _signatures  # type: ignore[attr-defined]

    stem = name.rpartition(".")[2]
    if name.startswith("ndarray.") and stem in _signatures.METHODS:
        return _signatures.METHODS[stem]
    if name in _signatures.FUNCTIONS:
        return _signatures.FUNCTIONS[name]
    if name in _signatures.ELEMENTWISE:
        inputs = "x" if value.inputs == 1 else "x1, x2"
        return _signatures.parse(f"{inputs}, out=None, *, casting='same_kind', dtype=None")
    if not callable(value) or getattr(value, "__module__", "").startswith("numpy"):
        return None
    if isinstance(value, type) and issubclass(value, BaseException):
        return None
    parameters = list(inspect.signature(value).parameters.values())
    if parameters and parameters[0].name == "self":
        del parameters[0]
    return inspect.Signature(parameters)


def differences(name: str, double: inspect.Signature, real: inspect.Signature) -> Iterator[str]:
    """Give what the double takes and CuPy does not, or the other way round."""
    kinds = inspect.Parameter
    takes_more = {parameter.kind for parameter in real.parameters.values()}
    if {kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD} <= takes_more and len(real.parameters) <= 4:
        return  # nothing is said
    for parameter in double.parameters.values():
        other = real.parameters.get(parameter.name)
        if parameter.kind in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL):
            if parameter.kind not in takes_more:
                yield f"CuPy has no *{parameter.name}"
        elif parameter.kind is kinds.POSITIONAL_ONLY and kinds.VAR_POSITIONAL in takes_more:
            continue
        elif other is None:
            if parameter.name not in PASSED_ON.get(name, ()) or kinds.VAR_KEYWORD not in takes_more:
                yield f"CuPy has no {parameter.name}"
        elif other.kind is kinds.KEYWORD_ONLY and parameter.kind is not kinds.KEYWORD_ONLY:
            yield f"{parameter.name} is keyword-only in CuPy"
        elif parameter.default is not parameter.empty and repr(other.default) not in (
            repr(parameter.default),
            repr(str(parameter.default)),
        ):
            yield f"the default of {parameter.name} is {other.default} in CuPy"
    for parameter in real.parameters.values():
        is_required = parameter.default is parameter.empty and parameter.kind not in (
            kinds.VAR_POSITIONAL,
            kinds.VAR_KEYWORD,
        )
        if is_required and parameter.name not in double.parameters:
            yield f"CuPy needs {parameter.name}"
    positional, others = (
        [p.name for p in signature.parameters.values() if p.kind is kinds.POSITIONAL_OR_KEYWORD]
        for signature in (double, real)
    )
    if positional != others[: len(positional)]:
        yield f"the order is {others} in CuPy"


def test_the_double_has_nothing_that_cupy_has_not(double):
    names = double_names(double)
    assert len(names) > 250
    answers = ask_cupy(*sorted(names))
    missing = [name for name in names if answers[name] is None]
    assert not missing


def test_the_double_takes_what_cupy_takes(double):
    names = double_names(double)
    answers = ask_cupy(*sorted(names))
    wrong, compared = [], 0
    for name, value in names.items():
        ours = double_signature(name, value)
        theirs = parse_signature(answers[name] or "") if ours else None
        if ours and theirs:
            compared += 1
            wrong += [f"{name}{theirs}: {what}" for what in differences(name, ours, theirs)]
    assert not wrong, "\n".join(wrong)
    assert compared > 180


def test_the_attributes_of_a_device_are_cuda_s(double):
    names = {f"cuda.runtime.cudaDevAttr{name}" for name in double.cuda.Device().attributes}
    answers = ask_cupy(*sorted(names))
    assert not [name for name in names if answers[name] is None]


# ----------------------------------------------------------------------------------- the library's


def used_names(*folders: str) -> dict[str, str]:
    """Return the names after ``cupy.`` or ``xp.`` in Python files, each with one of its places."""
    names = {}
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                root, _, name = dotted(node).partition(".")
                if isinstance(node, ast.Attribute) and root in ("cupy", "xp"):
                    names[name] = f"{file.relative_to(ROOT)}:{node.lineno}"
    return names


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for the syntax tree of it, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def test_every_name_that_the_library_uses_is_cupy_s():
    names = used_names("pysig", "benchmarks")
    assert names
    answers = ask_cupy(*sorted(names))
    assert not [f"{place}: {name}" for name, place in names.items() if answers[name] is None]
