"""What is rewritten in the source of a kernel, and that its lines stay where they are."""

from __future__ import annotations

import pytest

from cuda_on_cpu.source import SourceError, split_at_commas, translate, without_comments


def names(code, expressions=()):
    return translate(code, expressions)[1]


def test_comments_go_and_lines_and_strings_stay():
    code = 'a /* b\nc */ d; // e "f\n"// g /* h"; \'"\' // i'
    assert without_comments(code) == 'a  \n d;  \n"// g /* h"; \'"\'  '


def test_kernels_in_c_are_found_by_name():
    code = """
    // extern "C" __global__ void commented(int *x) {}
    extern "C" __global__ void first(int *x) { }
    extern "C" __global__ void __launch_bounds__(256, 2) second(int *x) { }
    extern "C" __global__ __launch_bounds__(THREADS) void third(int (*x)[3]) { }
    extern "C" {
    __global__ void fourth(int *x) { if (x) { } }
    __global__ void fifth(int *x) { }
    }
    extern "C" __global__ void only_declared(int *x);
    template <typename T> __global__ void pattern(T *x) { }
    __global__ void in_cplusplus(int *x) { }
    """
    found = ["first", "second", "third", "fourth", "fifth"]
    assert names(code) == found
    assert names(code, ["pattern<int>"]) == [*found, "pattern<int>"]


def test_shared_memory_and_launch_bounds_keep_their_lines():
    code = """\
template <int N> __global__ void __launch_bounds__(N *
    2, 1) k(double *x) {
    extern __shared__ __align__(16)
        unsigned char bytes[];
    __shared__ double a[N], b[2][3],
        c;
    mark();
}"""
    text, _ = translate(code)
    body = text.partition("\n")[2]
    assert body.splitlines()[6].strip() == "mark();"
    assert "unsigned char *const bytes" in text
    assert "typedef double b_shared_type[2][3];" in text
    assert "typedef double c_shared_type;" in text
    assert "__shared__" not in text
    assert "<= (N * 2)" in text


@pytest.mark.parametrize(
    "declaration", ["__shared__ int x[4];", "extern __shared__ double memory[];"]
)
def test_shared_memory_outside_of_a_function_is_refused(declaration):
    code = f'\n{declaration}\nextern "C" __global__ void k() {{ }}'
    with pytest.raises(SourceError, match=r"line 2: .* in a function"):
        translate(code)


def test_brackets_must_be_closed():
    with pytest.raises(SourceError, match="line 1: the bracket is never closed"):
        translate('extern "C" __global__ void k(int *x { }')


def test_commas_in_brackets_do_not_count():
    assert split_at_commas("a<1, 2> b[f(3, 4)], c, d") == ["a<1, 2> b[f(3, 4)]", "c", "d"]
