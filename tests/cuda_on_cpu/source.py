"""Turns the source of CUDA kernels into C++ that g++ compiles with cuda_language.h before it.

Few things in CUDA have a syntax that macros cannot express, and are rewritten here, each within its
line: variables in shared memory, and the launch bounds of kernels. Then functions are appended by
which the kernels are launched, two for each: those declared ``extern "C"``, and the templates of
which the name is given with all its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

COMMENT_OR_STRING = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)
ALIGNMENT = re.compile(r"\b(?:__align__|alignas)\s*\(([^()]*)\)")
DYNAMIC_SHARED = re.compile(r"\bextern\s+__shared__\s+([^;{}=]+?)\s*\b(\w+)\s*\[\s*\]\s*;")
STATIC_SHARED = re.compile(r"\b__shared__\s+([^;{}=]+);")
KERNEL = re.compile(r"\b__global__\b")
KERNEL_NAME = re.compile(r"(\w+)\s*\(")
BODY = re.compile(r"\s*\{")
C_LINKAGE = re.compile(r'\bextern\s+"C"\s*\Z')
C_BLOCK = re.compile(r'\bextern\s+"C"\s*\{')
OPENING, CLOSING = "([{", ")]}"


class SourceError(ValueError):
    """The source uses something that cannot be run on the CPU."""


def translate(code: str, name_expressions: Sequence[str] = ()) -> tuple[str, list[str]]:
    """Return C++ for the kernels in `code`, and their names in the order of the functions."""
    code = without_comments(code)
    code, kernels = rewrite_kernels(code)
    code = rewrite_shared_memory(code)
    names = [*kernels, *name_expressions]
    launchers = "".join(launcher(number, name) for number, name in enumerate(names))
    return f'#line 1 "kernel.cu"\n{code}\n#line 1 "launchers"\n{launchers}', names


def launcher(number: int, name: str) -> str:
    """Return functions that launch a kernel and describe its parameters."""
    export = 'extern "C" __attribute__((visibility("default"))) const char *'
    return (
        f"{export}launch_{number}(const cuda_on_cpu::Launch *launch, void **values) "
        f"{{ return cuda_on_cpu::run({name}, launch, values); }}\n"
        f"{export}describe_{number}() {{ return cuda_on_cpu::describe({name}); }}\n"
    )


def line_of(code: str, position: int) -> int:
    """Return the number of the line that a position is in."""
    return code.count("\n", 0, position) + 1


def without_comments(code: str) -> str:
    """Return the code with every comment replaced by a space and the line ends in it."""

    def blank(match: re.Match[str]) -> str:
        text = match[0]
        return text if text[0] in "\"'" else " " + "\n" * text.count("\n")

    return COMMENT_OR_STRING.sub(blank, code)


# ------------------------------------------------------------------------------------------ kernels


class Kernel(NamedTuple):
    """Where in the code a kernel is defined."""

    name: str
    is_c: bool  # declared extern "C"
    bounds: tuple[int, int]  # of the launch bounds; empty if there are none
    bound: str  # how many threads a block may have; empty if nothing is said
    body: int  # where that begins, after its brace


def rewrite_kernels(code: str) -> tuple[str, list[str]]:
    """Make kernels check their launch bounds; return the code and the names of those in C."""
    kernels = list(find_kernels(code))
    for kernel in reversed(kernels):
        begin, end = kernel.bounds
        head = code[:begin] + "\n" * code.count("\n", begin, end) + code[end : kernel.body]
        check = launch_bound_check(kernel.bound) if kernel.bound else ""
        code = head + check + code[kernel.body :]
    return code, [kernel.name for kernel in kernels if kernel.is_c]


def find_kernels(code: str) -> Iterator[Kernel]:
    """Give all kernels that are defined in the code, not only declared."""
    blocks = [(match.start(), closing(code, match.end() - 1)) for match in C_BLOCK.finditer(code)]
    for match in KERNEL.finditer(code):
        start, bounds, bound = match.start(), (match.end(), match.end()), ""
        name = KERNEL_NAME.search(code, match.end())
        if name and name[1] == "__launch_bounds__":
            end = closing(code, name.end() - 1)
            bound = one_line(split_at_commas(code[name.end() : end])[0])
            bounds = (name.start(), end + 1)
            name = KERNEL_NAME.search(code, end)
        if not name:
            raise SourceError(f"line {line_of(code, start)}: __global__ without a function")
        body = BODY.match(code, closing(code, name.end() - 1) + 1)
        if body:
            is_c = bool(C_LINKAGE.search(code, 0, start)) or any(
                first < start < last for first, last in blocks
            )
            yield Kernel(name[1], is_c, bounds, bound, body.end())


def blank_lines(text: str) -> str:
    """Return the line ends of a text."""
    return "\n" * text.count("\n")


def one_line(text: str) -> str:
    """Return a text without the line ends in it."""
    return " ".join(text.split())


def launch_bound_check(bound: str) -> str:
    """Return a statement that fails if a block has more threads than the kernel is compiled for."""
    return (
        f" CUDA_ON_CPU_CHECK(blockDim.x * blockDim.y * blockDim.z <= ({bound}), "
        '"more threads in a block than __launch_bounds__ allows"); '
    )


def closing(code: str, position: int) -> int:
    """Return the position of the bracket that closes the one at `position`."""
    depth = 0
    for place in range(position, len(code)):
        if code[place] in OPENING:
            depth += 1
        elif code[place] in CLOSING:
            depth -= 1
            if depth == 0:
                return place
    raise SourceError(f"line {line_of(code, position)}: the bracket is never closed")


def split_at_commas(text: str) -> list[str]:
    """Return the parts of a text between commas that no bracket is around."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in OPENING + "<") - (character in CLOSING + ">")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


