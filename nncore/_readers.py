"""Read data files: MNIST-format idx, `.npz`, tables (`.csv`). For `nncore.datasets` and the command.

A file that cannot be used gives one ValueError that names it and what is wrong with it; one that cannot be opened, the
operating system's own error.
"""

import contextlib
import dataclasses
import os
import re

import numpy as np

from nncore import _columns, _files, _npz

CHUNK = 2**20


@dataclasses.dataclass
class Source:
    """What a source holds: `all`, or both `train` and `test`; each is (samples as rows, labels (N,) int64 or None).

    `taken` says of a table which columns were taken for what, `doubts` are the choices that may be wrong.
    """

    name: str
    pairs: dict
    taken: str = ""
    doubts: tuple = ()

    def select(self, part):
        """(X (features, N), labels) of a part: "all", "train" or "test", by the fixed split if the source has no parts."""
        if part not in ("all", "train", "test"):
            raise ValueError(f"part must be all, train or test, got {part!r}")
        if "all" in self.pairs:
            rows, labels = self.pairs["all"]
            if part != "all":
                if len(rows) < 2:
                    raise ValueError(f"{self.name} must hold at least 2 samples to be split, got {len(rows)}")
                chosen = split_indices(len(rows))[part == "test"]
                rows, labels = rows[chosen], None if labels is None else labels[chosen]
        elif part == "all":
            both = self.pairs["train"], self.pairs["test"]
            rows = np.concatenate([rows for rows, _ in both])
            labels = None if any(labels is None for _, labels in both) else np.concatenate([labels for _, labels in both])
        else:
            rows, labels = self.pairs[part]
        return rows.T, labels

    def split(self):
        """X_train, labels_train, X_test, labels_test; ValueError without labels or with a single class."""
        split = self.select("train") + self.select("test")
        if split[1] is None or split[3] is None:
            raise ValueError(f"{self.name} must hold labels to train on, got samples only")
        classes = np.unique(split[1])
        if classes.size < 2:
            hint = "; is the label column another one (first, last)?" if self.taken else ""
            raise ValueError(f"{self.name} must hold at least two classes to train on, got only label {classes[0]}{hint}")
        return split


def split_indices(count):
    """The fixed split of `count` samples: (indices for training, indices for testing), every call the same."""
    order = np.random.default_rng(0).permutation(count)
    cut = 4 * count // 5
    return order[:cut], order[cut:]


def read(source, label="auto", features=None, option="label"):
    """The Source at a path, or the embedded "digits". label, features: of a table; option: what label is called in errors."""
    if source == "digits":
        source = os.path.join(os.path.dirname(__file__), "data", "digits.npz")
    path = _files.name(source)
    with _files.errors_name(path):
        if path.lower().endswith((".csv", ".csv.gz")) and not os.path.isdir(path):
            return read_csv(path, label, features, option)
        if label not in _columns.LABELS:
            raise ValueError(f"{option} must be {', '.join(_columns.LABELS[:-1])} or {_columns.LABELS[-1]} for sources without headings, got {label!r}")
        if os.path.isdir(path):
            return read_idx(path)
        os.stat(path)  # the operating system's own error if it is not there
        if path.lower().endswith(".npz"):
            return read_npz(path)
    raise ValueError(f"{path} must be a folder of idx files or end in .npz, .csv or .csv.gz, got another kind")


# ---------------------------------------------------------------- what is common


def _checked(name, rows, labels):
    """(rows (N, features), labels (N,) int64 or None) if they can be used; `name` says in messages where they stand."""
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers as samples, got dtype {rows.dtype}")
    if rows.ndim < 2:
        raise ValueError(f"{name} must hold samples of shape (N, features) or (N, height, width), got {rows.shape}")
    if rows.size == 0:
        raise ValueError(f"{name} must hold at least one sample with one feature, got shape {rows.shape}")
    rows = np.ascontiguousarray(rows.reshape(len(rows), -1))
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        sample, feature = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(f"{name} must hold finite numbers, got {rows[sample, feature]} in sample {sample + 1}, "
                         f"feature {feature + 1}")
    return rows, None if labels is None else _checked_labels(name, labels, len(rows))


