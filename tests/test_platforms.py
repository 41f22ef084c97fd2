"""What differs between processors, compilers and operating systems: the instruction-set level that
runs, what is missing on Windows, and the flags of the build."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from nncore import _core, _files

ROOT = Path(__file__).parent.parent
X86 = platform.machine() in ("x86_64", "AMD64")

# ------------------------------------------------------------------------------------------- levels

# as Linux names them in /proc/cpuinfo, where it omits what it does not save or has switched off
FLAGS = {
    "avx2": {"avx2", "fma", "bmi2"},
    "avx512": {"avx2", "fma", "bmi2", "avx512f", "avx512vl", "avx512bw", "avx512dq"},
}
# dispatch.c with tables that hold nothing; prints the usable levels, and what the compiler answers
DRIVER = """
#include "kernels/dispatch.c"
#include <stdio.h>
const nn_kernels nn_table_generic_float, nn_table_generic_double, nn_table_avx2_float,
    nn_table_avx2_double, nn_table_avx512_float, nn_table_avx512_double;
int main(void) {
    for (int i = 0; i < NN_LEVELS; i++) if (nn_level_usable(i)) printf("%s ", nn_level_name(i));
#ifdef ASK
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("bmi2");
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    printf("| generic %s%s", avx2 ? "avx2 " : "", avx512 ? "avx512 " : "");
#endif
    return 0;
}
"""


def levels_of_the_system():
    """The levels that /proc/cpuinfo says this processor and system can run."""
    path = Path("/proc/cpuinfo")
    if not X86 or not path.exists():
        pytest.skip("no /proc/cpuinfo of an x86-64 processor")
    flags = set(next(x for x in path.read_text().splitlines() if x.startswith("flags")).split())
    return ("generic", *(name for name, needed in FLAGS.items() if needed <= flags))


def run_driver(folder, *compiler):
    """What the driver prints when it is built by this command."""
    if not (ROOT / "src").is_dir():
        pytest.skip("the sources are not here")
    source, program = folder / "driver.c", folder / "driver"
    source.write_text(DRIVER)
    command = [*compiler, "-std=gnu11", f"-I{ROOT / 'src'}", str(source), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    return subprocess.run([program], capture_output=True, text=True, timeout=60).stdout.split("|")


def test_the_levels_are_those_of_the_processor():
    assert _core.isa_levels() == levels_of_the_system()


def test_the_highest_level_runs():
    """A build that finds only a lower one would be right, and two to three times as slow."""
    environment = {name: text for name, text in os.environ.items() if name != "NNCORE_ISA"}
    code = "import nncore; print(nncore.show_config(mode='dict')['isa'])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )
    assert result.stdout.strip() == levels_of_the_system()[-1], result.stderr


@pytest.mark.skipif(not X86, reason="other processors have one level")
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_levels_are_those_that_the_compiler_finds(compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    ours, compilers = run_driver(tmp_path, compiler, "-DASK")
    assert ours.split() == compilers.split()


def test_a_build_by_zig_finds_the_levels(tmp_path):
    """Its own __builtin_cpu_supports answers 0 to everything."""
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    (ours,) = run_driver(tmp_path, sys.executable, "-m", "ziglang", "cc")
    assert ours.split() == [*levels_of_the_system()]


# ------------------------------------------------------------------------------------------ Windows

# Taken away before the import: what Python for Windows lacks and the library uses elsewhere.
WINDOWS = """
import os, sys, threading
for name in ("register_at_fork", "fork", "sched_getaffinity", "fchmod", "fchown", "O_NOFOLLOW",
             "O_NONBLOCK"):
    if hasattr(os, name):
        delattr(os, name)
sys.modules["fcntl"] = None
"""


def on_windows(code, folder):
    """Run code in a fresh interpreter that lacks what Windows lacks."""
    result = subprocess.run(
        [sys.executable, "-c", WINDOWS + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_it_imports_and_trains_without_what_windows_lacks(tmp_path):
    out = on_windows(
        """
import numpy as np, nncore as nn
from nncore import _files
_files.WINDOWS = True
np.random.seed(0)
net = nn.Sequential([nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10), nn.SoftMax()], nn.NLL())
X, labels, X_test, labels_test = nn.datasets.load_split("digits")
net.sgd(X / 16, nn.datasets.one_hot(labels, 10), 3000, 0.05)
net.fit(X / 16, labels, epochs=20, lrate=0.05, seed=0)
net.predict_proba(X_test / 16)
for _ in range(2):  # the second save replaces a file
    net.save("model.npz")
