"""Every script in examples/ as a user runs it, at small size; what its README lists; matplotlib
only if a plot is asked for."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nncore

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(
    path.stem for path in FOLDER.glob("*.py") if path.stem not in ("cortex_m", "plots")
)
WITHOUT_MATPLOTLIB = """\
import runpy, sys
script, sys.argv = sys.argv[1], sys.argv[1:]
sys.path[0], sys.modules["matplotlib"] = script.rpartition("/")[0], None
runpy.run_path(script, run_name="__main__")
"""
SMALL = {
    "decision_regions": ["xor", "hard", "--hidden", "3", "--iters", "500"],
    "digits": ["--hidden", "8", "--epochs", "3"],
    "mnist": ["FOLDER", "--hidden", "12,8", "--epochs", "2"],
    "online": ["--hidden", "4", "--samples", "400"],
    "spirals": ["--hidden", "8", "--points", "40"],
    "take_it_with_you": ["--hidden", "4", "--epochs", "2", "--images", "3"],
}


@pytest.fixture
def run(tmp_path):
    """run(script, *arguments): the finished process, in a folder of its own; one that asks for no
    plot has no matplotlib to import."""

    def start(script, *arguments, matplotlib=False):
        launcher = [] if matplotlib else ["-c", WITHOUT_MATPLOTLIB]
        command = [sys.executable, *launcher, str(FOLDER / f"{script}.py"), *map(str, arguments)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(nncore.__file__).parent.parent), *sys.path]),
        }
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )

    return start


@pytest.fixture(scope="module")
def idx_folder(tmp_path_factory):
    """A folder like MNIST's: the 8x8 digits as images of 28x28 pixels with 256 grey levels."""
    folder = tmp_path_factory.mktemp("idx")
    X, labels = nncore.datasets.load_digits()
    images = np.zeros((labels.size, 28, 28), np.uint8)
    images[:, 2:26, 2:26] = np.kron(X.T.reshape(-1, 8, 8), np.ones((1, 3, 3))) * (255 / 16)
    for name, body in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
        head = b"".join(n.to_bytes(4, "big") for n in (0x0800 + body.ndim, *body.shape))
        (folder / f"train-{name}-ubyte").write_bytes(head + body.tobytes())
    return folder


@pytest.fixture
def small(idx_folder):
    """small(script): arguments that make it take little time."""
    return lambda script: [
        idx_folder if argument == "FOLDER" else argument for argument in SMALL[script]
    ]


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
    for script, arguments in re.findall(
        r"^ *python examples/(\w+)\.py(.*?)(?:  #.*)?$", text, re.MULTILINE
    ):
        yield script, shlex.split(arguments)


# -------------------------------------------------------------------------------------- all of them


def test_every_example_is_run_here_and_listed():
    assert set(SCRIPTS) == set(SMALL)
    assert {script for script, _ in commands((FOLDER / "README.md").read_text())} == set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_commands_shown_are_understood(script):
    parse = arguments_of(script)
    shown = [
        arguments
        for name, arguments in commands((FOLDER / f"{script}.py").read_text())
        if name == script
    ]
    shown += [
        arguments
        for name, arguments in commands((FOLDER / "README.md").read_text())
        if name == script
    ]
    assert len(shown) >= 2
    for arguments in shown:
        parse(arguments)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_same_output_again_but_for_times(script, run, small):
    timeless = [
        re.sub(r"\d+\.\d+ (?:s|µs)\b", "", output(run(script, *small(script)))) for _ in range(2)
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("script", SCRIPTS)
def test_plot(script, run, small, tmp_path):
    refused = run(script, *small(script), "--plot", "plot.png")
    assert refused.returncode == 1 and not refused.stdout
    assert refused.stderr == "--plot needs matplotlib; install it with `pip install nncore[plot]`\n"
    pytest.importorskip("matplotlib")
    assert output(run(script, *small(script), "--plot", "plot.png", matplotlib=True)).endswith(
        "plotted plot.png\n"
    )
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


# --------------------------------------------------------------------------------------- one by one


def test_decision_regions_of_the_homework(run):
    lines = output(run("decision_regions")).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "super_simple_separable_through_origin",
        "super_simple_separable",
        "xor",
        "xor_more",
        "hard",
    ]
    assert all(re.search(r" +0\.0\d+ +1\.00 +\d+\.\d+ s$", line) for line in lines[1:]), lines


