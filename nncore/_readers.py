"""Read data files for `nncore.datasets` and the command: MNIST-format idx, `.npz` and tables.

A file that cannot be used raises one ValueError with its name and the reason. A file that cannot be
opened raises the operating system's own error.
"""

import contextlib
import dataclasses
import math
import os
import re

import numpy as np

from nncore import _columns, _files, _npz, _tables

CHUNK = 2**20


@dataclasses.dataclass
class Source:
    """The content of a source: pairs (samples as rows, labels (N,) or None).

    The keys of `pairs` are "all", or both "train" and "test". For a table, `choice` describes the
    use of its columns, `notes` are choices that may be wrong, and feature_names and target_name
    are headings, None without any.
    """

    name: str
    pairs: dict
    choice: str = ""
    notes: tuple = ()
    feature_names: list | None = None
    target_name: str | None = None

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

    def split(self, task="classification"):
        """Return X_train, labels_train, X_test, labels_test; ValueError without two classes."""
        split = self.select("train") + self.select("test")
        if split[1] is None or split[3] is None:
            raise ValueError(f"{self.name} must hold labels to train on, got samples only")
        if task == "regression":
            return split
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


def read(source, wanted=None, task="classification"):
    """Return the Source at a path, of the embedded "digits", or of a DataFrame.

    wanted: for tables, a _columns.Wanted. task: "classification" wants integers or texts as labels,
    "regression" numbers; None takes either.
    """
    wanted = _columns.Wanted() if wanted is None else wanted
    if _tables.is_frame(source):
        return read_table(_tables.from_frame(source), wanted, task)
    embedded = isinstance(source, str) and source == "digits"
    path = source if embedded else _files.name(source)
    with _files.errors_name(path):
        if path.lower().endswith(_tables.TEXT) and not os.path.isdir(path):
            return read_csv(path, wanted, task)
        if path.lower().endswith(_tables.PARQUET) and not os.path.isdir(path):
            os.stat(path)
            return read_table(_tables.from_parquet(path), wanted, task)
        if wanted.label not in _columns.LABELS:
            *most, last = _columns.LABELS
            raise ValueError(
                f"{wanted.option} must be {', '.join(most)} or {last} for sources without "
                f"headings, got {wanted.label!r}"
            )
        if wanted.drop:
            raise ValueError(f"--drop needs a table with columns, got {path}")
        if embedded:
            from nncore.data import digits

            return Source("digits", {"all": _checked("digits", *digits.arrays(), task)})
        if os.path.isdir(path):
            return read_idx(path, task)
        os.stat(path)  # the operating system's own error if it is not there
        if path.lower().endswith(".npz"):
            return read_npz(path, task)
    raise ValueError(
        f"{path} must be a folder of idx files or end in .npz, .csv, .tsv (also with .gz) or "
        f".parquet, got another kind"
    )


# ---------------------------------------------------------------- common to all formats


def _checked(name, rows, labels, task, place=None):
    """Return (rows (N, features), labels (N,) or None); ValueError if they are unusable.

    place: returns where a sample is, in words.
    """
    place = place or (lambda sample: f"for sample {sample + 1}")
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
    if labels is not None:
        labels = _checked_labels(name, labels, len(rows), task, place)
    return rows, labels


def _checked_labels(name, labels, count, task, place):
    """Return labels (N,): int64, texts, or for a regression float64."""
    if labels.dtype.kind not in ("biuf" if task == "regression" else "biufU"):
        what = "numbers as targets" if task == "regression" else "integers or texts as labels"
        given = f"dtype {labels.dtype}"
        if labels.dtype.kind == "U" and labels.size:
            given = f"texts such as {str(labels.flat[0])[:40]!r}"
        raise ValueError(f"{name} must hold {what}, got {given}")
    if labels.shape not in ((count,), (count, 1)):
        raise ValueError(
            f"{name} must hold one label per sample (samples are rows in the file), "
            f"got {count} samples and labels of shape {labels.shape}"
        )
    labels = labels.reshape(count)
    wanted = "integers as labels"
    wrong = np.zeros(count, bool)
    if labels.dtype.kind == "U":
        labels = np.char.strip(labels)
        wanted, wrong = "a label for every sample", labels == ""
    elif labels.dtype.kind == "f":
        # Above 2**53 adjacent floats are not adjacent integers; NaN compares false.
        wrong = ~((abs(labels) < 2**53) & (labels == np.trunc(labels)))
        if task == "regression" or task is None and wrong.any():
            return _checked_numbers(name, labels, place)
    elif labels.dtype.kind == "u":
        wanted, wrong = "labels below 2**63", labels > np.iinfo(np.int64).max
    if wrong.any():
        sample = int(wrong.argmax())
        given, hint = labels[sample], ""
        if labels.dtype.kind == "U" or given != given:
            wanted, given = "a label for every sample", "none"
        elif labels.dtype.kind == "f" and np.isfinite(given):
            hint = "; numbers are the targets of a regression"
        raise ValueError(f"{name} must hold {wanted}, got {given} {place(sample)}{hint}")
    if labels.dtype.kind == "U":
        return labels
    return labels.astype(np.float64 if task == "regression" else np.int64)


def _checked_numbers(name, targets, place):
    """Return the targets of a regression; ValueError if one is missing or infinite."""
    wrong = ~np.isfinite(targets)
    if wrong.any():
        sample = int(wrong.argmax())
        given = "none" if np.isnan(targets[sample]) else targets[sample]
        raise ValueError(
            f"{name} must hold a finite number as target of every sample, got {given} "
            f"{place(sample)}"
        )
    return targets.astype(np.float64)


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


def read_idx(folder, task="classification"):
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
            pairs[part] = _checked(found[part, "images"], images, labels, task)
    if not pairs:
        raise ValueError(
            f"{folder} must hold idx files such as train-images-idx3-ubyte.gz "
            "or t10k-images-idx3-ubyte, got none"
        )
    return _source(folder, pairs)


# ---------------------------------------------------------------- npz


def read_npz(path, task="classification"):
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
    return _source(path, {part: _checked(path, *pair, task) for part, pair in arrays.items()})


def _lower_case(names):
    """Return {name in lower case: name}; ValueError if two arrays could be X, or y, and so on."""
    found = {}
    for name in names:
        other = found.setdefault(name.lower(), name)
        if other != name and re.fullmatch("[xy](_train|_test)?", name.lower()):
            raise ValueError(f"two arrays have one name, {other} and {name}")
    return found


# ---------------------------------------------------------------- tables


def read_csv(path, wanted=None, task="classification"):
    """Read a table from a text file; wanted is a _columns.Wanted."""
    try:
        with _opened(path) as file:
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(
            f"{path} must be a text file in UTF-8, got byte {byte:#04x}; save it as CSV UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"{path} must be a text file, got one with bytes of value 0")
    return read_table(_tables.parsed(path, text), wanted, task)


def read_table(table, wanted=None, task="classification"):
    """Return the Source of a Table."""
    wanted = _columns.Wanted() if wanted is None else wanted
    columns = _columns.choose(table, wanted)
    rows = _tables.features(table, columns, wanted.option)
    labels = None if columns.label is None else table.columns[columns.label]
    pair = _checked(table.path, rows, labels, task, table.place)
    names = [None if table.headings is None else table.headings[c] for c in columns.features]
    return Source(
        table.path,
        {"all": pair},
        f"{columns.choice}; {table.choice}",
        (*columns.notes, *table.notes),
        None if table.headings is None else names,
        None if table.headings is None or labels is None else table.headings[columns.label],
    )
