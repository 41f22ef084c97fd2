"""Build of the compiled core; pyproject.toml describes the rest of the package."""

import glob
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import Cython
import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# ISO contraction would let the compiler fuse across statements differently per level. "fast"
# contracts within an expression tree in gcc and within a statement in clang, and the kernels are
# written so that both give the same products and sums. The kernels are unrolled and vectorised by
# hand: -O3 is no faster (measured, gcc 12) and makes the module half as large again.
COMPILE = [
    "-O2",
    "-std=gnu11",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-Wno-unused-function",
    "-Wno-psabi",
]
THREADS = [] if sys.platform == "win32" else ["-pthread"]
SOURCES = [
    *sorted(glob.glob("src/kernels/level_*.c")),
    "src/kernels/dispatch.c",
    "src/engine/convert.c",
    "src/engine/pool.c",
]


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
        compile_in_turn = self.compiler.compile

        def compile_all(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return sum(pool.map(lambda s: compile_in_turn([s], **options), sources), [])

        self.compiler.compile = compile_all
        super().build_extensions()

    def build_extension(self, ext):
        super().build_extension(ext)
        path = self.get_ext_fullpath(ext.name)
        strip = shutil.which("strip")
        if strip and sys.platform.startswith("linux") and not os.environ.get("NNCORE_DEBUG"):
            subprocess.run([strip, "--strip-unneeded", path], check=False)


def extensions():
    debug = ["-g", "-fno-omit-frame-pointer"] if os.environ.get("NNCORE_DEBUG") else ["-g0"]
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
                define_macros=[
                    ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
                    ("NNCORE_NUMPY", f'"{numpy.__version__}"'),
                    ("NNCORE_CYTHON", f'"{Cython.__version__}"'),
                ],
                # setuptools puts CFLAGS before these flags; repeated here, they take precedence, as
                # in other builds
                extra_compile_args=[
                    *COMPILE,
                    *THREADS,
                    *debug,
                    *shlex.split(os.environ.get("CFLAGS", "")),
                ],
                extra_link_args=THREADS,
                libraries=["m"],
            )
        ],
        build_dir="build/cython",
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
    )


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
