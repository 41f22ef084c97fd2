"""The data sets: embedded digits, the three file formats, the faults of damaged ones, the
course's toy sets."""

import gzip
import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nncore import _columns, _readers, datasets

COURSE = [
    "super_simple_separable",
    "super_simple_separable_through_origin",
    "xor",
    "xor_more",
    "hard",
]


def idx(array, kind=8):
    """The bytes of an idx file of unsigned bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def images():
    return np.arange(10 * 2 * 3, dtype=np.uint8).reshape(10, 2, 3)


@pytest.fixture
def labels():
    return np.arange(10, dtype=np.uint8) % 3


# ---------------------------------------------------------------- digits and the split


def test_digits_are_the_uci_images():
    X, labels = datasets.load_digits()
    assert X.shape == (64, 1797) and X.dtype == np.uint8 and X.flags.f_contiguous
    assert labels.shape == (1797,) and labels.dtype == np.int64
    assert (X.min(), X.max()) == (0, 16)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert X[:8, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert int(X.sum(dtype=np.int64)) == 561718


def test_split_is_the_documented_permutation():
    order = np.random.default_rng(0).permutation(1797)
    train, test = datasets.split_indices(1797)
    assert np.array_equal(train, order[:1437]) and np.array_equal(test, order[1437:])
    assert [len(part) for part in datasets.split_indices(10000)] == [8000, 2000]
    X, labels = datasets.load_digits()
    X_train, labels_train, X_test, labels_test = datasets.load_split("digits")
    assert np.array_equal(X_train, X[:, train]) and np.array_equal(labels_train, labels[train])
    assert np.array_equal(X_test, X[:, test]) and np.array_equal(labels_test, labels[test])
    assert X_train.flags.f_contiguous and X_test.flags.f_contiguous


def test_part_must_exist():
    with pytest.raises(ValueError, match="^part must be all, train or test, got 'valid'$"):
        datasets.load_digits(part="valid")


# ---------------------------------------------------------------- idx


@pytest.mark.parametrize(
    "names",
    [
        "t10k-images-idx3-ubyte t10k-labels-idx1-ubyte",
        "train-images.idx3-ubyte train-labels.idx1-ubyte",
        "train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz",
        "test-images-idx3-ubyte.gz test-labels-idx1-ubyte",
    ],
)
def test_idx_folder(tmp_path, images, labels, names):
    for name, array in zip(names.split(), (images, labels), strict=True):
        content = idx(array)
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    X, read = datasets.load_idx(tmp_path)
    assert (
        np.array_equal(X, images.reshape(10, 6).T) and X.dtype == np.uint8 and X.flags.f_contiguous
    )
    assert X.flags.writeable and np.array_equal(read, labels) and read.dtype == np.int64
    assert datasets.load_idx(tmp_path, part="test")[0].shape == (6, 2)


def test_a_folder_may_have_the_name_of_a_file(tmp_path, images):
    for name in ("data.csv", "data.npz"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t10k-images-idx3-ubyte").write_bytes(idx(images))
        assert datasets.load(tmp_path / name)[0].shape == (6, 10)


def test_idx_folder_with_both_parts_keeps_them(tmp_path, images, labels):
    for part, count in (("train", 7), ("t10k", 3)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images[:count]))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels[:count]))
    assert datasets.load_idx(tmp_path, part="train")[0].shape == (6, 7)
    assert datasets.load_idx(tmp_path, part="test")[0].shape == (6, 3)
    assert [array.shape for array in datasets.load_idx(tmp_path)] == [(6, 10), (10,)]
    assert [array.shape for array in datasets.load_split(tmp_path)] == [(6, 7), (7,), (6, 3), (3,)]


def test_idx_images_without_labels(tmp_path, images):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(images))
    assert datasets.load_idx(tmp_path)[1] is None
    with pytest.raises(ValueError, match="must hold labels to train on, got samples only"):
        datasets.load_split(tmp_path)


@pytest.mark.parametrize(
    "images_file, labels_file, message",
    [
        (
            lambda i: gzip.compress(idx(i), mtime=0)[:-20],
            lambda y: idx(y),
            "must be a whole gzip file, got a damaged one",
        ),
        (
            lambda i: gzip.compress(idx(i), mtime=0)[:12] + b"!!!!!!" * 9,
            lambda y: idx(y),
            "must be a whole gzip file",
        ),
        (
            lambda i: idx(i, kind=9),
            lambda y: idx(y),
            "must start with the idx magic number 00000803 .* got 00000903",
        ),
        (lambda i: b"", lambda y: idx(y), "got an empty file"),
        (
            lambda i: idx(i)[:9],
            lambda y: idx(y),
            "must hold 3 sizes after the magic number, got a file of 9 bytes",
        ),
        (
            lambda i: idx(i)[:-1],
            lambda y: idx(y),
            "must hold 60 bytes of data as its header says .* got 59",
        ),
        (lambda i: idx(i) + b"x", lambda y: idx(y), "must hold 60 bytes .* got 61"),
        (lambda i: idx(i[:0]), lambda y: idx(y[:0]), "must hold at least one sample"),
        (
            lambda i: idx(i),
            lambda y: idx(y[:9]),
            "as many labels as images, got 10 images in .* and 9 labels",
        ),
        (
            lambda i: idx(i),
            lambda y: idx(np.tile(y, (2, 1))),
            "must start with the idx magic number 00000801",
        ),
    ],
)
def test_damaged_idx(tmp_path, images, labels, images_file, labels_file, message):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(images_file(images))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(labels_file(labels))
    with pytest.raises(ValueError, match=message) as refused:
        datasets.load_idx(tmp_path)
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


def test_folder_without_idx_files(tmp_path):
    with pytest.raises(ValueError, match="must hold idx files such as"):
        datasets.load(tmp_path)


def test_idx_folders_with_more_than_the_files(tmp_path, images, labels):
    """A plain file goes before its gzipped copy, folders do not count, and two test parts are
    refused."""
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"damaged")
    (tmp_path / "t10k-labels.idx1-ubyte").write_bytes(idx(labels))
    (tmp_path / "t10k-labels-idx1-ubyte").mkdir()
    assert np.array_equal(datasets.load(tmp_path)[1], labels)
    (tmp_path / "test-labels-idx1-ubyte").write_bytes(idx(labels[::-1]))
    two = "one file of test labels, got test-labels-idx1-ubyte and t10k-labels.idx1-ubyte"
    with pytest.raises(ValueError, match=two):
        datasets.load(tmp_path)


def test_no_more_of_an_idx_file_is_inflated_than_its_header_says(tmp_path, images):
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images) + bytes(2**25)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="must hold 60 bytes of data .* got 61 or more"):
        datasets.load(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22
    huge = bytes([0, 0, 8, 3]) + b"\xff" * 12
    for content in (huge, gzip.compress(huge)):
        (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(content)
        with pytest.raises(ValueError, match="must hold 79228162458924105385300197375 bytes"):
            datasets.load(tmp_path)


# ---------------------------------------------------------------- npz


def test_npz(tmp_path, images, labels):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, X=images, y=labels.reshape(-1, 1).astype(float))
    X, read = datasets.load_npz(path)
    assert (
        np.array_equal(X, images.reshape(10, 6).T)
        and X.dtype == np.uint8
        and np.array_equal(read, labels)
    )
    np.savez(path, X_train=images[:7], Y_train=labels[:7], X_test=images[7:], Y_test=labels[7:])
    assert [array.shape for array in datasets.load_split(path)] == [(6, 7), (7,), (6, 3), (3,)]
    np.savez(path, x=np.asfortranarray(images.reshape(10, 6)))
    X, read = datasets.load(path)
    assert X.flags.f_contiguous and read is None


@pytest.mark.parametrize(
    "arrays, message",
    [
        (
            {"A": np.ones(3), "b": np.ones(3)},
            "must hold arrays X and y, or x_train and y_train, got A, b",
        ),
        ({}, "must hold arrays X and y, or x_train and y_train, got none"),
        (
            {"X": np.ones((4, 3)), "y": np.zeros(3)},
            r"one label per sample .* got 4 samples and labels of shape \(3,\)",
        ),
        ({"X": np.ones((3, 4)), "y": np.eye(3)}, "one label per sample"),
        ({"X": np.ones(3), "y": np.zeros(3)}, r"must hold samples of shape \(N, features\)"),
        ({"X": np.ones((0, 3)), "y": np.zeros(0)}, "must hold at least one sample"),
        (
            {"X": np.array([[1.0, np.nan], [3, 4]]), "y": [0, 1]},
            "must hold finite numbers, got nan in sample 1, feature 2",
        ),
        (
            {"X": np.ones((2, 2)), "y": [0, 0.5]},
            "must hold integers as labels, got 0.5 for sample 2",
        ),
        (
            {"X": np.ones((2, 2)), "y": [0, np.inf]},
            "must hold integers as labels, got inf for sample 2",
        ),
        (
            {"X": np.ones((2, 2)), "y": [b"a", b"b"]},
            "must hold integers or texts as labels, got dtype |S1",
        ),
        ({"X": np.ones((2, 2)), "y": ["a", ""]}, "a label for every sample, got none for sample 2"),
        (
            {"X": np.ones((2, 2), complex), "y": [0, 1]},
            "must hold real numbers as samples, got dtype complex128",
        ),
        (
            {"X": np.array([[{}, {}]]), "y": [0]},
            "must be an .npz file of plain arrays, got a file in which X.npy .*it holds Python "
            "objects",
        ),
        (
            {"x_train": np.ones((2, 2)), "x_test": np.ones((2, 3))},
            "same features in both parts, got 2 to train and 3",
        ),
    ],
)
def test_unusable_npz(tmp_path, arrays, message):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as refused:
        datasets.load(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 and no more", b"no zip at all", None])
def test_damaged_npz(tmp_path, content):
    path = tmp_path / "data.npz"
    if content is None:
        np.savez(path, X=np.ones((50, 50)), y=np.zeros(50))
        content = bytearray(path.read_bytes())
        content[300:320] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be an .npz file of plain arrays, got "):
        datasets.load_npz(path)


def of_shape(n):
    """The start of an array that claims to have n numbers."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({n},), }}"
    return b"\x93NUMPY\1\0\x80\0" + header.ljust(128).encode()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "X",
            b"\x93NUMPY",
            "must hold arrays X and y, or x_train and y_train, got none",
        ),  # no .npy
        ("x.npy", b"", "two arrays have one name, X and x"),
        ("y.npy", b"\x93NUMPY\1\0\x28\x23" + b"(" * 9000, "y.npy cannot be read"),  # TokenError
        ("y.npy", of_shape(2**70), "not 9444732965739290427530 as its header says"),
        ("y.npy", of_shape(10**13), "not 80000000000138 as its header says"),
        ("y.npy", of_shape(-1), "its shape"),
    ],
)
def test_damaged_members_of_an_npz(tmp_path, name, content, message):
    path = tmp_path / "data.npz"
    if name != "X":
        np.savez(path, X=np.ones((2, 2)))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, content)
    with pytest.raises(ValueError, match=message) as refused:
        datasets.load(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_labels_beyond_int64(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.ones((3, 2)), y=np.array([1, 2**63 - 1, 0], np.uint64))
    assert datasets.load(path)[1].tolist() == [1, 2**63 - 1, 0]
    np.savez(path, X=np.ones((3, 2)), y=np.array([1, 2**63, 0], np.uint64))
    with pytest.raises(ValueError, match=r"below 2\*\*63, got 9223372036854775808 for sample 2"):
        datasets.load(path)


def test_a_fault_of_the_disk_is_the_operating_systems(tmp_path, monkeypatch):
    np.savez(tmp_path / "data.npz", X=np.ones((3, 2)))

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(np.lib.format, "read_array", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        datasets.load(tmp_path / "data.npz")
    assert caught.value.filename == str(tmp_path / "data.npz")


def test_single_array_is_no_npz(tmp_path):
    path = tmp_path / "data.npz"
    with open(path, "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="got a single array"):
        datasets.load_npz(path)


# ---------------------------------------------------------------- csv


@pytest.mark.parametrize(
    "text, options",
    [
        ("1,2.5,0\n3,4,1\n", {}),
        ("a,b,c\r\n1,2.5,0\r\n3,4,1\r\n", {}),
        ("Label,b,c\n0,1,2.5\n1,3,4\n", {}),
        ("b;class;c\n1;0;2.5\n3;1;4\n", {}),
        ("0,1,2.5\n\n1,3,4", {"label": "first"}),
        ("label,b,c\n1,2.5,0\n3,4,1\n", {"label": "last"}),
        ("\ufeff1\t2.5\t0\n3\t4\t1\n", {}),
        ('"1","2.5","0"\n"3","4","1"\n', {"features": 2}),
        ("x,label,y\n1,0,2.5\n3,1,4\n", {}),  # y is a coordinate, next to a column of labels
        ("label,target,y\n1,0,2.5\n3,1,4\n", {"label": "target"}),
        ("x, Target ,class\n1,0,2.5\n3,1,4\n", {"label": "TARGET"}),
        (",x,y,class\n7,1,2.5,0\n9,3,4,1\n", {}),  # pandas with its index
        (",class,x,y\n7,0,1,2.5\n9,1,3,4\n", {"label": "first"}),
        (",0,1,2\n0,1,2.5,0\n1,3,4,1\n", {}),
        ("0,1,label\n1,2.5,0\n3,4,1\n", {}),
        ('"","x","z","y"\n"1",1,2.5,0\n"2",3,4,1\n', {"features": 2}),  # R with its row names
        ("Unnamed: 0,x,y,z\n0,1,2.5,0\n1,3,4,1\n", {"label": "last"}),
    ],
)
def test_csv(tmp_path, text, options):
    for name, content in (
        ("data.csv", text.encode()),
        ("data.csv.gz", gzip.compress(text.encode())),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        X, labels = datasets.load_csv(path, **options)
        assert (
            X.tolist() == [[1, 3], [2.5, 4]] and X.flags.f_contiguous and labels.tolist() == [0, 1]
        )


@pytest.mark.parametrize(
    "text, label, message",
    [
        (
            "label,class,x\n0,1,2\n1,0,2\n",
            "auto",
            "one column of labels, got column 1 'label' and column 2 'class'; say by label which",
        ),
        (
            "x,Label,target,y\n0,1,2,0\n1,0,2,0\n",
            "auto",
            "got column 2 'Label' and column 3 'target'",
        ),
        ("y,x,y\n0,1,2\n1,0,2\n", "auto", "got column 1 'y' and column 3 'y'"),
        ("x,x,label\n0,1,2\n1,0,2\n", "x", "got column 1 'x' and column 2 'x'"),
        (
            "x,z,label\n0,1,2\n1,0,2\n",
            "y",
            "label must be auto, first, last, none or a heading of .*, got 'y'",
        ),
        (
            "0,1,2\n1,0,2\n",
            "x",
            "label must be auto, first, last, none or a heading of .*, got 'x'",
        ),
        (
            "9" * 200_000 + ",x,1\n1,2,3\n",
            "auto",
            "must hold lines of numbers, got line 1 that cannot be read",
        ),
    ],
)
def test_columns_that_are_not_clear(tmp_path, text, label, message):
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as refused:
        datasets.load(path, label=label)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text, features, choice, notes",
    [
        ("1,2,0\n3,4,1\n", None, "labels in column 3, 2 columns of features; no headings", []),
        (
            "\n,a,label\n0,3,1\n1,4,0\n",
            None,
            "labels in column 3 'label', 1 column of features, "
            "column 1 '' left out as an index; headings in line 2",
            [],
        ),
        (
            "label,x,y\n0,3,1\n1,4,0\n",
            None,
            "labels in column 1 'label', 2 columns of features; headings in line 1",
            ["column 3 'y' is treated as a feature, because column 1 'label' holds the labels"],
        ),
        (
            "label,x,y\n0,3,1\n1,4,0\n",
            3,
            "no labels, 3 columns of features; headings in line 1",
            ["column 1 'label' is treated as a feature, because the model has 3 of them"],
        ),
        (
            "0,1,2\n3,1,0\n5,2,1\n",
            None,
            "labels in column 3, 2 columns of features; no headings",
            ["line 1, 0,1,2..., is treated as a sample; headings must not be numbers"],
        ),
        (
            "id,a,class\n1,5,1\n2,4,0\n3,4,0\n",
            None,
            "labels in column 3 'class', 2 columns of features; headings in line 1",
            [
                "column 1 'id' counts the samples and is treated as a feature, not as an index; "
                "drop= leaves it out"
            ],
        ),
        (
            "label,a\n0,5\n1,4\n2,4\n",
            None,
            "labels in column 1 'label', 1 column of features; headings in line 1",
            [],
        ),
        (
            ",a,label\n0,5,1\n1,4,0\n2,4,0\n",
            None,
            "labels in column 3 'label', 1 column of features, "
            "column 1 '' left out as an index; headings in line 1",
            [],
        ),
    ],
)
def test_the_choice_of_columns_is_described(tmp_path, text, features, choice, notes):
    path = tmp_path / "data.csv"
    path.write_text(text)
    source = _readers.read(path, _columns.Wanted(features=features))
    assert source.choice == choice and list(source.notes) == notes


def test_csv_without_labels(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("1,2\n3,4\n5,6\n")
    for options in ({"label": "none"}, {"features": 2}):
        X, labels = datasets.load(path, **options)
        assert X.tolist() == [[1, 3, 5], [2, 4, 6]] and labels is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "must hold lines of numbers, got an empty file"),
        ("a,b,c\n", "must hold lines of numbers, got a header only"),
        ("1,2,0\n\n1,2\n", "must have 3 columns in every line, got 2 in line 3"),
        ("1,2,0\n1,x,1\n", "must hold numbers, got 'x' in line 2, column 2"),
        (
            "1,2,0\n1,,1\n",
            "must have a value in every field, got 1 missing in column 2, the first in line 2; "
            r"fill the gaps, with .*, or leave the column out with drop=\['2'\]",
        ),
        ("1,nan,0\n1,NA,1\n", "got 2 missing in column 2, the first in line 1"),
        ("1,inf,0\n", "must hold finite numbers, got inf in line 1, column 2"),
        ("1,2,0\n1,2,0.5\n", "must hold integers as labels, got 0.5 in line 2; .* a regression"),
        ("1,2,a\n\n1,2,\n", "must hold a label for every sample, got none in line 3"),
        ("a,b\n1,2,0\n", r"must have as many columns as headings \(2\), got 3"),
        ("0\n1\n", "must have columns of features beside the labels, got column 1 only"),
        (b"1,2,0\n\xff\xfe,3,1\n", "must be a text file in UTF-8, got byte 0xff"),
        (gzip.compress(b"1,2,0\n" * 500, mtime=0)[:-12], "must be a whole gzip file"),
    ],
)
def test_unusable_csv(tmp_path, text, message):
    path = tmp_path / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as refused:
        datasets.load(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_training_needs_two_classes(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("7,1,0\n8,2,0\n9,3,0\n")
    with pytest.raises(
        ValueError, match=r"at least two classes .* got only label 0; is the label column another"
    ):
        datasets.load_split(path)
    path.write_text("1,2,0\n")
    with pytest.raises(ValueError, match="must hold at least 2 samples to be split, got 1"):
        datasets.load_split(path)


def test_sources_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        datasets.load(tmp_path / "none.csv")
    (tmp_path / "data.xlsx").write_bytes(b"PK")
    with pytest.raises(
        ValueError, match="must be a folder of idx files or end in .npz, .csv, .tsv"
    ):
        datasets.load(tmp_path / "data.xlsx")
    with pytest.raises(ValueError, match="label must be auto, first, last or none for .*, got 'y'"):
        datasets.load("digits", label="y")
    for load in (datasets.load, datasets.load_csv, datasets.load_npz, datasets.load_idx):
        with pytest.raises(TypeError, match="path must be a str, bytes or os.PathLike, got int"):
            load(3)
    (tmp_path / "data.csv").write_text("1,2,0\n")
    assert datasets.load(bytes(tmp_path / "data.csv"))[0].shape == (2, 1)


# -------------------------------------------------------------- scaling, one-hot, the course's sets


def test_scaling_is_that_of_the_training_part():
    rng = np.random.default_rng(1)
    X = rng.normal([[5.0], [-2.0], [1e6]], [[2.0], [0.1], [30.0]], (3, 9000))
    scaled = datasets.scale(X, datasets.fit_scaling(X), np.float64)
    assert np.allclose(scaled.mean(axis=1), 0, atol=1e-9) and np.allclose(
        scaled.std(axis=1), 1, rtol=1e-9
    )
    assert scaled.flags.f_contiguous
    grey = rng.integers(0, 17, (4, 50), dtype=np.uint8)
    grey[0, 0] = 16
    assert np.array_equal(
        datasets.scale(grey, datasets.fit_scaling(grey), np.float32), (grey / 16).astype(np.float32)
    )
    assert datasets.fit_scaling(grey.astype(float)) == datasets.fit_scaling(grey)
    constant = np.full((1, 7), 1e9 + 0.1)
    assert datasets.scale(constant, datasets.fit_scaling(constant)).tolist() == [[0.0] * 7]
    assert datasets.fit_scaling(X, "none") == {"shift": 0.0, "factor": 1.0}
    assert json.loads(json.dumps(datasets.fit_scaling(X))) == datasets.fit_scaling(X)
    with pytest.raises(ValueError, match="kind must be one of .*, got 'z'"):
        datasets.fit_scaling(X, "z")
    with pytest.raises(ValueError, match="X must hold numbers whose squares can be summed"):
        datasets.fit_scaling(np.array([[1e300, -1e300]]))


def test_one_hot():
    Y = datasets.one_hot(np.array([2, 0, 1, 1], np.uint8), 3, np.float32)
    assert Y.dtype == np.float32 and Y.flags.f_contiguous
    assert Y.tolist() == [[0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]]
    assert datasets.one_hot(np.array([], int), 3).shape == (3, 0)
    with pytest.raises(TypeError, match="labels must be integers, got dtype float64"):
        datasets.one_hot([0.5], 3)
    with pytest.raises(ValueError, match=r"labels must have shape \(N,\), got \(1, 2\)"):
        datasets.one_hot([[0, 1]], 3)
    with pytest.raises(ValueError, match="labels must lie in 0..2, got values from -1 to 1"):
        datasets.one_hot([-1, 1], 3)


@pytest.mark.parametrize("name", COURSE)
def test_course_sets(name):
    cases = json.loads((Path(__file__).parent / "course_cases.json").read_text())["datasets"][name]
    X, Y = getattr(datasets, name)()
    assert X.tolist() == cases["X"] and Y.tolist() == cases["Y"]
    assert X.dtype == cases["X_dtype"] and Y.dtype == cases["Y_dtype"]
