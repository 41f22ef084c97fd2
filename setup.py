"""Build of the compiled core; pyproject.toml describes the rest of the package."""

import glob
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

# ISO contraction would let the compiler fuse across statements differently per level. "fast"
# contracts within an expression tree in gcc and within a statement in clang, and the kernels are
# written so that both give the same products and sums. The kernels are unrolled and vectorised by
# hand: -O3 is no faster (measured, gcc 12) and makes the module half as large again.
LANGUAGE = ["-std=gnu11", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
# Cython's code calls Python most of the time. Inlining less of it makes the module a tenth of a MB
# smaller and no call slower (measured, gcc 12; -Os does: it takes calls for Python's counts of
# references). Parameters of gcc alone.
BOUNDARY = ["--param=max-inline-insns-single=16", "--param=max-inline-insns-auto=8"]
BOUNDARY += ["-fno-tree-vectorize", "-falign-jumps=1", "-falign-labels=1"]
SOURCES = [
    *sorted(glob.glob("src/kernels/level_*.c")),
    "src/kernels/dispatch.c",
    "src/engine/convert.c",
    "src/engine/pool.c",
]
# One module for every CPython from this version on, instead of one for each (NNCORE_ABI3=1)
ABI3 = (3, 11)


def abi3():
    """Return whether to build for the stable ABI. A free-threaded Python has none before 3.15."""
    wanted = os.environ.get("NNCORE_ABI3", "0")
    if wanted not in ("", "0", "1"):
        raise SystemExit(f"nncore: NNCORE_ABI3 must be 0 or 1, got {wanted!r}")
    if wanted == "1" and sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise SystemExit("nncore: NNCORE_ABI3=1 is not possible with a free-threaded Python")
    return wanted == "1"


def flags(compiler_type, platform=sys.platform, debug=False):
    """Return (flags to compile, flags to link, libraries) for a compiler_type of setuptools."""
    if compiler_type == "msvc":  # clang-cl, as MSVC itself is refused
        # warnings are flags of clang-cl itself; the rest must be passed on to clang
        return [*(f"/clang:{flag}" for flag in LANGUAGE), "-Wno-unused-function"], [], []
    warnings = ["-Wno-unused-function", "-Wno-psabi"]
    symbols = ["-g", "-fno-omit-frame-pointer"] if debug else ["-g0"]
    compiling = ["-O2", *LANGUAGE, "-fvisibility=hidden", *warnings, *symbols]
    if platform.startswith("linux") and not debug:
        # Nothing unwinds through the module: it has no exceptions, and pthread_exit, by which
        # Python ends daemon threads, takes such a frame for the end of the stack.
        compiling += ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
    if platform == "win32":  # gcc or zig; the C library holds the mathematical functions
        return compiling, [], []
    return [*compiling, "-pthread"], ["-pthread"], ["m"]


def is_gcc(command):
    """Return whether a compiler, given as a list of words, is gcc and not clang in its place."""
    ask = [*command, "-dM", "-E", "-x", "c", os.devnull]
    macros = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    return "__GNUC__" in macros and "__clang__" not in macros


def clang_cl(command):
    """Return the path of the clang-cl that CC names; CompileError for Microsoft's own compiler."""
    name = os.path.basename(command).lower().removesuffix(".exe")
    if not name.startswith("clang-cl"):
        raise CompileError(
            "nncore cannot be compiled by MSVC's cl, which lacks the vector types of gcc and "
            "clang; install clang-cl (in Visual Studio: C++ Clang tools) and set CC=clang-cl"
        )
    path = shutil.which(command)
    if path is None:
        raise CompileError(f"CC={command} was not found; add the folder of clang-cl to PATH")
    return path


class BuildExt(build_ext):
    """Build the module, strip its symbols, and copy it into the source package as well.

    Without the copy, ``import nncore`` in the checkout's root finds the package without its
    compiled module.
    """

    def run(self):
        super().run()
        if not self.inplace:
            self.copy_extensions_to_source()

    def build_extensions(self):
        """Compile the sources side by side; the three levels' kernels take most of the time."""
        kind = self.compiler.compiler_type
        if kind == "msvc":
            path = clang_cl(os.environ.get("CC", ""))
            self.compiler.initialize()
            self.compiler.cc = path
        compiling, linking, libraries = flags(kind, debug=bool(os.environ.get("NNCORE_DEBUG")))
        boundary = BOUNDARY if kind == "unix" and is_gcc(self.compiler.compiler_so[:1]) else []
        # setuptools puts CFLAGS before these flags; repeated here, they take precedence, as in
        # other builds
        own = shlex.split(os.environ.get("CFLAGS", ""))
        for ext in self.extensions:
            ext.extra_compile_args, ext.extra_link_args = compiling, linking
            ext.libraries = libraries
        compile_in_turn = self.compiler.compile

        def compile_all(sources, *, extra_postargs, **options):
            def compile_one(source):
                more = boundary if os.path.basename(source) == "_core.c" else []
                return compile_in_turn(
                    [source], extra_postargs=[*extra_postargs, *more, *own], **options
                )

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return sum(pool.map(compile_one, sources), [])

        self.compiler.compile = compile_all
        super().build_extensions()

    def build_extension(self, ext):
        super().build_extension(ext)
        path = self.get_ext_fullpath(ext.name)
        strip = shutil.which(os.environ.get("STRIP", "strip"))
        if strip and sys.platform.startswith("linux") and not os.environ.get("NNCORE_DEBUG"):
            subprocess.run([strip, "--strip-unneeded", path], check=False)


def extensions():
    """Return the extension modules, translated by Cython."""
    import Cython
    import numpy
    from Cython.Build import cythonize

    macros = [
        ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
        ("NNCORE_NUMPY", f'"{numpy.__version__}"'),
        ("NNCORE_CYTHON", f'"{Cython.__version__}"'),
    ]
    if abi3():
        macros.append(("Py_LIMITED_API", f"0x{ABI3[0]:02x}{ABI3[1]:02x}0000"))
    return cythonize(
        [
            Extension(
                "nncore._core",
                ["src/_core.pyx", *SOURCES],
                include_dirs=["src", numpy.get_include()],
                depends=sorted(
                    path
                    for kind in ("h", "pxi", "pxd")
                    for path in glob.glob(f"src/**/*.{kind}", recursive=True)
                ),
                define_macros=macros,
                py_limited_api=abi3(),
            )
        ],
        build_dir="build/cython",
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": True,  # tests/test_stress.py
            "auto_pickle": False,  # classes that can be pickled say how
        },
    )


if __name__ == "__main__":
    tag = {"bdist_wheel": {"py_limited_api": "cp{}{}".format(*ABI3)}} if abi3() else {}
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt}, options=tag)
