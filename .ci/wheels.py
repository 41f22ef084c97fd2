#!/usr/bin/env python3
"""Wheels for Linux from one machine, by zig as cross compiler; `make wheels` runs this.

    wheels.py TOOLS [TARGET ...]     TOOLS: a Python with the extra "wheels"; all targets by default

From the source distribution, in build/wheels: manylinux2014 for x86-64 and arm64, musllinux_1_2 for
x86-64, each with auditwheel's verdict; wheels go to dist/. For macOS and Windows, whose wheels are
made on those systems (.github/workflows/wheels.yml), it compiles and links the core. Everything is
for the Python that runs this file.
"""

import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "wheels"
DIST = ROOT / "dist"
# name: (zig's target, the platform of Python, the suffix of modules, the tag that must come out)
WHEELS = {
    "manylinux-x86_64": (
        "x86_64-linux-gnu.2.17",
        "linux-x86_64",
        "x86_64-linux-gnu",
        "manylinux_2_17_x86_64",
    ),
    "manylinux-aarch64": (
        "aarch64-linux-gnu.2.17",
        "linux-aarch64",
        "aarch64-linux-gnu",
        "manylinux_2_17_aarch64",
    ),
    "musllinux-x86_64": (
        "x86_64-linux-musl",
        "linux-x86_64",
        "x86_64-linux-musl",
        "musllinux_1_2_x86_64",
    ),
}
# name: (zig's target, NumPy's platform, flags to link, the file)
LINKED = {
    "macos-arm64": (
        "aarch64-macos.11.0",
        "macosx_11_0_arm64",
        ["-undefined", "dynamic_lookup"],
        "_core.so",
    ),
    "macos-x86_64": (
        "x86_64-macos.11.0",
        "macosx_11_0_arm64",  # its headers are the same
        ["-undefined", "dynamic_lookup"],
        "_core.so",
    ),
    "windows-x86_64": ("x86_64-windows-gnu", "win_amd64", [], "_core.pyd"),
}


def say(text):
    print(f"nncore: {text}", flush=True)


def run(*command, cwd=None, **environment):
    """Run a command; return what it prints. Its whole output is shown if it fails."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nnncore: failed: {' '.join(map(str, command))}")
    return done.stdout


def zig(tools, target):
    """The compiler's command for this target, and its environment."""
    caches = {f"ZIG_{kind}_CACHE_DIR": str(BUILD / "zig") for kind in ("GLOBAL", "LOCAL")}
    return [str(tools), "-m", "ziglang", "cc", "-target", target], caches


def source(tools):
    """Make the source distribution; return the folder where it is unpacked."""
    shutil.rmtree(BUILD / "source", ignore_errors=True)
    run(tools, "-m", "build", "--sdist", "--no-isolation", "--outdir", BUILD / "sdist", cwd=ROOT)
    archive = max((BUILD / "sdist").glob("nncore-*.tar.gz"), key=os.path.getmtime)
    shutil.unpack_archive(archive, BUILD / "source")
    DIST.mkdir(exist_ok=True)
    shutil.copy(archive, DIST)
    say(f"{archive.name}: {archive.stat().st_size / 1e3:.0f} kB")
    (folder,) = (BUILD / "source").iterdir()
    run(tools, "setup.py", "--name", cwd=folder)  # whatever it is asked for, it writes the C source
    return folder


def setup_of(folder):
    """setup.py as a module."""
    sys.path.insert(0, str(folder))
    return importlib.import_module("setup")


def wheel(tools, folder, name):
    """Build one wheel, repair it to its tag, and copy it to dist/."""
    target, platform, suffix, tag = WHEELS[name]
    compiler, caches = zig(tools, target)
    command = " ".join(compiler)
    work = BUILD / name
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(folder / "build" / "lib", ignore_errors=True)
    version = sysconfig.get_config_var("SOABI").split("-")[1]
    end = ".abi3.so" if os.environ.get("NNCORE_ABI3") == "1" else f".cpython-{version}-{suffix}.so"
    run(
        tools,
        "setup.py",
        "build",
        f"--build-base={work / 'build'}",
        "bdist_wheel",
        f"--dist-dir={work}",
        cwd=folder,
        **caches,
        CC=command,
        LDSHARED=f"{command} -shared",
        LDFLAGS="-s",
        STRIP="",
        _PYTHON_HOST_PLATFORM=platform,
        SETUPTOOLS_EXT_SUFFIX=end,
    )
    (made,) = work.glob("*.whl")
    path = f"{tools.parent}{os.pathsep}{os.environ['PATH']}"
    if "musl" in target:
        made = name_musl(tools, made, path)
    run(tools, "-m", "auditwheel", "repair", "--plat", "auto", "-w", work / "out", made, PATH=path)
    (repaired,) = (work / "out").glob("*.whl")
    judged(tools, repaired, tag, path)
    if "musl" in target:  # no Python of musl is here, but its programs run
        drive(tools, folder, name, target, [], setup_of(folder).flags("unix", "linux")[0])


def name_musl(tools, made, path):
    """Name musl's C library in the module as Alpine does; zig calls it libc.so."""
    folder = made.parent / "unpacked"
    run(tools, "-m", "wheel", "unpack", "--dest", folder, made)
    (module,) = folder.glob("*/nncore/_core*.so")
    machine = made.stem.rpartition("linux_")[2]
    run("patchelf", "--replace-needed", "libc.so", f"libc.musl-{machine}.so.1", module, PATH=path)
    run(tools, "-m", "wheel", "pack", "--dest-dir", made.parent, next(folder.iterdir()))
    return made


