"""Tables from the command and from Python: texts, gaps, headings, regressions; the commands that
read a model.
"""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import nncore as nn
from nncore import _tables, cli, datasets

SPECIES = ["setosa", "versicolor", "virginica"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """command("train table.csv ..."): (status, output, errors), in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def start(text, *more):
        try:
            status = cli.main([*text.split(), *more])
        except SystemExit as end:
            status = end.code
        return (status, *capsys.readouterr())

    return start


def flowers(count=90, seed=0):
    """(X (3, N), labels) of three kinds that a small network tells apart."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(count) % 3
    X = rng.normal(size=(3, count)) * [[0.2], [20.0], [1.0]] + np.stack(
        [kinds * 1.0, 300 - 100 * kinds, 0 * kinds]
    )
    return X, np.array(SPECIES)[kinds]


def write(path, columns, headings=True, separator=","):
    """Write {heading: values} as a text file."""
    lines = [separator.join(columns)] if headings else []
    lines += [separator.join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def table(tmp_path):
    """flowers.csv with the columns length, width, noise, species."""
    X, labels = flowers()
    columns = dict(zip(["length", "width", "noise"], X, strict=True), species=labels)
    return write(tmp_path / "flowers.csv", columns)


@pytest.fixture
def model(command, table):
    """m.npz, trained on flowers.csv."""
    status, output, errors = command(
        "train flowers.csv --layers 8 --epochs 40 --output m.npz --no-compare"
    )
    assert (status, errors) == (0, "")
    return output


# ---------------------------------------------------------------------------------- classification


def test_texts_as_labels(model, command, table, tmp_path):
    assert "table     labels in column 4 'species', 3 columns of features" in model
    assert float(re.search(r"test accuracy: (\S+)", model)[1]) > 0.8
    net = nn.load("m.npz")
    assert net.classes.tolist() == SPECIES and net.target_name == "species"
    assert net.feature_names == ["length", "width", "noise"]
    X, labels = datasets.load_csv(table)
    assert X.shape == (3, 90) and labels.tolist() == flowers()[1].tolist()
    predicted = net.predict(X)
    assert (predicted == labels).mean() > 0.9 and net.score(X, labels) > 0.9
    status, output, errors = command("predict m.npz flowers.csv")
    assert output.split() == predicted.tolist()
    assert errors == f"accuracy: {net.score(X, labels):.4f} ({(predicted == labels).sum()}/90)\n"


def test_columns_are_found_by_their_headings(model, command, tmp_path):
    X, labels = flowers(12, 1)
    wanted = nn.load("m.npz").predict(X).tolist()
    named = dict(zip(["length", "width", "noise"], X, strict=True))
    order = {"extra": ["a"] * 12, "NOISE": X[2], "species": labels, "width": X[1], "length": X[0]}
    write(tmp_path / "other.csv", order)
    status, output, errors = command("predict m.npz other.csv")
    assert status == 0 and output.split() == wanted
    assert "note: other.csv: its columns are put in the model's order\n" in errors
    assert "other.csv: column 1 'extra' is ignored; the model was trained without" in errors
    write(tmp_path / "bare.csv", named)
    assert command("predict m.npz bare.csv") == (0, output, "")
    write(tmp_path / "plain.csv", named, headings=False)
    status, plain, errors = command("predict m.npz plain.csv")
    assert (
        plain == output and "no headings, so its columns are taken in the model's order" in errors
    )
    write(tmp_path / "less.csv", {"length": X[0], "widht": X[1], "species": labels})
    status, output, errors = command("predict m.npz less.csv")
    assert (status, output) == (2, "")
    assert errors == (
        "nncore: less.csv must have the columns that the model was trained on; 'width', 'noise' "
        "are missing; did you mean 'widht'?\n"
    )
    write(tmp_path / "twice.csv", {"length": X[0], "Width": X[1], "WIDTH": X[1], "noise": X[2]})
    assert (
        "must have one column 'width', got column 2 'Width' and column 3 'WIDTH'"
        in command("predict m.npz twice.csv")[2]
    )


def test_proba_and_output(model, command, tmp_path):
    net = nn.load("m.npz")
    status, output, errors = command("predict m.npz flowers.csv --proba --output p.csv")
    assert (status, output) == (0, "wrote p.csv (90 samples)\n") and "accuracy" in errors
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "setosa,versicolor,virginica" and len(lines) == 91
    P = np.array([line.split(",") for line in lines[1:]], np.float32)
    assert (P.T == net.predict_proba(datasets.load_csv("flowers.csv")[0])).all()
    for name in ("m.npz", "flowers.csv"):
        assert (
            "--output must be another file"
            in command(f"predict m.npz flowers.csv --output {name}")[2]
        )
    assert "no folder" in command("predict m.npz flowers.csv --output no/p")[2].replace(
        "the folder does not exist", "no folder"
    )


def test_evaluate_prints_what_sklearn_computes(model, command, tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    X, labels = flowers(60, 5)
    write(
        tmp_path / "new.csv",
        dict(zip(["length", "width", "noise"], X * 1.1, strict=True), species=labels),
    )
    X, labels = datasets.load_csv("new.csv")
    net = nn.load("m.npz")
    predicted = net.predict(X)
    status, output, errors = command("evaluate m.npz new.csv")
    assert status == 0 and errors == ""
    assert f"accuracy   {metrics.accuracy_score(labels, predicted):.4f}" in output
    assert f"loss       {metrics.log_loss(labels, net.predict_proba(X).T):.4f}" in output
    table = metrics.precision_recall_fscore_support(labels, predicted, zero_division=np.nan)
    for name, *values, count in zip(SPECIES, *table, strict=True):
        row = rf"\s*{name}\s+" + r"\s+".join("-" if v != v else f"{v:.4f}" for v in values)
        assert re.search(rf"{row}\s+{count}\n", output), output
    rows = output.splitlines()[-3:]
    wanted = metrics.confusion_matrix(labels, predicted)
    assert [[int(n.replace(".", "0")) for n in row.split()[1:]] for row in rows] == wanted.tolist()


def test_evaluate_with_unknown_labels_and_many_classes(command, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.array([f"class-{k}" for k in range(40)])[np.arange(400) % 40]
    X = np.array([[hash_ % 7, hash_ % 11] for hash_ in np.arange(400) % 40]).T + rng.normal(
        size=(2, 400)
    )
    write(tmp_path / "t.csv", {"a": X[0], "b": X[1], "class": labels})
    assert command("train t.csv --epochs 1 --quiet --output m.npz --no-compare")[0] == 0
    output = command("evaluate m.npz t.csv")[1]
    assert "most frequent confusions" in output and max(map(len, output.splitlines())) <= 100
    write(tmp_path / "u.csv", {"a": [1.0, 2], "b": [1.0, 2], "class": ["class-1", "other"]})
    status, output, errors = command("evaluate m.npz u.csv")
    assert status == 0 and "has labels that m.npz cannot predict: 'other'" in errors
    assert "loss" not in output and re.search(r"other\s+-\s+0\.0000", output)
    write(tmp_path / "v.csv", {"a": [1.0, 2], "b": [1.0, 2], "class": [1, 2]})
    assert (
        "must hold labels like those of m.npz, 'class-0' for example, got 1"
        in command("evaluate m.npz v.csv")[2]
    )
    write(tmp_path / "w.csv", {"a": [1.0, 2], "b": [1.0, 2]})
    assert (
        "to compare with in a column 'class', as in the training, got samples only"
        in command("evaluate m.npz w.csv")[2]
    )


def test_info(model, command):
    status, output, errors = command("info m.npz")
    assert (status, errors) == (0, "")
    assert "3-8-3, float32, 59 parameters" in output
    assert "one of 3 labels 'species': setosa, versicolor, virginica" in output
    assert re.search(r"\n  width +[12]\d\d\.\d+ +\d+\.\d+\n", output)
    nn.Sequential([nn.Linear(2, 2), nn.SoftMax()]).save("plain.npz")
    output = command("info plain.npz")[1]
    assert "loss       none" in output and "inputs     2, not scaled" in output
    nn.Sequential([nn.Tanh()]).save("tanh.npz")
    assert command("info tanh.npz")[0] == 0
    assert "is not an nncore model file" in command("info flowers.csv")[2]


# -------------------------------------------------------------------------------------- regression


@pytest.fixture
def houses(tmp_path):
    """houses.csv with rooms, area, noise and price, which has fractions."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 200)) * [[1.0], [30.0], [5.0]] + [[4.0], [100.0], [0.0]]
    price = 1e5 + 2e4 * np.tanh(X[0] - 4) + 500 * (X[1] - 100) + rng.normal(size=200) * 100
    return write(tmp_path / "houses.csv", dict(rooms=X[0], area=X[1], noise=X[2], price=price))


@pytest.mark.parametrize(
    "options", ["", "--batch-size 16", "--optimizer adam --batch-size 8", "--layers none"]
)
def test_a_regression(command, houses, options):
    status, output, errors = command(
        f"train houses.csv --layers 32 --epochs 60 --output h.npz --no-compare {options}"
    )
    assert (status, errors) == (0, "")
    assert "task      regression, because 'price' has fractions\n" in output
    assert re.search(r"epoch  1/60 .*loss \d.* train R2 .*test R2 ", output)
    r2, rmse = re.search(r"test R2: (\S+) \(RMSE (\S+) on 40 samples\)\n$", output).groups()
    X, targets = datasets.load_csv("houses.csv", "test", task="regression")
    net = nn.load("h.npz")
    assert net.predict(X).shape == targets.shape
    error = net.predict(X) - targets
    assert abs(float(rmse) / np.sqrt((error**2).mean()) - 1) < 1e-3 and 0.5 < float(r2)
    assert abs(net.score(X, targets) - float(r2)) < 1e-3
    status, output, errors = command("predict h.npz houses.csv --part test")
    assert np.array_equal(np.array(output.split(), np.float32), net.predict(X))
    assert errors.startswith(f"R2: {r2} (RMSE ")
    output = command("evaluate h.npz houses.csv --part test")[1]
    assert f"R2         {r2}" in output and f"MAE        {abs(error).mean():.6g}" in output
    assert (
        "largest" in output
        and "regression" in command("train houses.csv --no-save --quiet --task classification")[2]
    )
    assert (
        "--proba needs a classifier, but h.npz predicts numbers"
        in command("predict h.npz houses.csv --proba")[2]
    )
    assert "a number 'price': scaled by mean" in command("info h.npz")[1]


@pytest.mark.parametrize(
    ("targets", "task", "reason"),
    [
        (np.arange(100) % 3, "classification", "3 different integers in 100 samples"),
        (np.arange(100), "regression", "100 different integers in 100 samples"),
        (np.arange(100) % 40, "regression", "40 different integers in 100 samples"),
        (np.arange(400) % 26, "classification", "26 different integers in 400 samples"),
        (np.arange(100) / 2, "regression", "has fractions"),
        (np.arange(100) % 3 * 1.0, "classification", "3 different integers"),
    ],
)
def test_the_task_is_guessed_and_said(command, tmp_path, targets, task, reason):
    rng = np.random.default_rng(0)
    write(tmp_path / "t.csv", {"a": rng.normal(size=len(targets)), "y": targets})
    status, output, _ = command("train t.csv --layers 4 --epochs 1 --no-save --no-compare")
    assert status == 0 and f"\ntask      {task}, because 'y' " in output and reason in output
    other = {"classification": "regression", "regression": "classification"}[task]
    if targets.dtype.kind == "i":
        assert f"--task {other} otherwise" in output
        line = command(f"train t.csv --epochs 1 --no-save --quiet --task {other}")[1]
        assert line.startswith("test R2" if other == "regression" else "test accuracy")


# -------------------------------------------------------------------------------------- refusals

TITANIC = {
    "Id": range(1, 5),
    "Survived": [0, 1, 1, 0],
    "Name": ["A", "B", "C", "D"],
    "Sex": ["m", "f", "f", "m"],
    "Age": [22, "", 26, "NA"],
    "Fare": [7.25, 71.3, 7.9, 8.0],
}


def test_texts_and_gaps_are_refused_with_what_to_do(command, tmp_path):
    write(tmp_path / "t.csv", TITANIC)
    train = "train t.csv --label-column Survived --epochs 1 --no-save --quiet --no-compare"
    assert command(train)[2] == (
        "nncore: t.csv must hold numbers as features, got texts such as 'A', 'B', 'C' in column 3 "
        "'Name' and column 4 'Sex'; leave them out with --drop Name,Sex, or replace each by one "
        "column of 0 and 1 per value, as pandas.get_dummies does\n"
    )
    assert command(train + " --drop Name,sex")[2] == (
        "nncore: t.csv must have a value in every field, got 2 missing in column 5 'Age', the "
        "first in line 3; fill the gaps, with the column's mean for example, remove these lines, "
        "or leave the column out with --drop Age\n"
    )
    status, output, errors = command(train + " --drop 1,Name,Sex,Age")
    assert status == 0 and output.startswith("test accuracy: ") and errors == ""
    assert (
        "--drop must name columns of t.csv, by headings or by numbers from 1 to 6, got 'Agee'"
        in (command(train + " --drop Agee")[2])
        and "did you mean 'Age'?" in command(train + " --drop Agee")[2]
    )
    assert (
        "--label-column must be auto, first, last, none or a heading of t.csv, got 'survive'; "
        in (command("train t.csv --label-column survive")[2])
    )
    assert (
        "a number from 1 to 6 or a heading of t.csv, got '7'"
        in command("train t.csv --label-column 7")[2]
    )
    with pytest.raises(ValueError, match=r"leave it out with drop=\['Age'\]|drop=\['Age'\]"):
        datasets.load_csv("t.csv", label="Survived", drop=["Name", "Sex"])
    X, labels = datasets.load_csv("t.csv", label="2", drop=["Name", "Sex", "Age"])
    assert X.shape == (2, 4) and labels.tolist() == [0, 1, 1, 0]
    (tmp_path / "comma.csv").write_text("a;b;label\n1,5;2;0\n2,5;1;1\n")
    assert (
        "must hold numbers with a decimal point, got '1,5', '2,5' in column 1 'a'"
        in command("train comma.csv")[2]
    )


FORMS = {  # name: (text, headings, rows)
    "break in a heading": ('"a\n(mm)",b\n1,x\n2,y\n', ["a\n(mm)", "b"], ["x", "y"]),
    "break in a label": ('a,b\r\n1,"x\r\ny"\r\n2,z\r\n', ["a", "b"], ["x\r\ny", "z"]),
    "blank line in a label": ('a,b\n\n1,"x\n\ny"\n\n2,z', ["a", "b"], ["x\n\ny", "z"]),
    "separators in quotes": ('"a, left, right";b\n1;x\n2;y', ["a, left, right", "b"], ["x", "y"]),
    "quotes in quotes": ('"a ""1""",b\n1,"x ""y"""\n2,z', ['a "1"', "b"], ['x "y"', "z"]),
    "line separator": ("a,b\n1,x\u2028y\n2,z\x0c1\n", ["a", "b"], ["x\u2028y", "z\x0c1"]),
    "old line ends": ("a,b\r1,x\r2,y\r", ["a", "b"], ["x", "y"]),
    "empty columns at the right": ("a,b,,\n1,x,,\n2,y,,\n", ["a", "b"], ["x", "y"]),
    "tabs": ("a\tb\n1\tx\n2\ty\n", ["a", "b"], ["x", "y"]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_forms_of_text_files(tmp_path, form, mark):
    text, headings, labels = FORMS[form]
    (tmp_path / "t.csv").write_bytes((mark + text).encode())
    source = datasets._readers.read(str(tmp_path / "t.csv"))
    assert [*source.feature_names, source.target_name] == headings
    rows, found = source.pairs["all"]
    assert rows.tolist() == [[1], [2]] and found.tolist() == labels


def test_labels_and_headings_with_line_breaks(command, tmp_path):
    rng = np.random.default_rng(0)
    rows = [f'{x:.3f},"{"big" if x > 0 else "small"}\nthing"' for x in rng.normal(size=40)]
    (tmp_path / "t.csv").write_text('"a\n(mm)","kind"\n' + "\n".join(rows))
    assert command("train t.csv --epochs 30 --output m.npz --quiet --no-compare")[0] == 0
    output = command("predict m.npz t.csv")[1]
    assert output.count('"') == 80 and output.count("thing") == 40  # quoted, as csv reads them
    assert "\n  a (mm)\n" in command("info m.npz")[1]
    assert "big thing" in command("evaluate m.npz t.csv")[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,x\n\0,y\n", "must be a text file, got one with bytes of value 0"),
        ("a,b,c\n1,2,x\n3,inf,y\n", "finite numbers, got inf in line 3, column 2 'b'"),
        ('a,b\n1,x\n"2,y\n3,z\n', "got 1 in line 3, in which quotes may not be closed"),
        ("a,b\n1,x\n2,y,z\n", "must have 2 columns in every line, got 3 in line 3"),
        ("b\nx\ny\n", "must have columns of features beside the labels, got column 1 'b' only"),
        ("kind,a\nx,1.5\ny,2\n", "if it holds the labels, name it by --label-column, or leave it"),
        ('a,b\n"1,257",x\n"13,000",y\n', "without separators of thousands, got '1,257', '13,000'"),
        ("a;b\n1,25;x\n13,0;y\n", "with a decimal point, got '1,25', '13,0' in column 1 'a'"),
    ],
)
def test_texts_that_are_no_tables(command, tmp_path, text, message):
    (tmp_path / "t.csv").write_bytes(text.encode())
    status, _, errors = command("train t.csv --epochs 1 --no-save --quiet --no-compare")
    assert (status, errors.count("\n")) == (2, 1) and message in errors, errors
    (tmp_path / "t.csv").write_text(text, "utf-16")
    assert "UTF-8, got byte 0xff; save it as CSV UTF-8" in command("train t.csv")[2]


def test_an_empty_parquet_file_is_named(command, tmp_path):
    polars = pytest.importorskip("polars")
    polars.DataFrame({"a": [], "b": []}).write_parquet(tmp_path / "t.parquet")
    assert command("train t.parquet")[2].startswith("nncore: t.parquet must hold at least one row")


def test_columns_of_one_heading(command, tmp_path):
    X, labels = flowers()
    lines = [f"{a},{b},{label}" for a, b, label in zip(*X[:2], labels, strict=True)]
    (tmp_path / "t.csv").write_text("size,size,kind\n" + "\n".join(lines))
    swapped = [f"{label},{a},{b}" for a, b, label in zip(*X[:2], labels, strict=True)]
    (tmp_path / "moved.csv").write_text("kind,SIZE,SIZE\n" + "\n".join(swapped))
    (tmp_path / "one.csv").write_text("kind,size\nsetosa,1\n")
    (tmp_path / "three.csv").write_text("size,size,size\n1,2,3\n")
    train = "train t.csv --epochs 5 --output m.npz --quiet --no-compare"
    assert command(train)[0] == 0
    wanted = nn.load("m.npz").predict(X[:2]).tolist()
    assert command("predict m.npz t.csv")[1].split() == wanted
    assert command("predict m.npz moved.csv")[1].split() == wanted
    assert "'size', 'size' are missing" in command("predict m.npz one.csv")[2]
    assert "must have 2 columns 'size', got" in command("predict m.npz three.csv")[2]


def test_labels_of_another_kind_have_no_accuracy(model, command, tmp_path):
    X, _ = flowers(4, 1)
    named = dict(zip(["length", "width", "noise"], X, strict=True))
    write(tmp_path / "t.csv", {**named, "species": [3, 1, 2, 0]})
    status, output, errors = command("predict m.npz t.csv")
    assert status == 0 and output.split() == nn.load("m.npz").predict(X).tolist()
    assert "its labels, 3 for example, are not like those of m.npz" in errors
    assert "accuracy: " not in errors and errors.count("\n") == 1


def test_a_model_needs_its_columns(model, command, tmp_path):
    X, _ = flowers(4, 1)
    named = dict(zip(["length", "width", "noise"], X, strict=True))
    write(tmp_path / "gap.csv", {**named, "noise": [1, "", 2, 3]})
    write(tmp_path / "text.csv", {**named, "noise": list("abcd")})
    for name, remedy in (("gap", "or remove these lines"), ("text", "that the model was trained")):
        errors = command(f"predict m.npz {name}.csv")[2]
        assert remedy in errors and "--drop" not in errors
    write(tmp_path / "other.csv", {**named, "sort": list("abcd")})
    assert (
        "to compare with in a column 'species', as in the training"
        in (command("evaluate m.npz other.csv")[2])
    )


def test_options_as_people_write_them(table, command):
    train = "train flowers.csv --epochs 1 --no-save --no-compare"
    output = command(f"{train} --optimizer ADAM --batch-size {10**30}")[1]
    assert "shuffled batches of 72, adam" in output
    assert (
        "--epoch 3; did you mean '--epochs'? (see nncore train -h)"
        in (command("train flowers.csv --epoch 3")[2])
    )
    assert (
        "must be a column that is not left out or used otherwise, got 'Species'"
        in (command(f"{train} --drop species --label-column Species")[2])
    )
    assert "must be an integer of at least 1, got '0'" in command(f"{train} --batch-size 0")[2]


def test_predictions_do_not_need_the_labels_that_are_there(model, command, tmp_path):
    X, labels = flowers(4, 1)
    named = dict(zip(["length", "width", "noise"], X, strict=True))
    for todo, why in (
        (["", "", "", ""], "got none in line 2"),
        ([0.5, 1, 1, 1], "got 0.5 in line 2"),
    ):
        write(tmp_path / "todo.csv", {**named, "species": todo})
        status, output, errors = command("predict m.npz todo.csv")
        assert status == 0 and output.split() == nn.load("m.npz").predict(X).tolist()
        assert errors.startswith("nncore: note: todo.csv: read without labels: ") and why in errors
        assert errors.count("\n") == 1
        assert why in command("evaluate m.npz todo.csv")[2]
    write(tmp_path / "gap.csv", {**named, "noise": [1, "", 2, 3]})
    assert command("predict m.npz gap.csv")[:2] == (2, "")
    assert "'noise' is missing" in command("predict m.npz todo.csv --drop noise")[2]


def test_labels_that_are_missing(command, tmp_path):
    write(tmp_path / "t.csv", {"a": [1, 2, 3], "label": ["x", "", "y"]})
    assert command("train t.csv")[2] == (
        "nncore: t.csv must hold a label for every sample, got none in line 3\n"
    )
    write(tmp_path / "t.csv", {"a": [1, 2, 3], "label": [1.5, "", 2]})
    assert command("train t.csv")[2] == (
        "nncore: t.csv must hold a finite number as target of every sample, got none in line 3\n"
    )
    write(tmp_path / "t.csv", {"a": [1, 2, 3] * 3, "label": [1.5] * 9})
    assert "must hold different numbers as targets" in command("train t.csv")[2]


# -------------------------------------------------------------------------- DataFrames and Parquet


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_dataframes(library, tmp_path):
    frames = pytest.importorskip(library)
    X, labels = flowers()
    frame = frames.DataFrame(
        dict(zip(["length", "width", "noise"], X, strict=True), species=labels, n=np.arange(90))
    )
    found, names = datasets.load(frame, label="species", drop="n")
    assert (found == X).all() and names.tolist() == labels.tolist()
    found, targets = datasets.load(frame, label="width", drop="species", task="regression")
    assert (targets == X[1]).all() and found.shape == (3, 90)
    with pytest.raises(ValueError, match="the DataFrame must hold numbers as features, got texts"):
        datasets.load(frame, label="n")
    gaps = frames.DataFrame({"a": [1.0, None, 3.0], "b": [1, None, 2], "label": [0, 1, 0]})
    with pytest.raises(ValueError, match="got 2 missing in column 1 'a' and column 2 'b', .*row 2"):
        datasets.load(gaps)
    with pytest.raises(ValueError, match="at least one row"):
        datasets.load(gaps[:0])
    flags = frames.DataFrame({"a": [True, False], "label": ["x", "y"]})
    assert datasets.load(flags)[0].tolist() == [[1, 0]]


def test_parquet(command, tmp_path, monkeypatch):
    polars = pytest.importorskip("polars")
    X, labels = flowers()
    frame = polars.DataFrame(
        dict(zip(["length", "width", "noise"], X, strict=True), species=labels)
    )
    frame.write_parquet(tmp_path / "t.parquet")
    status, output, errors = command("train t.parquet --epochs 20 --quiet --output m.npz")
    assert status == 0 and float(output.split()[2]) > 0.8, errors
    assert nn.load("m.npz").feature_names == ["length", "width", "noise"]
    assert (datasets.load("t.parquet")[0] == X).all()
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    assert (
        "bad.parquet must be a Parquet file, got one that cannot be read"
        in command("train bad.parquet")[2]
    )
    assert "none.parquet: No such file" in command("train none.parquet")[2]
    for name in ("polars", "pandas", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    status, _, errors = command("train t.parquet")
    assert status == 2 and "Parquet files need polars, or pandas with pyarrow; install it" in errors


# ------------------------------------------------------------------------------ rates, completion


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--scaling standard",
        "--layers 256,128",
        "--layers none",
        "--optimizer momentum",
    ],
)
@pytest.mark.parametrize("size", [64, 1437, 5000])
def test_the_default_rate_learns_at_any_batch_size(command, options, size):
    status, output, errors = command(
        f"train --batch-size {size} --epochs 60 --quiet --no-save {options}"
    )
    assert status == 0 and float(output.split()[2]) > 0.85, (output, errors)


def test_a_batch_of_more_than_all_samples_is_one_of_all(command):
    found = {command(f"train --batch-size {size} --quiet --no-save") for size in (1437, 5000)}
    assert len(found) == 1
    assert (
        "shuffled batches of 1437, rate 0.8 cosine"
        in command("train --batch-size 9999 --epochs 1 --no-save --no-compare")[1]
    )


def test_a_default_rate_that_diverges_starts_again(command, monkeypatch):
    from nncore.cli import training

    monkeypatch.setattr(training, "_default_rate", lambda *_: 1e30)
    train = "train --epochs 3 --quiet --no-save --no-compare --batch-size 32"
    monkeypatch.setattr(training, "SLOWER", 1e-31)
    status, output, errors = command(train)
    assert status == 0 and float(output.split()[2]) > 0.5
    assert errors == "nncore: note: the training diverged; it starts again with the rate 0.1\n"
    status, output, errors = command(train + " --rate 1e30")
    assert (status, output) == (1, "") and "--rate must be smaller, got 1e+30" in errors


def test_completion(command):
    script = command("completion bash")[1]
    assert command("completion zsh")[1].endswith(script)
    assert "invalid choice: 'fish'" in command("completion fish")[2]
    for words, wanted in (
        ("nncore tr", "train"),
        ("nncore train --act", "--activation"),
        ("nncore train --activation re", "relu"),
        ("nncore evaluate m --part t", "train test"),
        ("nncore predict m dig", "digits"),
        ("nncore completion z", "zsh"),
        ("nncore train nothing", ""),
    ):
        code = f"""{script}
        COMP_WORDS=({words})
        COMP_CWORD=$((${{#COMP_WORDS[@]}}-1))
        _nncore
        echo "${{COMPREPLY[*]}}"
        """
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
        assert (done.stdout.strip(), done.stderr) == (wanted, ""), words


def test_a_plot_of_an_evaluation(model, command, tmp_path):
    pytest.importorskip("matplotlib")
    status, output, _ = command("evaluate m.npz flowers.csv --plot c.png")
    assert status == 0 and output.endswith("plotted    c.png\n")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert "--plot must end in .png" in command("evaluate m.npz flowers.csv --plot c.txt")[2]
    assert os.path.exists("m.npz") and _tables.is_number("1e3")