# ------------------------------------------------------------------------------------ shared memory


def rewrite_shared_memory(code: str) -> str:
    """Return the code with variables in shared memory made references to what the block has."""

    def dynamic(match: re.Match[str]) -> str:
        check_in_function(code, match)
        element, name = one_line(ALIGNMENT.sub("", match[1])), match[2]
        return (
            f"{element} *const {name} = static_cast<{element} *>(cuda_on_cpu::dynamic_shared());"
            + blank_lines(match[0])
        )

    def static(match: re.Match[str]) -> str:
        check_in_function(code, match)
        return " ".join(static_variables(code, match)) + blank_lines(match[0])

    code = DYNAMIC_SHARED.sub(dynamic, code)
    return STATIC_SHARED.sub(static, code)


def static_variables(code: str, match: re.Match[str]) -> list[str]:
    """Return a definition for each variable that a declaration in shared memory declares."""
    line = line_of(code, match.start())
    alignments = [f"__align__({value})" for value in ALIGNMENT.findall(match[1])]
    first, *others = split_at_commas(one_line(ALIGNMENT.sub("", match[1])))
    declarator = re.search(r"(\w+)\s*((?:\[[^\[\]]*\]\s*)*)\Z", first)
    if not declarator:
        raise SourceError(f"line {line}: cannot read the declaration {match[0]!r}")
    element = " ".join([first[: declarator.start()].strip(), *alignments])
    definitions = []
    for variable in [declarator[0], *others]:
        parts = re.fullmatch(r"(\w+)\s*((?:\[[^\[\]]*\]\s*)*)", variable)
        if not parts:
            raise SourceError(f"line {line}: cannot read the declaration {match[0]!r}")
        name, extents = parts.groups()
        definitions.append(
            f"typedef {element} {name}_shared_type{extents}; "
            f"static cuda_on_cpu::Slot {name}_shared_slot; "
            f"{name}_shared_type &{name} = *static_cast<{name}_shared_type *>("
            f"cuda_on_cpu::shared_variable({name}_shared_slot, sizeof({name}_shared_type), "
            f"alignof({name}_shared_type), {line}));"
        )
    return definitions


def check_in_function(code: str, match: re.Match[str]) -> None:
    """Raise SourceError for shared memory that is declared outside of a function."""
    if code.count("{", 0, match.start()) == code.count("}", 0, match.start()):
        raise SourceError(
            f"line {line_of(code, match.start())}: shared memory must be declared in a function"
        )