def _checked_labels(name, labels, count):
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold integers as labels, got dtype {labels.dtype}")
    if labels.shape not in ((count,), (count, 1)):
        raise ValueError(f"{name} must hold one label a sample (samples are rows in the file), got {count} samples and "
                         f"labels of shape {labels.shape}")
    labels = labels.reshape(count)
    wanted = "integers as labels"
    wrong = np.zeros(count, bool)
    if labels.dtype.kind == "f":
        # Beyond 2**53 neighbouring floats are not neighbouring integers; NaN compares false.
        wrong = ~((abs(labels) < 2**53) & (labels == np.trunc(labels)))
    elif labels.dtype.kind == "u":
        wanted, wrong = "labels below 2**63", labels > np.iinfo(np.int64).max
    if wrong.any():
        sample = wrong.argmax()
        raise ValueError(f"{name} must hold {wanted}, got {labels[sample]} for sample {sample + 1}")
    return labels.astype(np.int64)


def _source(name, pairs):
    """A lone part, whatever the file calls it, is all there is."""
    if len(pairs) == 1:
        return Source(name, {"all": next(iter(pairs.values()))})
    train, test = (pairs[part][0].shape[1] for part in ("train", "test"))
    if train != test:
        raise ValueError(f"{name} must have the same features in both parts, got {train} to train and {test} to test")
    return Source(name, pairs)


@contextlib.contextmanager
def _opened(path):
    """The file, decompressed if it is gzipped (recognised by its first bytes, whatever the name says)."""
    import gzip
    import zlib

    with open(path, "rb") as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as inside:
                yield inside
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} must be a whole gzip file, got a damaged one ({error})") from None


def _take(file, most):
    """At most so many bytes of a file. In pieces: memory goes by what is there, not by what a header claims."""
    content = bytearray()
    while len(content) < most and (piece := file.read(min(most - len(content), CHUNK))):
        content += piece
    return content


# ---------------------------------------------------------------- idx


def _read_idx(path, axes):
    """One idx file of unsigned bytes as an array with `axes` axes; every field of the header is checked."""
    with _opened(path) as file:
        start = 4 + 4 * axes
        head = _take(file, start)
        wanted = bytes([0, 0, 8, axes])
        if head[:4] != wanted:
            raise ValueError(f"{path} must start with the idx magic number {wanted.hex()} (unsigned bytes, {axes} axes), "
                             f"got {head[:4].hex() or 'an empty file'}")
        if len(head) < start:
            raise ValueError(f"{path} must hold {axes} sizes after the magic number, got a file of {len(head)} bytes")
        shape = [int.from_bytes(head[at:at + 4], "big") for at in range(4, start, 4)]
        size = 1
        for length in shape:
            size *= length
        content = _take(file, size + 1)
    if len(content) != size:
        raise ValueError(f"{path} must hold {size} bytes of data as its header says ({shape}), got {len(content)}"
                         + " or more" * (len(content) > size))
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_idx(folder):
    """The idx files in a folder."""
    pattern = re.compile(r"(train|t10k|test)[-.](images[-.]idx3|labels[-.]idx1)[-.]ubyte(\.gz)?")
    found = {}
    # In reverse order, so that a plain file takes the place of its own gzipped copy.
    for name in sorted(os.listdir(folder), reverse=True):
        path = os.path.join(folder, name)
        if (match := pattern.fullmatch(name)) and not os.path.isdir(path):
            key = "train" if match[1] == "train" else "test", match[2][:6]
            other = found.get(key)
            if other is not None and other != path + ".gz":
                raise ValueError(f"{folder} must hold one file of {key[0]} {key[1]}, got {os.path.basename(other)} and {name}")
            found[key] = path
    pairs = {}
    for part in ("train", "test"):
        if (part, "images") in found:
            images = _read_idx(found[part, "images"], 3)
            labels = _read_idx(found[part, "labels"], 1) if (part, "labels") in found else None
            if labels is not None and len(images) != len(labels):
                raise ValueError(f"{folder} must hold as many labels as images, got {len(images)} images in "
                                 f"{os.path.basename(found[part, 'images'])} and {len(labels)} labels in "
                                 f"{os.path.basename(found[part, 'labels'])}")
            pairs[part] = _checked(found[part, "images"], images, labels)
    if not pairs:
        raise ValueError(f"{folder} must hold idx files such as train-images-idx3-ubyte.gz or t10k-images-idx3-ubyte, "
                         f"got none")
    return _source(folder, pairs)


