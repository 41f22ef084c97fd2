"""The command as a user runs it: `python -m nncore ...` in a process and a folder of its own."""

import os
import re
import signal
import stat
import statistics
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import nncore
from nncore import datasets, serialization

QUICK = ["--epochs", "2", "--no-compare"]
NUMBER = r"\d+(\.\d+)?"


def nncore_command(*arguments):
    return [sys.executable, "-m", "nncore", *map(str, arguments)]


@pytest.fixture
def environment():
    """So that the process imports the very package that this one imported, from whatever folder it
    starts in."""
    package_parent = os.path.dirname(os.path.dirname(os.path.abspath(nncore.__file__)))
    return {**os.environ, "PYTHONPATH": package_parent}


@pytest.fixture
def run(tmp_path, environment):
    """run(*arguments): the finished process, started in `tmp_path`."""

    def start(*arguments):
        return subprocess.run(
            nncore_command(*arguments),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return start


@pytest.fixture
def table(tmp_path):
    """A .csv of three classes in the plane that a small network separates; labels -1, 4, 7 in the
    last column."""
    rng = np.random.default_rng(5)
    kind = rng.integers(0, 3, 200)
    points = rng.normal(scale=0.3, size=(200, 2)) + 3 * np.eye(3)[kind][:, :2]
    path = tmp_path / "table.csv"
    np.savetxt(
        path, np.column_stack([points, np.array([-1, 4, 7])[kind]]), fmt="%.6g", delimiter=","
    )
    return path


# ---------------------------------------------------------------- the main job


def test_train_without_arguments(run, tmp_path):
    done = run("train")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert sum(line.startswith("epoch") for line in lines) == 30
    assert re.fullmatch(
        rf"epoch  1/30  rate {NUMBER} +loss {NUMBER}  train 0\.\d+  test 0\.\d+  {NUMBER} s",
        lines[3],
    )
    assert any(re.match(r"trained   43110 samples in .* samples/s", line) for line in lines)
    assert any(
        re.match(
            r"speed     compiled backend .* times as fast as the NumPy backend, measured", line
        )
        for line in lines
    )
    accuracy, correct = re.fullmatch(r"test accuracy: (\d\.\d{4}) \((\d+)/360\)", lines[-1]).group(
        1, 2
    )
    assert accuracy == f"{int(correct) / 360:.4f}"
    assert os.listdir(tmp_path) == ["nncore-model.npz"]

    again = run("predict", "nncore-model.npz", "digits", "--part", "test")
    assert again.returncode == 0 and again.stderr == f"accuracy: {accuracy} ({correct}/360)\n"
    labels = datasets.load_digits("test")[1]
    predicted = np.array(again.stdout.split(), int)
    assert predicted.shape == labels.shape and (predicted == labels).sum() == int(correct)


def test_default_accuracy(run):
    """The median over a few seeds; over seeds 0 to 9 it is 0.989."""
    lines = [run("train", "--seed", seed, "--quiet", "--no-save").stdout for seed in range(3)]
    assert statistics.median(float(line.split()[2]) for line in lines) >= 0.96


def test_same_seed_same_model(run, tmp_path):
    for name, seed in (("a.npz", 3), ("b.npz", 3), ("c.npz", 4)):
        assert run("train", *QUICK, "--seed", seed, "--output", name).returncode == 0
    weights = [nncore.load(tmp_path / name).modules[0].W for name in ("a.npz", "b.npz", "c.npz")]
    assert np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[0], weights[2])


