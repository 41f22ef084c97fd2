"""Read data files for `nncore.datasets` and the command: MNIST-format idx, `.npz`, tables (`.csv`).

A file that cannot be used raises one ValueError with its name and the reason. A file that cannot be
opened raises the operating system's own error.
"""

import contextlib
import dataclasses
import math
import os
import re

import numpy as np

from nncore import _columns, _files, _npz

CHUNK = 2**20


@dataclasses.dataclass
class Source:
    """The content of a source: pairs (samples as rows, labels (N,) int64 or None).

    The keys of `pairs` are "all", or both "train" and "test". For a table, `choice` describes the
    use of its columns, and `notes` are choices that may be wrong.
    """

    name: str
    pairs: dict
    choice: str = ""
    notes: tuple = ()

    def select(self, part):
        """Return (X (features, N), labels) of "all", "train" or "test"; without a test part, by the
        fixed split.
        """
        if part not in ("all", "train", "test"):
            raise ValueError(f"part must be all, train or test, got {part!r}")
        if "all" in self.pairs:
            rows, labels = self.pairs["all"]
            if part != "all":
                if len(rows) < 2:
                    raise ValueError(
                        f"{self.name} must hold at least 2 samples to be split, got {len(rows)}"
                    )
                chosen = split_indices(len(rows))[part == "test"]
                rows, labels = rows[chosen], None if labels is None else labels[chosen]
        elif part == "all":
            both = self.pairs["train"], self.pairs["test"]
            rows, labels = ([pair[i] for pair in both] for i in (0, 1))
            rows = np.concatenate(rows)
            labels = None if any(part is None for part in labels) else np.concatenate(labels)
        else:
            rows, labels = self.pairs[part]
        return rows.T, labels

    def split(self):
        """Return X_train, labels_train, X_test, labels_test; ValueError without two classes."""
        split = self.select("train") + self.select("test")
        if split[1] is None or split[3] is None:
            raise ValueError(f"{self.name} must hold labels to train on, got samples only")
        classes = np.unique(split[1])
        if classes.size < 2:
            hint = "; is the label column another one (first, last)?" if self.choice else ""
            raise ValueError(
                f"{self.name} must hold at least two classes to train on, "
                f"got only label {classes[0]}{hint}"
            )
        return split


def split_indices(count):
    """Return the fixed split of `count` samples: (indices to train on, indices to test on)."""
    order = np.random.default_rng(0).permutation(count)
    cut = 4 * count // 5
    return order[:cut], order[cut:]


def read(source, label="auto", features=None, option="label"):
    """Return the Source at a path, or of the embedded "digits".

    label and features, for tables, are those of `datasets.load`; messages call the former `option`.
    """
    embedded = isinstance(source, str) and source == "digits"
    path = source if embedded else _files.name(source)
    with _files.errors_name(path):
        if path.lower().endswith((".csv", ".csv.gz")) and not os.path.isdir(path):
            return read_csv(path, label, features, option)
        if label not in _columns.LABELS:
            *most, last = _columns.LABELS
            raise ValueError(
                f"{option} must be {', '.join(most)} or {last} for sources without "
                f"headings, got {label!r}"
            )
        if embedded:
            from nncore.data import digits

            return Source("digits", {"all": _checked("digits", *digits.arrays())})
        if os.path.isdir(path):
            return read_idx(path)
        os.stat(path)  # the operating system's own error if it is not there
        if path.lower().endswith(".npz"):
            return read_npz(path)
    raise ValueError(
        f"{path} must be a folder of idx files or end in .npz, .csv or .csv.gz, got another kind"
    )


# ---------------------------------------------------------------- common to all formats


def _checked(name, rows, labels):
    """Return (rows (N, features), labels (N,) int64 or None); ValueError if they are unusable."""
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers as samples, got dtype {rows.dtype}")
    if rows.ndim < 2:
        raise ValueError(
            f"{name} must hold samples of shape (N, features) or (N, height, width), "
            f"got {rows.shape}"
        )
    if rows.size == 0:
        raise ValueError(
            f"{name} must hold at least one sample with one feature, got shape {rows.shape}"
        )
    rows = np.ascontiguousarray(rows.reshape(len(rows), -1))
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        sample, feature = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(
            f"{name} must hold finite numbers, got {rows[sample, feature]} "
            f"in sample {sample + 1}, feature {feature + 1}"
        )
    return rows, None if labels is None else _checked_labels(name, labels, len(rows))