assert (nn.load("model.npz").predict(X_test / 16) == net.predict(X_test / 16)).all()
print(net.score(X_test / 16, labels_test) > 0.85, nn.get_num_threads() >= 1, *os.listdir())
""",
        tmp_path,
    )
    assert out.split() == ["True", "True", "model.npz"]


def test_the_estimators_import_without_what_windows_lacks(tmp_path):
    pytest.importorskip("sklearn")
    code = "from nncore.sklearn import MLPClassifier; print(MLPClassifier.__name__)"
    assert on_windows(code, tmp_path).split() == ["MLPClassifier"]


def test_a_file_is_closed_before_it_is_renamed_on_windows(tmp_path, monkeypatch):
    """Windows refuses to rename an open file."""
    path, open_then, replace = tmp_path / "model.npz", [], os.replace

    def watched(old, new):
        descriptors = Path("/proc/self/fd")
        for link in descriptors.iterdir() if descriptors.exists() else ():
            if link.exists() and link.resolve() == Path(old).resolve():
                open_then.append(old)
        replace(old, new)

    monkeypatch.setattr(_files, "WINDOWS", True)
    monkeypatch.setattr(os, "replace", watched)
    for content in (b"one", b"another"):
        _files.write(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
    assert not open_then and os.listdir(tmp_path) == ["model.npz"]


# ------------------------------------------------------------------------------- flags of the build


@pytest.fixture(scope="module")
def build():
    """setup.py as a module; it builds only when it is run."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("not in a checkout")
    pytest.importorskip("setuptools")
    spec = importlib.util.spec_from_file_location("nncore_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_flags_follow_the_compiler(build):
    compiling, linking, libraries = build.flags("unix", "linux")
    assert "-pthread" in compiling and linking == ["-pthread"] and libraries == ["m"]
    assert build.flags("unix", "darwin")[2] == ["m"]
    for kind in ("msvc", "mingw32", "unix"):  # no libm and no libpthread there
        compiling, linking, libraries = build.flags(kind, "win32")
        assert not linking and not libraries and "-pthread" not in compiling
    assert "-g" in build.flags("unix", "linux", debug=True)[0]


def test_unwind_tables_are_left_out_where_nothing_needs_them(build):
    """Windows unwinds by tables, and so do debuggers and sanitizers."""
    left_out = "-fno-asynchronous-unwind-tables"
    assert left_out in build.flags("unix", "linux")[0]
    assert left_out not in build.flags("unix", "linux", debug=True)[0]
    assert left_out not in build.flags("unix", "win32")[0] + build.flags("unix", "darwin")[0]


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_gcc_is_told_from_clang_in_its_place(build, name, tmp_path):
    """On macOS, gcc is clang."""
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    (tmp_path / "cc").symlink_to(shutil.which(name))
    expected = name == "gcc" and sys.platform != "darwin"
    assert build.is_gcc([str(tmp_path / "cc")]) == expected


def test_clang_cl_gets_flags_in_its_own_form(build):
    """It ignores, or takes for files, flags in the form of gcc."""
    compiling = build.flags("msvc", "win32")[0]
    assert "/clang:-ffp-contract=fast" in compiling and "/clang:-std=gnu11" in compiling
    assert all(flag.startswith(("/clang:-", "-W")) for flag in compiling)


@pytest.mark.parametrize("command", ["", "cl", "cl.exe", "C:/VC/bin/cl.exe", "gcc"])
def test_msvc_is_refused_in_a_sentence_that_names_clang_cl(build, command):
    with pytest.raises(Exception, match="cannot be compiled by MSVC's cl.*set CC=clang-cl"):
        build.clang_cl(command)


def test_clang_cl_is_found_or_named_as_missing(build, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Exception, match="CC=clang-cl was not found; add the folder"):
        build.clang_cl("clang-cl")
    program = tmp_path / "clang-cl"
    program.write_text("")
    program.chmod(0o755)
    assert build.clang_cl("clang-cl") == str(program)
    assert build.clang_cl(str(program)) == str(program)


def test_the_stable_abi_is_asked_for_in_one_way(build, monkeypatch):
    for text, wanted in (("", False), ("0", False), ("1", True)):
        monkeypatch.setenv("NNCORE_ABI3", text)
        monkeypatch.setattr(sysconfig, "get_config_var", lambda name: 0)
        assert build.abi3() is wanted
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: name == "Py_GIL_DISABLED")
    with pytest.raises(SystemExit, match="not possible with a free-threaded Python"):
        build.abi3()
    monkeypatch.setenv("NNCORE_ABI3", "yes")
    with pytest.raises(SystemExit, match="NNCORE_ABI3 must be 0 or 1, got 'yes'"):
        build.abi3()