def test_both_backends_draw_and_learn_the_same(run, tmp_path):
    for backend in ("numpy", "compiled"):
        done = run(
            "train",
            "--epochs",
            1,
            "--no-compare",
            "--dtype",
            "float64",
            "--activation",
            "tanh",
            "--rate",
            0.01,
            "--backend",
            backend,
            "--output",
            f"{backend}.npz",
        )
        assert done.returncode == 0, done.stderr
    one, other = (
        nncore.load(tmp_path / f"{backend}.npz").modules[0].W for backend in ("numpy", "compiled")
    )
    assert np.allclose(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        ["--layers", "none"],
        [
            "--layers",
            "16,8",
            "--activation",
            "sigmoid",
            "--dtype",
            "float64",
            "--schedule",
            "constant",
        ],
        ["--batch-size", "16", "--schedule", "cosine"],
        ["--shuffle", "--schedule", "inverse", "--scaling", "standard"],
    ],
)
def test_options(run, options):
    done = run("train", *QUICK, "--no-save", *options)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines()[-1].startswith("test accuracy: ")


def test_optimizer_penalty_and_validation(run):
    done = run(
        "train",
        *QUICK,
        "--batch-size",
        32,
        "--optimizer",
        "adam",
        "--l2",
        1e-4,
        "--validation",
        0.2,
        "--no-save",
    )
    lines = done.stdout.splitlines()
    assert (
        done.returncode == 0
        and "1150 samples to train on, 287 to validate, 360 to test" in lines[0]
    )
    assert "shuffled batches of 32, adam, l2 0.0001, rate 0.001 cosine" in lines[2]
    assert re.fullmatch(
        rf"epoch 1/2  rate 0.001 +loss {NUMBER}  train 0\.\d+  validation 0\.\d+  test "
        rf"0\.\d+  {NUMBER} s",
        lines[3],
    )
    assert run("train", *QUICK, "--optimizer", "momentum", "--quiet").stdout.startswith(
        "test accuracy: 0."
    )


def test_plot(run, tmp_path):
    done = run("train", *QUICK, "--no-save", "--plot", "curve.png")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert_refused(done, "--plot needs matplotlib; install it with")
        return
    assert done.returncode == 0 and "plotted   curve.png" in done.stdout
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_table_with_labels_of_any_value(run, table, tmp_path):
    done = run("train", table, "--epochs", 5, "--quiet", "--output", "m.npz")
    assert re.fullmatch(r"test accuracy: (0\.9|1\.0)\d+ \(\d+/40\)\n", done.stdout), done.stderr
    labelled = run("predict", "m.npz", table)
    assert set(labelled.stdout.split()) == {"-1", "4", "7"} and labelled.stderr.startswith(
        "accuracy: "
    )
    unlabelled = tmp_path / "points.csv"
    unlabelled.write_text(
        "".join(line.rpartition(",")[0] + "\n" for line in table.read_text().splitlines())
    )
    plain = run("predict", "m.npz", unlabelled)
    assert plain.stdout == labelled.stdout and plain.stderr == ""


def test_no_save_writes_nothing(run, tmp_path):
    for options in (["--no-save"], ["--output", ""]):
        assert run("train", *QUICK, *options).returncode == 0
        assert os.listdir(tmp_path) == []


def test_the_command_is_installed_and_helps(run):
    for arguments in (["-h"], ["train", "-h"], ["predict", "-h"]):
        done = run(*arguments)
        assert (
            done.returncode == 0
            and done.stderr == ""
            and max(map(len, done.stdout.splitlines())) <= 120
        )
    assert "another algorithm" in run("train", "-h").stdout
    assert run("--version").stdout == f"nncore {nncore.__version__}\n"


# ---------------------------------------------------------------- refusals


