"""Type checkers and editors understand the library: mypy --strict and pyright find nothing wrong in
the examples and in a user's program, and every planted mistake; all public names are annotated."""

import dataclasses
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nncore

PACKAGE = Path(nncore.__file__).parent
ROOT = Path(__file__).parent.parent  # a wheel is elsewhere
TYPED = ROOT / "tests" / "typed"
WRONG = TYPED / "mistakes.py"
PLANTED = {
    i for i, line in enumerate(WRONG.read_text().splitlines(), 1) if line.endswith("  # wrong")
}


def found_by_mypy(folder):
    """{(name of the file, line)} of errors, and mypy's output."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache")]
    command += ["--no-error-summary", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors = re.findall(r"^(.*?):(\d+): error:", done.stdout, re.MULTILINE)
    return {(Path(path).name, int(line)) for path, line in errors}, done.stdout


def found_by_pyright(folder):
    """The same of pyright, which needs Node.js."""
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    try:
        done = subprocess.run(
            [*command, "."],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=180,
            env=environment,
        )
        report = json.loads(done.stdout)["generalDiagnostics"]
    except subprocess.TimeoutExpired:
        pytest.skip("pyright did not answer; it fetches Node.js where there is none")
    except ValueError:
        last = (done.stderr or done.stdout).strip().splitlines()
        pytest.skip(f"pyright cannot run here: {last[-1] if last else 'no output'}")
    errors = [d for d in report if d["severity"] == "error"]
    places = {(Path(d["file"]).name, d["range"]["start"]["line"] + 1) for d in errors}
    return places, "\n".join(f"{d['file']}:{d['range']}: {d['message']}" for d in errors)


@pytest.mark.parametrize("find", [found_by_mypy, found_by_pyright], ids=["mypy", "pyright"])
def test_a_type_checker_finds_the_planted_mistakes_and_nothing_else(find, tmp_path):
    """From a folder in which nncore is not: the (editable) install must lead to it."""
    assert len(PLANTED) >= 25
    shutil.copytree(TYPED, tmp_path, dirs_exist_ok=True)
    shutil.copytree(ROOT / "examples", tmp_path, dirs_exist_ok=True)
    found, output = find(tmp_path)
    assert found == {(WRONG.name, line) for line in PLANTED}, output


def test_the_typed_program_runs(tmp_path):
    pytest.importorskip("matplotlib")
    program = TYPED / "program.py"
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Linear(64, 32)" in done.stdout and "(50,)" in done.stdout


# ------------------------------------------------------------------------------------- annotations

MODULES = (
    "nncore nncore.callbacks nncore.checking nncore.datasets nncore.export nncore.foreign "
    "nncore.kernels.numpy_kernels nncore.losses nncore.modules nncore.optimizers nncore.schedules "
    "nncore.sklearn"
).split()


def public_functions(name):
    """{full name: function} of a module's public functions, and its classes' own methods."""
    module = importlib.import_module(name)
    found = {}
    for public in module.__all__:
        thing = getattr(module, public)
        if inspect.isclass(thing) and thing.__module__.startswith("nncore"):
            for member, method in vars(thing).items():
                function = getattr(method, "fget", None) or method
                own = member == "__init__" and not dataclasses.is_dataclass(thing)
                made = member.endswith("_request")  # by scikit-learn
                if (not member.startswith("_") or own) and inspect.isfunction(function):
                    found |= {} if made else {f"{name}.{public}.{member}": function}
        elif inspect.isfunction(thing):
            found[f"{name}.{public}"] = thing
    return found


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_and_methods_are_annotated(name):
    if name == "nncore.sklearn":
        pytest.importorskip("sklearn")
    functions = public_functions(name)
    assert functions
    missing = []
    for full, function in functions.items():
        signature = inspect.signature(function)
        missing += [
            f"{full}({p.name})"
            for p in signature.parameters.values()
            if p.annotation is p.empty and p.name not in ("self", "cls")
        ]
        if signature.return_annotation is signature.empty:
            missing.append(f"{full} ->")
    assert not missing


def test_the_stub_names_what_the_compiled_core_has():
    from nncore import _core

    text = (PACKAGE / "_core.pyi").read_text()
    names = set(re.findall(r"^(?:def |class )?(\w+)(?:\(|:)", text, re.MULTILINE))
    assert len(names) > 80
    assert not {name for name in names if not hasattr(_core, name)}
    for cls in (_core.Learner, _core.Predictor):
        body = text.partition(f"class {cls.__name__}:")[2].partition("\nclass ")[0]
        public = {name for name in dir(cls) if not name.startswith("_")}
        assert public <= set(re.findall(r"^    (?:def )?(\w+)", body, re.MULTILINE))


def test_the_marker_of_typed_packages_is_shipped():
    assert (PACKAGE / "py.typed").exists()
    assert 'nncore = ["py.typed", "*.pyi"]' in (ROOT / "pyproject.toml").read_text()
