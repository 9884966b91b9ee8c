"""Build of the compiled modules; everything else about the package stands in pyproject.toml.

Every ``pysig/_core/**/NAME.pyx`` becomes the extension module of that name. Environment variables:

=================== ==============================================================================
``PYSIG_OPENMP``    ``0``: build without OpenMP; ``1``: fail if the compiler has no OpenMP.
                    By default OpenMP is used where a small test program compiles and links.
``PYSIG_ABI3=0``    Use the full C API: some 0.25 µs less per call, but the result runs on this
                    version of Python only. By default one build serves Python 3.11 and later.
``PYSIG_DEBUG=1``   Bounds checks in Cython, assertions in C, little optimisation; and the code for
                    all vector lengths, in instructions that any processor has.
``PYSIG_SANITIZE=1`` AddressSanitizer and UndefinedBehaviorSanitizer (GCC or Clang; the run-time
                    library must be preloaded into Python).
=================== ==============================================================================
"""

import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

OLDEST_PYTHON = (3, 11)
CORE = Path("pysig", "_core")


def switch(name, default):
    """The environment variable `name` as a bool, or `default` where it is not set."""
    value = os.environ.get(name, "")
    if value not in ("", "0", "1"):
        raise SystemExit(f"{name} must be 0 or 1, not {value!r}")
    return value == "1" if value else default


OPENMP = switch("PYSIG_OPENMP", None)
DEBUG = switch("PYSIG_DEBUG", False)
SANITIZE = switch("PYSIG_SANITIZE", False)
# A free-threaded Python has no stable ABI.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
ABI3 = switch("PYSIG_ABI3", True) and not FREE_THREADED

# Errors and traps of the floating-point unit are never asked for. -ffast-math must stay out: at
# link time it makes the whole process flush subnormal numbers to zero.
COMPILE = ["-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
COMPILE += ["-O1", "-g"] if DEBUG or SANITIZE else ["-O3", "-g0"]
# GCC otherwise makes memcpy of loops over small arrays, which keeps the arrays out of registers.
COMPILE_IF_KNOWN = ["-fno-tree-loop-distribute-patterns"]
LINK = []
if SANITIZE:
    COMPILE += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    COMPILE += ["-fno-omit-frame-pointer"]
    LINK += ["-fsanitize=address,undefined"]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,  # a negative index is an error, also where the debug build looks for one
    "initializedcheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
}

OPENMP_PROGRAM = """
#include <omp.h>
int main(void) {
    int threads = 0;
    #pragma omp parallel reduction(+ : threads)
    threads += omp_get_num_threads();
    return threads < 1;
}
"""


def openmp_candidates():
    """The flags to try, as pairs (for the compiler, for the linker)."""
    if platform.system() != "Darwin":
        return [(["-fopenmp"], ["-fopenmp"])]
    # Apple's compiler understands OpenMP but ships no run-time library; Homebrew has it.
    candidates = [(["-Xpreprocessor", "-fopenmp"], ["-lomp"])]
    for prefix in ("/opt/homebrew/opt/libomp", "/usr/local/opt/libomp"):
        if os.path.isdir(prefix):
            flags = ["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"]
            candidates.append((flags, [f"-L{prefix}/lib", "-lomp"]))
    return candidates


def builds(program, compiler, compile_flags, link_flags):
    """Whether the C compiler builds a small program with these flags."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(program)
        command = [*compiler.compiler_so, *compile_flags, str(source), *link_flags]
        command += ["-o", str(Path(folder, "probe"))]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def known_flags(compiler):
    """Those of COMPILE_IF_KNOWN that the compiler understands."""
    program = "int main(void) { return 0; }"
    return [flag for flag in COMPILE_IF_KNOWN if builds(program, compiler, ["-Werror", flag], [])]


def openmp_flags(compiler):
    """The pair (compiler flags, linker flags) for OpenMP, both empty for a serial build."""
    if OPENMP is False:
        print("pysig: building without OpenMP, as PYSIG_OPENMP=0 asks")
        return [], []
    for compile_flags, link_flags in openmp_candidates():
        if builds(OPENMP_PROGRAM, compiler, compile_flags, link_flags):
            print(f"pysig: building with OpenMP ({' '.join(compile_flags)})")
            return compile_flags, link_flags
    message = "the C compiler cannot build OpenMP programs"
    if OPENMP:
        raise SystemExit(f"pysig: {message}, and PYSIG_OPENMP=1 requires it")
    print(f"pysig: NOTICE: {message}; building without it: every call runs on one thread")
    return [], []


class BuildExtensions(build_ext):
    """Adds what is known only at build time: the generated C, and the flags for OpenMP."""

    def finalize_options(self):
        super().finalize_options()
        if self.inplace or self.editable_mode:
            # pip would have a new folder each time, and compile everything again.
            self.build_temp = str(
                Path("build", f"temp.{self.plat_name}-{sys.implementation.cache_tag}")
            )

    def build_extensions(self):
        if self.compiler.compiler_type != "unix":
            raise SystemExit("pysig: building needs GCC or Clang")
        compile_flags, link_flags = openmp_flags(self.compiler)
        compile_flags = known_flags(self.compiler) + compile_flags
        flags = f"{sys.version} {COMPILE} {LINK} {DIRECTIVES} {ABI3} {compile_flags} {link_flags}"
        # The time stamps of the files do not tell that another kind of build is asked for.
        stamp = Path(self.build_temp, "flags.txt")
        self.force = self.force or not stamp.exists() or stamp.read_text() != flags
        stamp.unlink(missing_ok=True)
        generated = cythonize(
            self.extensions,
            build_dir=self.build_temp,
            compiler_directives=DIRECTIVES,
            force=self.force,
        )
        for extension, with_c_source in zip(self.extensions, generated, strict=True):
            extension.sources = with_c_source.sources
            extension.extra_compile_args += compile_flags
            extension.extra_link_args += link_flags
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(flags)


def headers(source):
    """What a module may include, by the layout of the source: from its own room, and from CORE."""
    rooms = {CORE, source.parent}
    suffixes = ("h", "pxd", "pxi")
    return sorted(str(path) for room in rooms for end in suffixes for path in room.glob(f"*.{end}"))


def extensions():
    """One extension module for each .pyx file."""
    macros: list[tuple[str, str | None]] = [("PYSIG_EMULATE_SIMD" if DEBUG else "NDEBUG", None)]
    if ABI3:
        macros.append(("Py_LIMITED_API", "0x{:02X}{:02X}0000".format(*OLDEST_PYTHON)))
    return [
        Extension(
            ".".join(source.with_suffix("").parts),
            [str(source)],
            include_dirs=[str(CORE)],
            depends=headers(source),
            define_macros=macros,
            undef_macros=["NDEBUG"] if DEBUG else [],
            extra_compile_args=list(COMPILE),
            extra_link_args=list(LINK),
            py_limited_api=ABI3,
        )
        for source in sorted(CORE.rglob("*.pyx"))
    ]


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExtensions},
    options={"bdist_wheel": {"py_limited_api": "cp{}{}".format(*OLDEST_PYTHON)}} if ABI3 else {},
)