def _checked_labels(name, labels, count):
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold integers as labels, got dtype {labels.dtype}")
    if labels.shape not in ((count,), (count, 1)):
        raise ValueError(
            f"{name} must hold one label per sample (samples are rows in the file), "
            f"got {count} samples and labels of shape {labels.shape}"
        )
    labels = labels.reshape(count)
    wanted = "integers as labels"
    wrong = np.zeros(count, bool)
    if labels.dtype.kind == "f":
        # Above 2**53 adjacent floats are not adjacent integers; NaN compares false.
        wrong = ~((abs(labels) < 2**53) & (labels == np.trunc(labels)))
    elif labels.dtype.kind == "u":
        wanted, wrong = "labels below 2**63", labels > np.iinfo(np.int64).max
    if wrong.any():
        sample = wrong.argmax()
        raise ValueError(f"{name} must hold {wanted}, got {labels[sample]} for sample {sample + 1}")
    return labels.astype(np.int64)


def _source(name, pairs):
    """Return a Source; a single part, whatever its name in the file, is all of it."""
    if len(pairs) == 1:
        return Source(name, {"all": next(iter(pairs.values()))})
    train, test = (pairs[part][0].shape[1] for part in ("train", "test"))
    if train != test:
        raise ValueError(
            f"{name} must have the same features in both parts, "
            f"got {train} to train and {test} to test"
        )
    return Source(name, pairs)


@contextlib.contextmanager
def _opened(path):
    """Open a file; decompress it if its first bytes are those of gzip, whatever its name."""
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
            raise ValueError(
                f"{path} must be a whole gzip file, got a damaged one ({error})"
            ) from None


def _take(file, most):
    """Read at most `most` bytes, in pieces: memory follows the data, not the sizes in a header."""
    content = bytearray()
    while len(content) < most and (piece := file.read(min(most - len(content), CHUNK))):
        content += piece
    return content


# ---------------------------------------------------------------- idx


