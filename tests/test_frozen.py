"""Programs that are frozen, zipped or stripped of docstrings find every module, and the digits."""

import importlib.machinery
import importlib.resources
import modulefinder
import os
import subprocess
import sys
import zipapp
import zipfile
from pathlib import Path

import pytest

import nncore

PACKAGE = Path(nncore.__file__).parent
PROGRAM = """
import sys

import numpy as np

import nncore as nn

X, labels, X_test, labels_test = nn.datasets.load_split("digits")
np.random.seed(0)
net = nn.Sequential([nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10), nn.SoftMax()], nn.NLL())
stop = nn.callbacks.EarlyStopping("validation_loss")
X, X_test = X / 16, X_test / 16
net.fit(X, labels, epochs=10, optimizer="adam", lrate=0.01, validation=0.2, callbacks=stop, seed=0)
net.sgd(X, nn.datasets.one_hot(labels, 10), 1000, 0.01)
net.save("model.npz")
again = nn.load("model.npz")
assert (again.predict(X_test) == net.predict(X_test)).all()
assert net.score(X_test, labels_test) > 0.9
assert net.predictor()(X_test[:, 0]).argmax() == labels_test[0]
with nn.use_backend("numpy"):
    assert net.score(X_test, labels_test) > 0.9
assert nn.check(nn.Tanh()) and nn.reference.Linear and nn.accelerate
assert nn.plot_history and nn.optimizers.Adam
print("whole", getattr(sys, "frozen", False), nn.show_config(mode="dict")["isa"])
"""
# Neither the program nor nncore needs them; with them the analysis takes three times as long.
EXCLUDED = (
    "matplotlib tqdm pandas polars pyarrow PIL tkinter "
    "unittest pydoc doctest numpy.f2py numpy.testing "
    "setuptools pkg_resources multiprocessing concurrent "
    "xml email http sqlite3 ssl asyncio distutils pytest hypothesis"
).split()


def run(*command, cwd, **environment):
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program" / "train.py"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    return path


@pytest.mark.skipif(
    "san" in os.environ.get("LD_PRELOAD", ""),
    reason="a sanitizer is loaded, which the frozen program would lack",
)
def test_a_frozen_program_trains_saves_and_loads(program, tmp_path):
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed")
    built = run(
        sys.executable,
        "-m",
        "PyInstaller",
        "--onedir",
        "--noconfirm",
        "--log-level",
        "WARN",
        "--paths",
        PACKAGE.parent,
        "--distpath",
        tmp_path / "dist",
        "--workpath",
        tmp_path / "work",
        "--specpath",
        tmp_path,
        *(f"--exclude-module={name}" for name in EXCLUDED),
        program,
        cwd=tmp_path,
    )
    if "PythonLibraryNotFoundError" in built.stderr:
        pytest.skip("PyInstaller needs a Python with a shared library")
    assert built.returncode == 0, built.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program.unlink()
    result = run(tmp_path / "dist" / "train" / "train", cwd=elsewhere, PYTHONPATH="")
    assert result.stdout.split()[:2] == ["whole", "True"], result.stdout + result.stderr
    assert (elsewhere / "model.npz").exists()


def test_every_module_is_imported_by_a_statement_that_tools_see(program):
    """Look through import statements, not into compiled code, as PyInstaller and its like do."""
    finder = modulefinder.ModuleFinder(path=[str(PACKAGE.parent), str(program.parent)])
    finder.run_script(str(program))
    seen = {name for name in finder.modules if name.startswith("nncore")}
    files = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
    }
    modules = {name.removesuffix(".__init__") for name in files}
    assert modules - seen == {
        "nncore.__main__",
        "nncore.cli",
        "nncore.cli.arguments",
        "nncore.cli.check",
        "nncore.cli.completion",
        "nncore.cli.data",
        "nncore.cli.evaluate",
        "nncore.cli.export",
        "nncore.cli.info",
        "nncore.cli.messages",
        "nncore.cli.notebooks",
        "nncore.cli.predict",
        "nncore.cli.run",
        "nncore.cli.train",
        "nncore.cli.training",
    }  # the command, which programs do not import
    assert "nncore._core" in seen
    heavy = {"onnx", "torch"}  # extras that every frozen program would carry
    assert not heavy & {*finder.modules, *finder.badmodules}


def test_the_package_holds_no_file_that_is_read_at_run_time():
    """Tools take modules along; other files only if somebody names them."""
    kinds = {
        path.suffix
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert kinds <= {
        ".py",
        ".pyi",
        ".typed",
        ".md",
        *(Path(s).suffix for s in importlib.machinery.EXTENSION_SUFFIXES),
    } | {""}, kinds
    assert (
        (importlib.resources.files("nncore.data") / "ATTRIBUTION.md")
        .read_text()
        .startswith("# digits")
    )


def test_a_zipped_program_and_one_without_docstrings(program, tmp_path):
    program.rename(program.parent / "__main__.py")
    zipapp.create_archive(program.parent, tmp_path / "train.pyz")
    result = run(sys.executable, "-OO", tmp_path / "train.pyz", cwd=tmp_path)
    assert result.stdout.split()[:1] == ["whole"], result.stdout + result.stderr
    for arguments in (
        ["train", "--epochs=1", "--output=m.npz"],
        ["predict", "m.npz", "digits"],
        ["--help"],
        ["train", "--help"],
    ):
        assert run(sys.executable, "-OO", "-m", "nncore", *arguments, cwd=tmp_path).returncode == 0


def test_the_package_in_a_zip_archive_says_why_it_cannot_run(tmp_path):
    with zipfile.ZipFile(tmp_path / "library.zip", "w") as archive:
        for path in PACKAGE.rglob("*.py"):
            archive.write(path, path.relative_to(PACKAGE.parent))
    code = (
        "import sys, numpy\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f)]\n"
        "import nncore"
    )
    result = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "library.zip"))
    assert result.stderr.splitlines()[-1].endswith(
        "Python loads no compiled modules from a zip archive: unpack it"
    ), result.stderr