def judged(tools, repaired, tag, path):
    """Print auditwheel's verdict on a wheel, and copy it to dist/; exit if the tag is another."""
    shown = " ".join(run(tools, "-m", "auditwheel", "show", repaired, PATH=path).split())
    (found,) = re.findall(r'consistent with the following platform tag: "(\w+)"', shown)
    size = repaired.stat().st_size / 1e6
    say(f"{repaired.name}: {size:.2f} MB, auditwheel says {found}")
    if found != tag:
        sys.exit(f"nncore: {repaired.name} should be {tag}: {shown}")
    if "abi3" in repaired.name:
        say(run(tools, "-m", "abi3audit", "--strict", "--summary", repaired).strip())
    shutil.copy(repaired, DIST)


# ------------------------------------------------------------------- macOS and Windows, linked only


def link(tools, folder, name):
    """Compile and link the core for another system, without running it."""
    target, numpy_platform, flags, file = LINKED[name]
    compiler, caches = zig(tools, target)
    work = BUILD / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    windows = "windows" in target
    includes = [folder / "src", *headers(tools, numpy_platform, work, windows)]
    if windows:
        flags = [library(tools, work, caches)]
    setup = setup_of(folder)
    compiling = setup.flags("unix", "win32" if windows else "darwin")[0]
    macros = [
        "-DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION",
        '-DNNCORE_NUMPY="-"',
        '-DNNCORE_CYTHON="-"',
        f"-DPy_LIMITED_API=0x{setup.ABI3[0]:02x}{setup.ABI3[1]:02x}0000",
    ]
    run(
        *compiler,
        *compiling,
        *macros,
        *(f"-I{path}" for path in includes),
        "-shared",
        *[folder / path for path in setup.SOURCES],
        folder / "build" / "cython" / "src" / "_core.c",
        *flags,
        "-s",
        "-o",
        work / file,
        cwd=folder,
        **caches,
    )
    say(f"{name}: compiled and linked, {(work / file).stat().st_size / 1e6:.2f} MB, not run")
    if windows:
        wine = shutil.which("wine64") or shutil.which("wine64", path="/usr/lib/wine")
        if wine is None:
            say("no Wine here to run the kernels (Debian: apt install wine64)")
            return
        drive(tools, folder, name, target, [wine], compiling)


def drive(tools, folder, name, target, runner, compiling):
    """Run the kernels of this target without Python: .ci/driver.c."""
    compiler, caches = zig(tools, target)
    program = BUILD / name / "driver.exe"
    kernels = sorted((folder / "src" / "kernels").glob("*.c"))
    static = ["-static"] if "musl" in target else []
    run(
        *compiler, *compiling, *static, f"-I{folder / 'src'}", ROOT / ".ci" / "driver.c", *kernels,
        "-lm", "-o", program, **caches,
    )  # fmt: skip
    quiet = {"WINEDEBUG": "-all", "WINEPREFIX": str(BUILD / "wine")}
    say(f"{name}: {run(*runner, program, **quiet).splitlines()[-1]}")


def headers(tools, platform, work, windows):
    """The folders of headers: NumPy's from its wheel for this platform, and Python's own."""
    version = run(tools, "-c", "import numpy; print(numpy.__version__)").strip()
    run(
        tools, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
        f"--platform={platform}", f"--dest={work}", f"numpy=={version}",
    )  # fmt: skip
    (archive,) = work.glob("numpy-*.whl")
    with zipfile.ZipFile(archive) as file:
        file.extractall(work, [n for n in file.namelist() if "/_core/include/" in n])
    python = pathlib.Path(sysconfig.get_path("include"))
    if windows:  # a header's own folder is searched first
        shutil.copytree(python, work / "python")
        python = work / "python"
        shutil.copy(ROOT / ".ci" / "windows" / "pyconfig.h", python)
    return work / "numpy" / "_core" / "include", python


def library(tools, work, caches):
    """An import library of python3.dll, by the list of the stable ABI's names."""
    code = """
from abi3info import DATAS, FUNCTIONS
print("LIBRARY python3.dll", "EXPORTS", sep="\\n")
print(*(symbol.name for symbol in FUNCTIONS), sep="\\n")
print(*(f"{symbol.name} DATA" for symbol in DATAS), sep="\\n")
"""
    (work / "python3.def").write_text(run(tools, "-c", code))
    run(
        tools, "-m", "ziglang", "dlltool", "-m", "i386:x86-64", "-d", work / "python3.def",
        "-l", work / "python3.lib", **caches,
    )  # fmt: skip
    return work / "python3.lib"


def main():
    tools, *names = sys.argv[1:]
    tools = pathlib.Path(tools).absolute()
    unknown = set(names) - {*WHEELS, *LINKED}
    if unknown:
        known = ", ".join([*WHEELS, *LINKED])
        sys.exit(f"nncore: no target {', '.join(unknown)}; there are {known}")
    folder = source(tools)
    for name in names or [*WHEELS, *LINKED]:
        (wheel if name in WHEELS else link)(tools, folder, name)


if __name__ == "__main__":
    main()