def bad_files(folder):
    """Unusable data under names that the table below uses."""
    digits = datasets.load_digits()[0].T
    np.savez(folder / "nan.npz", X=[[1.0, np.nan], [2, 3]], y=[0, 1])
    np.savez(folder / "counts.npz", X=digits, y=np.zeros(5))
    np.savez(folder / "names.npz", images=digits)
    np.savez(folder / "nolabels.npz", X=digits)
    np.savez(folder / "one.npz", X=digits, y=np.ones(len(digits)))
    np.savez(folder / "huge.npz", X=[[1e300, 0.5], [-1e300, 2]] * 5, y=[0, 1] * 5)
    (folder / "ragged.csv").write_text("1,2,0\n1,2\n")
    (folder / "words.csv").write_text("1,2,0\n1,two,1\n")
    (folder / "float.csv").write_text("1,2,0.5\n1,2,1\n")
    (folder / "empty.csv").write_text("")
    (folder / "data.txt").write_text("1,2,0\n")
    (folder / "folder").mkdir()
    (folder / "idx").mkdir()
    (folder / "idx" / "t10k-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    (folder / "model.npz").write_bytes(b"no model")


BAD_TRAIN = [
    ("none.csv", "none.csv: No such file"),
    ("nan.npz", "got nan in sample 1"),
    ("counts.npz", "one label per sample"),
    ("names.npz", "must hold arrays X and y"),
    ("nolabels.npz", "must hold labels"),
    ("one.npz", "two classes"),
    ("huge.npz", "squares"),
    ("ragged.csv", "in line 2"),
    ("words.csv", "'two' in line 2, column 2"),
    ("float.csv --task classification", "integers as labels, got 0.5 in line 1"),
    ("float.csv", "must hold different numbers as targets to train on, got only 0.5"),
    ("empty.csv", "empty file"),
    ("data.txt", "another kind"),
    ("folder", "must hold idx files"),
    ("idx", "gzip"),
    ("digits more", "unrecognized arguments"),
    ("--nope", "unrecognized arguments"),
    ("--layers 64,x", "--layers: must be integers"),
    ("--layers 0", "--layers"),
    ("--layers 99999999999", "--layers"),
    ("--rate -1", "--rate: must be a positive number, got '-1'"),
    ("--rate nan", "--rate"),
    ("--optimizer adamx", "--optimizer: invalid choice: 'adamx'"),
    ("--l2 -1", "--l2: must be a number of at least 0, got '-1'"),
    ("--validation 1", "--validation: must be a number of at least 0 and below 1, got '1'"),
    (
        "--validation 0.0001",
        "--validation must leave samples to train and to validate on, got 0.0001 of 1437 samples",
    ),
    ("--plot curve.xls", "--plot must end in .png, .pdf or .svg, got curve.xls"),
    (
        "--plot none/curve.png",
        "--plot must be a file that can be written, got none/curve.png (the folder does not exist)",
    ),
    ("--epochs 0", "--epochs: must be an integer"),
    ("--epochs 1.5", "--epochs"),
    ("--batch-size 0", "--batch-size"),
    ("--seed -1", "--seed"),
    ("--dtype int8", "--dtype"),
    ("--activation elu", "--activation"),
    ("--schedule x", "--schedule"),
    ("--backend gpu", "--backend"),
    ("--label-column 3", "--label-column"),
    ("--output folder", "--output must be a file that can be written, got folder (is a folder)"),
    ("ragged.csv --output ragged.csv", "--output must be another file than DATA"),
    (
        "--output nowhere/m.npz",
        "--output must be a file that can be written, got nowhere/m.npz "
        "(the folder does not exist)",
    ),
]
BAD_PREDICT = [
    ("none.npz digits", "none.npz"),
    ("model.npz digits", "model.npz"),
    ("nan.npz digits", "nan.npz"),
    ("good.npz none.csv", "none.csv"),
    ("good.npz table.csv", "must have 64 features per sample"),
    ("good.npz", "the following arguments are required: DATA"),
    ("good.npz digits --part x", "--part"),
]


def listing(folder):
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def assert_refused(done, message):
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"nncore: .+\n", done.stderr) and message in done.stderr, done.stderr


@pytest.mark.parametrize("arguments, message", BAD_TRAIN)
def test_bad_training_is_refused(run, tmp_path, arguments, message):
    bad_files(tmp_path)
    before = listing(tmp_path)
    assert_refused(run("train", *arguments.split()), message)
    assert listing(tmp_path) == before


