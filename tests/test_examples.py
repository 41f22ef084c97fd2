"""Every script in examples/ as a user runs it, at small size; what its README lists; matplotlib only where a plot is asked for."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import nncore

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "plots")
WITHOUT_MATPLOTLIB = """\
import runpy, sys
script, sys.argv = sys.argv[1], sys.argv[1:]
sys.path[0], sys.modules["matplotlib"] = script.rpartition("/")[0], None
runpy.run_path(script, run_name="__main__")
"""
SMALL = {"decision_regions": ["xor", "hard", "--hidden", "3", "--iters", "500"]}


@pytest.fixture
def run(tmp_path):
    """run(script, *arguments): the finished process, in a folder of its own; one that asks for no plot has no matplotlib to import."""
    def start(script, *arguments, matplotlib=False):
        launcher = [] if matplotlib else ["-c", WITHOUT_MATPLOTLIB]
        command = [sys.executable, *launcher, str(FOLDER / f"{script}.py"), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(nncore.__file__).parent.parent), *sys.path])}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    return start


@pytest.fixture
def small(request):
    """Arguments that make a script take little time."""
    return lambda script: SMALL[script]


def output(done):
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


def arguments_of(script):
    """The script's own function that reads its arguments."""
    spec = importlib.util.spec_from_file_location(f"example_{script}", FOLDER / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.parse


def commands(text):
    """(script, arguments) of every command line in a text."""
    for script, arguments in re.findall(r"^ *python examples/(\w+)\.py(.*?)(?:  #.*)?$", text, re.MULTILINE):
        yield script, shlex.split(arguments)


# ------------------------------------------------------------------------------------------------ all of them


def test_every_example_is_run_here_and_listed():
    assert set(SCRIPTS) == set(SMALL)
    assert {script for script, _ in commands((FOLDER / "README.md").read_text())} == set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_commands_shown_are_understood(script):
    parse = arguments_of(script)
    shown = [arguments for name, arguments in commands((FOLDER / f"{script}.py").read_text()) if name == script]
    shown += [arguments for name, arguments in commands((FOLDER / "README.md").read_text()) if name == script]
    assert len(shown) >= 2
    for arguments in shown:
        parse(arguments)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_same_output_again_but_for_times(script, run, small):
    timeless = [re.sub(r"\d+\.\d+ (?:s|µs)\b", "", output(run(script, *small(script)))) for _ in range(2)]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("script", SCRIPTS)
def test_plot(script, run, small, tmp_path):
    refused = run(script, *small(script), "--plot", "plot.png")
    assert refused.returncode == 1 and not refused.stdout
    assert refused.stderr == "--plot needs matplotlib; install it with `pip install nncore[plot]`\n"
    pytest.importorskip("matplotlib")
    assert output(run(script, *small(script), "--plot", "plot.png", matplotlib=True)).endswith("plotted plot.png\n")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------ one by one


def test_decision_regions_of_the_homework(run):
    lines = output(run("decision_regions")).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["super_simple_separable_through_origin", "super_simple_separable", "xor",
                                                       "xor_more", "hard"]
    assert all(re.search(r" +0\.0\d+ +1\.00 +\d+\.\d+ s$", line) for line in lines[1:]), lines


def test_decision_regions_of_a_set_that_is_not_there(run):
    refused = run("decision_regions", "soft")
    assert refused.returncode == 2 and "SET must be one of super_simple_separable_through_origin, " in refused.stderr