def _read_idx(path, axes):
    """Return an idx file of unsigned bytes as an array with `axes` axes."""
    with _opened(path) as file:
        start = 4 + 4 * axes
        head = _take(file, start)
        wanted = bytes([0, 0, 8, axes])
        if head[:4] != wanted:
            raise ValueError(
                f"{path} must start with the idx magic number {wanted.hex()} "
                f"(unsigned bytes, {axes} axes), "
                f"got {head[:4].hex() or 'an empty file'}"
            )
        if len(head) < start:
            raise ValueError(
                f"{path} must hold {axes} sizes after the magic number, "
                f"got a file of {len(head)} bytes"
            )
        shape = [int.from_bytes(head[at : at + 4], "big") for at in range(4, start, 4)]
        size = math.prod(shape)
        content = _take(file, size + 1)
    if len(content) != size:
        more = " or more" if len(content) > size else ""
        raise ValueError(
            f"{path} must hold {size} bytes of data as its header says ({shape}), "
            f"got {len(content)}{more}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _find_idx(folder):
    """Return {(part, "images" or "labels"): path}; ValueError if two files match one of them."""
    pattern = re.compile(r"(train|t10k|test)[-.](images[-.]idx3|labels[-.]idx1)[-.]ubyte(\.gz)?")
    found = {}
    # In reverse order, so that a plain file takes the place of its own gzipped copy.
    for name in sorted(os.listdir(folder), reverse=True):
        path = os.path.join(folder, name)
        if (match := pattern.fullmatch(name)) and not os.path.isdir(path):
            key = "train" if match[1] == "train" else "test", match[2][:6]
            other = found.get(key)
            if other is not None and other != path + ".gz":
                raise ValueError(
                    f"{folder} must hold one file of {key[0]} {key[1]}, "
                    f"got {os.path.basename(other)} and {name}"
                )
            found[key] = path
    return found


def read_idx(folder):
    """Read the idx files in a folder."""
    found = _find_idx(folder)
    pairs = {}
    for part in ("train", "test"):
        if (part, "images") in found:
            images = _read_idx(found[part, "images"], 3)
            labels = _read_idx(found[part, "labels"], 1) if (part, "labels") in found else None
            if labels is not None and len(images) != len(labels):
                names = [os.path.basename(found[part, kind]) for kind in ("images", "labels")]
                raise ValueError(
                    f"{folder} must hold as many labels as images, "
                    f"got {len(images)} images in {names[0]} "
                    f"and {len(labels)} labels in {names[1]}"
                )
            pairs[part] = _checked(found[part, "images"], images, labels)
    if not pairs:
        raise ValueError(
            f"{folder} must hold idx files such as train-images-idx3-ubyte.gz "
            "or t10k-images-idx3-ubyte, got none"
        )
    return _source(folder, pairs)


# ---------------------------------------------------------------- npz


def read_npz(path):
    """Read the arrays X and y, or x_train, y_train, x_test, y_test, of an `.npz` file."""
    with open(path, "rb") as file:
        if file.peek(6)[:6] == np.lib.format.MAGIC_PREFIX:
            raise ValueError(f"{path} must be an .npz file of plain arrays, got a single array")
        try:
            archive = _npz.Archive(file)
            names = _lower_case(archive.names)
            keys = {"all": ("x", "y")}
            if "x" not in names:
                keys = {
                    part: (f"x_{part}", f"y_{part}")
                    for part in ("train", "test")
                    if f"x_{part}" in names
                }
            arrays = {
                part: [archive.array(names[key]) if key in names else None for key in pair]
                for part, pair in keys.items()
            }
        except ValueError as error:
            raise ValueError(
                f"{path} must be an .npz file of plain arrays, got a file in which {error}"
            ) from None
    if not arrays:
        raise ValueError(
            f"{path} must hold arrays X and y, or x_train and y_train, "
            f"got {', '.join(sorted(names.values())[:8]) or 'none'}"
        )
    return _source(path, {part: _checked(path, *pair) for part, pair in arrays.items()})


def _lower_case(names):
    """Return {name in lower case: name}; ValueError if two arrays could be X, or y, and so on."""
    found = {}
    for name in names:
        other = found.setdefault(name.lower(), name)
        if other != name and re.fullmatch("[xy](_train|_test)?", name.lower()):
            raise ValueError(f"two arrays have one name, {other} and {name}")
    return found


# ---------------------------------------------------------------- tables


def read_csv(path, label, features, option="label"):
    """Read a table from a text file; label and features are those of `datasets.load_csv`."""
    try:
        with _opened(path) as file:
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"{path} must be a text file in UTF-8, got byte {byte:#04x}") from None
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
        table = np.loadtxt(
            [line for _, line in lines], delimiter=separator, ndmin=2, comments=None, quotechar='"'
        )
    except ValueError as error:
        raise ValueError(_csv_fault(path, lines, separator, error)) from None
    if headings and len(headings) != table.shape[1]:
        raise ValueError(
            f"{path} must have as many columns as headings ({len(headings)}), got {table.shape[1]}"
        )
    columns = _columns.choose(path, table, headings, label, features, option)
    labels = None if columns.label is None else table[:, columns.label]
    pair = _checked(path, table[:, columns.features], labels)
    notes = columns.notes
    if headings is None and _columns.is_counting(first):
        notes.append(
            f"line {line}, {separator.join(first[:3])}..., is treated as a sample; "
            "headings must not be numbers"
        )
    heading = "no headings" if headings is None else f"headings in line {line}"
    return Source(path, {"all": pair}, f"{columns.choice}; {heading}", tuple(notes))


def _is_heading(first):
    """Return whether the first line holds headings.

    It does if none of its fields is a number, if one is a heading of labels, or if they are those
    that pandas writes above an index and unnamed columns.
    """
    if not any(map(_is_number, first)):
        return True
    names = {field.lower() for field in first}
    return not names.isdisjoint(_columns.LABEL_NAMES) or (
        first[0] == "" and _columns.is_counting(first[1:])
    )


def _fields(path, number, line, separator):
    import csv

    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error as error:
        raise ValueError(
            f"{path} must hold lines of numbers, got line {number} that cannot be read ({error})"
        ) from None


def _csv_fault(path, lines, separator, error):
    """Return the sentence for a table that did not convert, with the line and the field."""
    columns = None
    for number, line in lines:
        fields = _fields(path, number, line, separator)
        columns = columns or len(fields)
        if len(fields) != columns:
            return (
                f"{path} must have {columns} columns in every line, "
                f"got {len(fields)} in line {number}"
            )
        for place, field in enumerate(fields, 1):
            if not _is_number(field):
                return (
                    f"{path} must hold numbers, got {field.strip()[:40]!r} "
                    f"in line {number}, column {place}"
                )
    return f"{path} must hold lines of numbers, got {_npz.one_line(error)}"


def _is_number(field):
    try:
        float(field)
    except ValueError:
        return False
    return True