def test_decision_regions_of_a_set_that_is_not_there(run):
    refused = run("decision_regions", "soft")
    assert (
        refused.returncode == 2
        and "SET must be one of super_simple_separable_through_origin, " in refused.stderr
    )


def test_digits(run, tmp_path):
    lines = output(run("digits", "--save", "model.npz")).splitlines()
    assert re.fullmatch(
        r"epochs \d+, best validation loss 0\.\d+ in epoch \d+, whose weights are kept", lines[0]
    )
    counts = np.array([re.findall(r"\d+", line.replace(".", "0"))[1:] for line in lines[2:12]], int)
    accuracy, right, of = map(
        float, re.fullmatch(r"test accuracy: (0\.\d+) \((\d+)/(360)\)", lines[12]).groups()
    )
    assert (
        counts.shape == (10, 10)
        and counts.sum() == of
        and counts.trace() == right
        and accuracy > 0.97
    )
    X, labels = nncore.datasets.load_digits("test")
    predicted = nncore.load(tmp_path / "model.npz").predict(X / 16)
    assert counts.tolist() == [
        [int(np.sum((labels == i) & (predicted == j))) for j in range(10)] for i in range(10)
    ]


def test_mnist(run, idx_folder):
    lines = output(run("mnist", idx_folder, "--hidden", "32", "--epochs", "5")).splitlines()
    assert lines[0] == "1437 images to train on, 360 to test"
    assert "  Linear(784, 32, dtype=float32)  # 25,120 parameters" in lines
    losses = [float(line.split()[4]) for line in lines if line.startswith("epoch")]
    assert len(losses) == 5 and losses[-1] < losses[0] / 2
    assert float(re.fullmatch(r"test accuracy: (0\.\d+) \(\d+/360\)", lines[-1])[1]) > 0.9


def test_mnist_without_its_files(run, tmp_path):
    refused = run("mnist", tmp_path)
    assert (
        refused.returncode == 1
        and refused.stderr.startswith("mnist.py: ")
        and len(refused.stderr.splitlines()) == 1
    )


def test_online(run):
    lines = output(run("online", "--samples", "8000", "--lrate", "0.1")).splitlines()
    seen, online, frozen = np.array([line.split() for line in lines[1:21]], float).T
    assert seen.tolist() == list(range(400, 8001, 400))
    np.testing.assert_array_equal(online[:6], frozen[:6])
    assert online[4:6].mean() > 0.82 and online[-6:].mean() > 0.82 > 0.75 > frozen[-6:].mean()
    overall = [float(number) for number in re.findall(r"\d\.\d{4}", lines[21])]
    np.testing.assert_allclose(overall, [online.mean(), frozen.mean(), 0.95], atol=1e-3)


def test_online_predicts_before_it_learns(run):
    """Labels by the toss of a coin cannot be known before they are seen."""
    accuracy = float(
        re.search(
            r"^prequential accuracy: (\S+),",
            output(run("online", "--noise", "0.5", "--samples", "2000", "--lrate", "1")),
            re.MULTILINE,
        )[1]
    )
    assert abs(accuracy - 0.5) < 0.06


def test_online_without_enough_samples(run):
    refused = run("online", "--samples", "19")
    assert refused.returncode == 2 and "--samples must be at least 20, got 19" in refused.stderr


def test_spirals(run):
    lines = output(run("spirals")).splitlines()
    steps, losses, accuracies = zip(*(line.split()[:3] for line in lines[1:]), strict=True)
    assert steps == ("1000", "5000", "30000") and accuracies[-1] == "1.00"
    assert float(losses[0]) > float(losses[1]) > float(losses[2])


def test_take_it_with_you(run, tmp_path):
    text = output(run("take_it_with_you", "--folder", "kept"))
    assert float(re.search(r"test accuracy (0\.\d+)", text)[1]) > 0.95
    assert float(re.search(r"digits: int8 gives the same class for (\S+) of 1437", text)[1]) > 0.98
    for name in ("ONNX Runtime", "C, float"):
        line = re.search(f"^{name}: (.*)$", text, re.MULTILINE)[1]
        assert line.startswith("skipped, ") or line == (
            "the same class for 360 of 360 images, probabilities within 1e-6"
        )
    line = re.search("^Cortex-M3(.*)$", text, re.MULTILINE)[1]
    assert line.startswith((": skipped, ", ", int8: the same class for 100 of 100 images; "))
    assert (tmp_path / "kept" / "digits_int8.c").exists()