# ---------------------------------------------------------------- npz


def read_npz(path):
    """The arrays X and y, or x_train, y_train, x_test, y_test, of an `.npz` file."""
    with open(path, "rb") as file:
        try:
            if file.peek(6)[:6] == np.lib.format.MAGIC_PREFIX:
                raise ValueError("a single array")
            archive = _npz.Archive(file)
            names = {}
            for name in archive.names:
                other = names.setdefault(name.lower(), name)
                if other != name and re.fullmatch("[xy](_train|_test)?", name.lower()):
                    raise ValueError(f"two arrays of one name, {other} and {name}")
            keys = {"all": ("x", "y")}
            if "x" not in names:
                keys = {part: (f"x_{part}", f"y_{part}") for part in ("train", "test") if f"x_{part}" in names}
            arrays = {part: [archive.array(names[key]) if key in names else None for key in pair]
                      for part, pair in keys.items()}
        except ValueError as error:
            raise ValueError(f"{path} must be an .npz file of plain arrays, got {error}") from None
    if not arrays:
        raise ValueError(f"{path} must hold arrays X and y, or x_train and y_train, "
                         f"got {', '.join(sorted(names.values())[:8]) or 'none'}")
    return _source(path, {part: _checked(path, *pair) for part, pair in arrays.items()})


# ---------------------------------------------------------------- tables


def read_csv(path, label, features, option="label"):
    """The table in a text file. label and features as `datasets.load_csv` has them."""
    try:
        with _opened(path) as file:
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a text file in UTF-8, got byte {error.object[error.start]:#04x}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} must hold lines of numbers, got an empty file")
    separator = max(",;\t", key=lines[0][1].count)
    first = [field.strip() for field in _fields(path, *lines[0], separator)]
    headings = first if _is_heading(first) else None
    line = lines[0][0]
    if headings:
        lines = lines[1:]
        if not lines:
            raise ValueError(f"{path} must hold lines of numbers, got a header only")
    try:
        table = np.loadtxt([line for _, line in lines], delimiter=separator, ndmin=2, comments=None, quotechar='"')
    except ValueError as error:
        raise ValueError(_csv_fault(path, lines, separator, error)) from None
    if headings and len(headings) != table.shape[1]:
        raise ValueError(f"{path} must have as many columns as headings ({len(headings)}), got {table.shape[1]}")
    columns = _columns.choose(path, table, headings, label, features, option)
    pair = _checked(path, table[:, columns.features], None if columns.label is None else table[:, columns.label])
    doubts = columns.doubts
    if headings is None and _columns.is_counting(first):
        doubts.append(f"line {line}, {separator.join(first[:3])}..., is taken for a sample; headings must not be numbers")
    heading = "no headings" if headings is None else f"headings in line {line}"
    return Source(path, {"all": pair}, f"{columns.taken}; {heading}", tuple(doubts))


def _is_heading(first):
    """Whether the fields of the first line are headings: no number among them, a label's heading, or an index's and 0, 1, 2 ..."""
    if not any(map(_is_number, first)) or not {field.lower() for field in first}.isdisjoint(_columns.LABEL_NAMES):
        return True
    return first[0] == "" and _columns.is_counting(first[1:])


def _fields(path, number, line, separator):
    import csv

    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error as error:
        raise ValueError(f"{path} must hold lines of numbers, got line {number} that cannot be read ({error})") from None


def _csv_fault(path, lines, separator, error):
    """The sentence for a table that did not convert: the line and the field, as an editor shows them."""
    columns = None
    for number, line in lines:
        fields = _fields(path, number, line, separator)
        columns = columns or len(fields)
        if len(fields) != columns:
            return f"{path} must have {columns} columns in every line, got {len(fields)} in line {number}"
        for place, field in enumerate(fields, 1):
            if not _is_number(field):
                return f"{path} must hold numbers, got {field.strip()[:40]!r} in line {number}, column {place}"
    return f"{path} must hold lines of numbers, got {_npz.one_line(error)}"


def _is_number(field):
    try:
        float(field)
    except ValueError:
        return False
    return True