def test_bad_prediction_is_refused(run, table, tmp_path):
    bad_files(tmp_path)
    assert run("train", *QUICK, "--output", "good.npz").returncode == 0
    before = listing(tmp_path)
    for arguments, message in BAD_PREDICT:
        assert_refused(run("predict", *arguments.split()), message)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    "metadata",
    [
        {"scaling": 3},
        {"scaling": {"shift": 0.0}},
        {"classes": [1, 2, 3]},
        {"classes": [0.5, 1]},
        {"classes": [0, 2**63]},
        {"classes": 2},
        {"scaling": {"shift": 0.0, "factor": float("nan")}},
        {"scaling": {"shift": [0.0], "factor": 1.0}},
    ],
)
def test_a_model_whose_metadata_do_not_fit_is_refused(run, tmp_path, metadata):
    net = nncore.Sequential([nncore.Linear(64, 2), nncore.SoftMax()], nncore.NLL())
    serialization.save(net, tmp_path / "model.npz", metadata=metadata)
    assert_refused(
        run("predict", "model.npz", "digits"),
        "nncore: model.npz: " + next(iter(metadata)),
    )


@pytest.mark.parametrize("content", [b"1,2,0\n", b"", b"PK\3\4", "nested", "fifo"])
def test_files_that_are_no_models_are_refused(run, tmp_path, content):
    path = tmp_path / "model.npz"
    if content == "fifo":
        os.mkfifo(path)
    elif content == "nested":
        start = '{"format": "nncore", "version": 1, "metadata": {}, "modules": '
        np.savez(path, model=np.array(start + "[" * 500 + "]" * 500 + "}"))
    else:
        path.write_bytes(content)
    assert_refused(
        run("predict", "model.npz", "digits"),
        "model.npz is not an nncore model file (expected an .npz written by `save`)",
    )


def test_output_keeps_the_mode_and_is_never_put_in_the_place_of_a_fifo(run, tmp_path):
    (tmp_path / "m.npz").write_text("old")
    os.chmod(tmp_path / "m.npz", 0o600)
    os.mkfifo(tmp_path / "fifo")
    got = []
    reader = threading.Thread(
        target=lambda: got.append((tmp_path / "fifo").read_bytes()), daemon=True
    )
    reader.start()
    for name in ("m.npz", "fifo"):
        done = run("train", *QUICK, "--output", name)
        assert done.returncode == 0 and f"saved     {name}" in done.stdout, done.stderr
    reader.join(60)
    assert stat.S_IMODE((tmp_path / "m.npz").stat().st_mode) == 0o600
    assert (tmp_path / "fifo").is_fifo()
    assert got == [(tmp_path / "m.npz").read_bytes()]


def test_the_choice_of_columns_is_reported(run, table, tmp_path):
    """A line for a table; notes go to standard error, where prediction keeps them from its
    labels."""
    lines = run("train", table, *QUICK, "--no-save").stdout.splitlines()
    assert lines[1] == "table     labels in column 3, 2 columns of features; no headings"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    (tmp_path / "lxy.csv").write_text(
        "label,x,y\n" + "".join(f"{label},{x},{y}\n" for x, y, label in rows)
    )
    done = run("train", "lxy.csv", "--epochs", 5, "--quiet", "--output", "m.npz")
    note = (
        "nncore: note: lxy.csv: column 3 'y' is treated as a feature, "
        "because column 1 'label' holds the labels\n"
    )
    assert re.fullmatch(r"test accuracy: (0\.9|1\.0)\d+ \(\d+/40\)\n", done.stdout)
    assert done.stderr == note
    done = run("predict", "m.npz", "lxy.csv")
    assert len(done.stdout.split()) == 200 and re.fullmatch(r"accuracy: .*\n", done.stderr)
    (tmp_path / "clx.csv").write_text("class,label,x\n" + table.read_text())
    assert_refused(
        run("train", "clx.csv", "--output", ""),
        "column 1 'class' and column 2 'label'; say by --label-column which one",
    )
    assert_refused(
        run("train", table, "--label-column", "x"),
        "--label-column must be auto, first, last, none or a heading of",
    )


def test_an_index_is_left_out(run, table, tmp_path):
    rows = table.read_text().splitlines()
    numbered = [f"{i},{row}" for i, row in enumerate(rows)]
    (tmp_path / "i.csv").write_text("\n".join([",a,b,class", *numbered]))
    done = run("train", "i.csv", *QUICK, "--output", "m.npz")
    assert (
        "table     labels in column 4 'class', 2 columns of features, "
        "column 1 '' left out as an index; headings in line 1"
    ) in done.stdout
    (tmp_path / "few.csv").write_text(
        "\n".join([",a,b", *(row.rpartition(",")[0] for row in numbered[:7])])
    )
    done = run("predict", "m.npz", "few.csv")
    assert len(done.stdout.split()) == 7 and done.stderr == ""


def test_names_of_files_that_are_no_text(run, table, tmp_path, environment):
    os.rename(table, os.path.join(os.fsencode(tmp_path), b"\xff.csv"))
    environment["PYTHONIOENCODING"] = "ascii:strict"
    command = nncore_command("train", *QUICK, "--output", "\u00e9.npz", os.fsdecode(b"\xff.csv"))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0 and done.stderr == b"" and b"saved " in done.stdout


def test_a_model_saved_without_metadata_predicts_its_own_classes(run, tmp_path):
    net = nncore.Sequential([nncore.Linear(64, 10), nncore.SoftMax()], nncore.NLL())
    net.save(tmp_path / "model.npz")
    done = run("predict", "model.npz", "digits")
    assert np.array_equal(
        np.array(done.stdout.split(), int), net.predict(datasets.load_digits()[0])
    )


def test_no_or_an_unknown_command_is_refused(run):
    assert_refused(run(), "COMMAND")
    assert_refused(run("dance"), "dance")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_output_is_refused_before_training(run, tmp_path):
    (tmp_path / "folder").mkdir(mode=0o555)
    assert_refused(
        run("train", "--output", "folder/m.npz"), "--output must be a file that can be written"
    )


@pytest.mark.parametrize("options", [[], ["--backend", "numpy"], ["--batch-size", "32"]])
def test_divergence_ends_training_and_saves_nothing(run, tmp_path, options):
    done = run("train", "--rate", "1e37", *options)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert re.match(
        r"nncore: training diverged in epoch \d+: .* --rate must be smaller, got ", done.stderr
    )
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- signals and pipes


def interrupted(tmp_path, environment, *arguments):
    """(status, standard output after the first epoch, errors) of a training that gets a SIGINT."""
    # A shell starts background jobs with the signal ignored, and children inherit that.
    process = subprocess.Popen(
        nncore_command("train", "--epochs", 1000000, *arguments),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    output, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 10
    return process.returncode, output, errors


@pytest.mark.parametrize("options", [[], ["--batch-size", "32", "--optimizer", "adam"]])
def test_an_interrupt_saves_what_was_learned(run, tmp_path, environment, options):
    status, output, errors = interrupted(tmp_path, environment, *options)
    assert status == 130 and re.fullmatch(
        r"nncore: interrupted in epoch \d+ of 1000000; nncore-model.npz holds what was learned\n",
        errors,
    )
    last = re.search(r"test accuracy: (0\.\d+ \(\d+/360\))\n$", output)
    done = run("predict", "nncore-model.npz", "digits", "--part", "test")
    assert done.stderr == f"accuracy: {last[1]}\n"
    assert float(last[1].split()[0]) > 0.3
    assert "speed" not in output and os.listdir(tmp_path) == ["nncore-model.npz"]


def test_an_interrupt_without_a_file(tmp_path, environment):
    status, _, errors = interrupted(tmp_path, environment, "--no-save")
    assert status == 130 and re.fullmatch(r"nncore: interrupted in epoch \d+ of 1000000\n", errors)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "arguments", [["train", "--epochs", "100000", "--no-compare"], ["predict", "m.npz", "digits"]]
)
def test_closed_pipe_is_quiet(run, tmp_path, environment, arguments):
    assert run("train", *QUICK, "--output", "m.npz").returncode == 0
    process = subprocess.Popen(
        nncore_command(*arguments),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert errors == ""
