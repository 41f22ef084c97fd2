"""Data sets: the embedded digits, files (idx, npz, csv), the course's toy sets; all with samples as columns.

Every loader returns (X, labels): X is (features, N) in the type the file holds (csv: float64), its columns contiguous
in memory; labels is (N,) int64, or None where the file has none. A file that cannot be used gives one ValueError that
names the file and what is wrong with it; a file that is not there gives the operating system's own error.

`part` selects what is returned: "all" (default), "train" or "test". Files with a test part of their own keep it; for
all others the split is fixed: ``np.random.default_rng(0).permutation(N)``, the first ``4 * N // 5`` for training.
"""

import os
import re

import numpy as np

__all__ = ["fit_scaling", "for_softmax", "hard", "load", "load_csv", "load_digits", "load_idx", "load_npz",
           "load_split", "one_hot", "scale", "split_indices", "super_simple_separable",
           "super_simple_separable_through_origin", "xor", "xor_more"]

LABEL_NAMES = ("label", "class", "target", "y")


# ---------------------------------------------------------------- real data

def load_digits(part="all"):
    """The UCI handwritten digits: X (64, 1797) uint8 with grey levels 0..16, labels (1797,) int64 in 0..9.

    8x8 images, row by row. Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, doi 10.24432/C50P49, CC BY 4.0; the 1797 images of its test file (data/ATTRIBUTION.md).

    >>> X, labels = load_digits()
    >>> X.shape, X.dtype, int(X.max()), labels[:4]
    ((64, 1797), dtype('uint8'), 16, array([0, 1, 2, 3]))
    """
    return load_npz(os.path.join(os.path.dirname(__file__), "data", "digits.npz"), part)


def load_idx(folder, part="all"):
    """Images and labels from a folder of MNIST-format idx files: X (pixels, N) uint8, labels (N,).

    Looks for ``train-images-idx3-ubyte`` with ``train-labels-idx1-ubyte`` and for ``t10k-...`` (or ``test-...``)
    likewise, also with dots for dashes, gzipped (``.gz``) or not. With both pairs, "t10k" is the test part; with one
    pair the fixed split applies. Images without labels give labels None.
    Format: LeCun & Cortes, http://yann.lecun.com/exdb/mnist.

    >>> import gzip, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, head, body in (("images-idx3", [8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2], [1, 2, 3, 4]),
    ...                              ("labels-idx1", [8, 1, 0, 0, 0, 2], [7, 5])):
    ...         with gzip.open(f"{folder}/t10k-{name}-ubyte.gz", "wb") as file:
    ...             _ = file.write(bytes([0, 0] + head + body))
    ...     load_idx(folder)
    (array([[1, 3],
           [2, 4]], dtype=uint8), array([7, 5]))
    """
    return _select(_idx_parts(os.fspath(folder)), part)


def load_npz(path, part="all"):
    """Arrays X and y of an ``.npz`` file as X (features, N), labels (N,).

    The file holds samples first, as such files do: X is (N, features) or (N, height, width, ...), y is (N,) or (N, 1).
    The names are ``X`` and ``y``, or ``x_train``, ``y_train`` and perhaps ``x_test``, ``y_test``, in either case;
    y may be missing. Nothing is unpickled.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/data.npz", X=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], y=[0, 1, 0])
    ...     X, labels = load_npz(f"{folder}/data.npz")
    >>> X.shape, labels
    ((2, 3), array([0, 1, 0]))
    """
    return _select(_npz_parts(os.fspath(path)), part)


def load_csv(path, part="all", label="auto", features=None):
    """Table of numbers, one sample a line, as X (features, N) float64 and labels (N,).

    The file is UTF-8, plain or gzipped (``.gz``), separated by commas, semicolons or tabs. A first line without any
    number is the header. `label` says which column holds the labels: "auto" is the column whose heading is label,
    class, target or y, else the last; "first", "last" and "none" mean what they say. With "auto", a table with exactly
    `features` columns has no labels.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/data.csv", "w") as file:
    ...         _ = file.write("width,height,class\\n1.5,2,0\\n3,4,1\\n")
    ...     load_csv(f"{folder}/data.csv")
    (array([[1.5, 3. ],
           [2. , 4. ]]), array([0, 1]))
    """
    return _select(_csv_parts(os.fspath(path), label, features), part)


def load(source="digits", part="all", label="auto", features=None):
    """Any of the above by what `source` is: "digits", a folder (idx), or a file ending in .npz, .csv or .csv.gz.

    `label` and `features` are those of `load_csv`; other kinds of file have no use for them.

    >>> load("digits", part="test")[0].shape
    (64, 360)
    """
    return _select(_parts(source, label, features), part)


def load_split(source="digits", label="auto"):
    """X_train, labels_train, X_test, labels_test of `source`, for training: labels and two classes are a must.

    >>> [array.shape for array in load_split("digits")]
    [(64, 1437), (1437,), (64, 360), (360,)]
    """
    parts = _parts(source, label, None)
    split = _select(parts, "train") + _select(parts, "test")
    name = parts["name"]
    if split[1] is None or split[3] is None:
        raise ValueError(f"{name} must hold labels to train on, got samples only")
    classes = np.unique(split[1])
    if classes.size < 2:
        hint = "; is the label column another one (first, last)?" if name.endswith((".csv", ".csv.gz")) else ""
        raise ValueError(f"{name} must hold at least two classes to train on, got only label {classes[0]}{hint}")
    return split


def split_indices(count):
    """The fixed split of `count` samples: (indices for training, indices for testing), every call the same.

    >>> train, test = split_indices(1797)
    >>> train.size, test.size
    (1437, 360)
    """
    order = np.random.default_rng(0).permutation(count)
    cut = 4 * count // 5
    return order[:cut], order[cut:]


def one_hot(labels, n, dtype=np.float64):
    """Y[i, j] = 1 where labels[j] = i, else 0: labels (N,) integers in 0..n-1 to Y (n, N).

    >>> one_hot([0, 2, 1], 3)
    array([[1., 0., 0.],
           [0., 0., 1.],
           [0., 1., 0.]])
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iub":
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < n:
        raise ValueError(f"labels must lie in 0..{n - 1}, got values from {labels.min()} to {labels.max()}")
    # Filled as (N, n) so that a sample's column is contiguous.
    Y = np.zeros((labels.size, n), dtype)
    Y[np.arange(labels.size), labels.astype(np.intp)] = 1
    return Y.T


# ---------------------------------------------------------------- scaling of the inputs

def fit_scaling(X, kind="auto"):
    """The scaling x -> (x - shift) * factor that suits the training inputs X (features, N), for `scale`.

    "grey" divides by the largest value, so that zeros stay zeros; "standard" gives every feature mean 0 and standard
    deviation 1 (a constant feature becomes 0); "none" changes nothing; "auto" is "grey" where all values are whole
    numbers in 0..255, as in images, else "standard". Returns a dictionary {"shift", "factor"} of plain numbers or of
    lists with one number per feature, which a model file can hold.

    >>> fit_scaling(np.array([[0, 128], [255, 3]]))
    {'shift': 0.0, 'factor': 0.00392156862745098}
    >>> fit_scaling(np.array([[1.0, 3.0], [0.5, 0.5]]))
    {'shift': [2.0, 0.5], 'factor': [1.0, 0.0]}
    """
    if kind not in ("auto", "grey", "standard", "none"):
        raise ValueError(f"kind must be auto, grey, standard or none, got {kind!r}")
    X = np.asarray(X)
    if kind == "auto":
        grey = X.min() >= 0 and X.max() <= 255 and (X.dtype.kind in "iub" or not np.any(X % 1))
        kind = "grey" if grey else "standard"
    if kind == "none":
        return {"shift": 0.0, "factor": 1.0}
    if kind == "grey":
        largest = float(np.abs(X).max())
        return {"shift": 0.0, "factor": 1 / largest if largest else 1.0}
    with np.errstate(over="ignore", invalid="ignore"):
        mean = X.mean(axis=1, dtype=np.float64)
        deviation = X.std(axis=1, dtype=np.float64)
    if not np.isfinite(deviation).all():
        raise ValueError("X must hold numbers whose squares can be summed, got larger ones")
    # A constant column of large numbers has a deviation of rounding errors, not 0.
    varies = deviation > 1e-12 * np.abs(mean)
    factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return {"shift": mean.tolist(), "factor": factor.tolist()}


def scale(X, scaling, dtype=np.float64):
    """(X - shift) * factor by feature: X (features, N) to an array of `dtype` with contiguous columns.

    >>> scale(np.array([[1, 3]]), {"shift": 2.0, "factor": 0.5})
    array([[-0.5,  0.5]])
    """
    shift, factor = (np.asarray(scaling[key], dtype=np.float64) for key in ("shift", "factor"))
    # As rows, in blocks: a whole float64 copy of a large uint8 set would be eight times its size.
    rows = np.asarray(X).T
    scaled = np.empty(rows.shape, dtype)
    for start in range(0, len(rows), 4096):
        block = slice(start, start + 4096)
        scaled[block] = (rows[block] - shift) * factor
    return scaled.T


# ---------------------------------------------------------------- the course's toy sets

def for_softmax(y):
    """vstack([1 - y, y]): labels y (1, N) of 0 and 1 to one-hot Y (2, N).

    >>> for_softmax(np.array([[0, 1]]))
    array([[1, 0],
           [0, 1]])
    """
    return np.vstack([1 - np.asarray(y), y])


def super_simple_separable_through_origin():
    """Four points that a line through the origin separates: X (2, 4), Y (2, 4) one-hot.

    >>> super_simple_separable_through_origin()[0].shape
    (2, 4)
    """
    return np.array([[2, 3, 9, 12], [5, 1, 6, 5]]), for_softmax(np.array([[1, 0, 1, 0]]))


def super_simple_separable():
    """Four points that a line separates: X (2, 4), Y (2, 4) one-hot.

    >>> super_simple_separable()[1]
    array([[0, 1, 0, 1],
           [1, 0, 1, 0]])
    """
    return np.array([[2, 3, 9, 12], [5, 2, 6, 5]]), for_softmax(np.array([[1, 0, 1, 0]]))


def xor():
    """The exclusive or on the corners of a square, which no line separates: X (2, 4), Y (2, 4) one-hot.

    >>> xor()[0]
    array([[1, 2, 1, 2],
           [1, 2, 2, 1]])
    """
    return np.array([[1, 2, 1, 2], [1, 2, 2, 1]]), for_softmax(np.array([[1, 1, 0, 0]]))


def xor_more():
    """Eight points arranged like `xor`: X (2, 8), Y (2, 8) one-hot.

    >>> xor_more()[0].shape
    (2, 8)
    """
    X = np.array([[1, 2, 1, 2, 2, 4, 1, 3], [1, 2, 2, 1, 3, 1, 3, 3]])
    return X, for_softmax(np.array([[1, 1, 0, 0, 1, 1, 0, 0]]))


def hard():
    """Twenty points that need two hidden layers or luck: X (2, 20) float64, Y (2, 20) one-hot.

    >>> X, Y = hard()
    >>> X.shape, Y.sum()
    ((2, 20), np.float64(20.0))
    """
    X = np.array([
        [-0.23390341, 1.18151883, -2.46493986, 1.55322202, 1.27621763, 2.39710997, -1.3440304, -0.46903436,
         -0.64673502, -1.44029872, -1.37537243, 1.05994811, -0.93311512, 1.02735575, -0.84138778, -2.22585412,
         -0.42591102, 1.03561105, 0.91125595, -2.26550369],
        [-0.92254932, -1.1030963, -2.41956036, -1.15509002, -1.04805327, 0.08717325, 0.8184725, -0.75171045,
         0.60664705, 0.80410947, -0.11600488, 1.03747218, -0.67210575, 0.99944446, -0.65559838, -0.40744784,
         -0.58367642, 1.0597278, -0.95991874, -1.41720255]])
    y = np.array([[1., 1., 0., 1., 1., 1., 0., 0., 0., 0., 0., 1., 1., 1., 0., 0., 0., 1., 1., 0.]])
    return X, for_softmax(y)


# ---------------------------------------------------------------- reading files
# A reader returns {"name": what to call the source in messages} with either "all" or both "train" and "test", each a
# pair (samples as rows, labels or None); `_select` is the only place that turns rows into columns.

def _parts(source, label, features):
    if source == "digits":
        source = os.path.join(os.path.dirname(__file__), "data", "digits.npz")
    source = os.fspath(source)
    if os.path.isdir(source):
        return _idx_parts(source)
    # The operating system's own error for a file that is not there or may not be read.
    with open(source, "rb"):
        pass
    if source.lower().endswith(".npz"):
        return _npz_parts(source)
    if source.lower().endswith((".csv", ".csv.gz")):
        return _csv_parts(source, label, features)
    raise ValueError(f"{source} must be a folder of idx files or end in .npz, .csv or .csv.gz, got another kind")


def _select(parts, part):
    if part not in ("all", "train", "test"):
        raise ValueError(f"part must be all, train or test, got {part!r}")
    if "all" in parts:
        rows, labels = parts["all"]
        if part != "all":
            if len(rows) < 2:
                raise ValueError(f"{parts['name']} must hold at least 2 samples to be split, got {len(rows)}")
            chosen = split_indices(len(rows))[part == "test"]
            rows, labels = rows[chosen], None if labels is None else labels[chosen]
    elif part == "all":
        both = parts["train"], parts["test"]
        rows = np.concatenate([rows for rows, _ in both])
        labels = None if any(labels is None for _, labels in both) else np.concatenate([labels for _, labels in both])
    else:
        rows, labels = parts[part]
    return rows.T, labels


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
    if labels.dtype.kind == "f":
        # Beyond 2**53 neighbouring floats are not neighbouring integers; NaN compares false.
        wrong = ~((abs(labels) < 2 ** 53) & (labels == np.trunc(labels)))
        if wrong.any():
            sample = wrong.argmax()
            raise ValueError(f"{name} must hold integers as labels, got {labels[sample]} for sample {sample + 1}")
    return labels.astype(np.int64)


def _read_bytes(path):
    """The file's content, decompressed if it is gzipped (told by its first bytes, whatever the name says)."""
    import gzip
    import zlib

    with open(path, "rb") as file:
        content = file.read()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} must be a whole gzip file, got a damaged one ({error})") from None


def _read_idx(path, axes):
    """One idx file of unsigned bytes as an array with `axes` axes; every field of the header is checked."""
    content = _read_bytes(path)
    wanted = bytes([0, 0, 8, axes])
    if content[:4] != wanted:
        raise ValueError(f"{path} must start with the idx magic number {wanted.hex()} (unsigned bytes, {axes} axes), "
                         f"got {content[:4].hex() or 'an empty file'}")
    start = 4 + 4 * axes
    if len(content) < start:
        raise ValueError(f"{path} must hold {axes} sizes after the magic number, got a file of {len(content)} bytes")
    shape = [int.from_bytes(content[at:at + 4], "big") for at in range(4, start, 4)]
    size = 1
    for length in shape:
        size *= length
    if len(content) - start != size:
        raise ValueError(f"{path} must hold {size} bytes of data as its header says ({shape}), "
                         f"got {len(content) - start}")
    # The copy is writeable; an array over the bytes themselves would not be.
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _idx_parts(folder):
    pattern = re.compile(r"(train|t10k|test)[-.](?:images[-.]idx3|labels[-.]idx1)[-.]ubyte(?:\.gz)?")
    found = {}
    # Reverse order: of a file and its gzipped copy the plain one is kept, as it is written last.
    for name in sorted(os.listdir(folder), reverse=True):
        match = pattern.fullmatch(name)
        if match:
            part = "train" if match[1] == "train" else "test"
            found[part, "images" if "images" in name else "labels"] = os.path.join(folder, name)
    parts = {}
    for part in ("train", "test"):
        if (part, "images") in found:
            images = _read_idx(found[part, "images"], 3)
            labels = _read_idx(found[part, "labels"], 1) if (part, "labels") in found else None
            if labels is not None and len(images) != len(labels):
                raise ValueError(f"{folder} must hold as many labels as images, got {len(images)} images in "
                                 f"{os.path.basename(found[part, 'images'])} and {len(labels)} labels in "
                                 f"{os.path.basename(found[part, 'labels'])}")
            parts[part] = _checked(found[part, "images"], images, labels)
    if not parts:
        raise ValueError(f"{folder} must hold idx files such as train-images-idx3-ubyte.gz or t10k-images-idx3-ubyte, "
                         f"got none")
    return _named(folder, parts)


def _npz_parts(path):
    import zipfile
    import zlib

    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("a single array")
        with archive:
            names = {name.lower(): name for name in archive.files}
            if "x" in names:
                keys = {"all": ("x", "y")}
            else:
                keys = {part: (f"x_{part}", f"y_{part}") for part in ("train", "test") if f"x_{part}" in names}
            arrays = {part: tuple(archive[names[key]] if key in names else None for key in pair)
                      for part, pair in keys.items()}
    except (ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} must be an .npz file of plain arrays, got {_one_line(error)}") from None
    if not arrays:
        raise ValueError(f"{path} must hold arrays X and y, or x_train and y_train, "
                         f"got {', '.join(sorted(names.values())[:8]) or 'none'}")
    return _named(path, {part: _checked(path, *pair) for part, pair in arrays.items()})


def _named(name, parts):
    """The parts under the source's name; a lone part, whatever the file calls it, is all there is."""
    if len(parts) == 1:
        return {"name": name, "all": next(iter(parts.values()))}
    train, test = (parts[part][0].shape[1] for part in ("train", "test"))
    if train != test:
        raise ValueError(f"{name} must have the same features in both parts, got {train} to train and {test} to test")
    return {"name": name, **parts}


def _csv_parts(path, label, features):
    import csv

    if label not in ("auto", "first", "last", "none"):
        raise ValueError(f"label must be auto, first, last or none, got {label!r}")
    try:
        text = _read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a text file in UTF-8, got byte {error.object[error.start]:#04x}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} must hold lines of numbers, got an empty file")
    separator = max(",;\t", key=lines[0][1].count)
    first = [field.strip() for field in next(csv.reader([lines[0][1]], delimiter=separator))]
    header = [field.lower() for field in first] if not any(_is_number(field) for field in first) else None
    if header:
        lines = lines[1:]
        if not lines:
            raise ValueError(f"{path} must hold lines of numbers, got a header only")
    try:
        table = np.loadtxt([line for _, line in lines], delimiter=separator, ndmin=2, comments=None, quotechar='"')
    except ValueError as error:
        raise ValueError(_csv_fault(path, lines, separator, error)) from None
    if header and len(header) != table.shape[1]:
        raise ValueError(f"{path} must have as many columns as headings ({len(header)}), got {table.shape[1]}")
    column = _label_column(header, table.shape[1], label, features)
    labels = None if column is None else table[:, column]
    rows = table if column is None else np.delete(table, column, axis=1)
    return {"name": path, "all": _checked(path, rows, labels)}


def _label_column(header, columns, label, features):
    if label == "none" or (label == "auto" and columns == features):
        return None
    if label == "auto" and header:
        named = [place for place, heading in enumerate(header) if heading in LABEL_NAMES]
        if len(named) == 1:
            return named[0]
    return 0 if label == "first" else columns - 1


def _csv_fault(path, lines, separator, error):
    """The sentence for a table that did not convert: the line and the field, as an editor shows them."""
    import csv

    columns = None
    for number, line in lines:
        fields = next(csv.reader([line], delimiter=separator))
        columns = columns or len(fields)
        if len(fields) != columns:
            return f"{path} must have {columns} columns in every line, got {len(fields)} in line {number}"
        for place, field in enumerate(fields, 1):
            if not _is_number(field):
                return f"{path} must hold numbers, got {field.strip()[:40]!r} in line {number}, column {place}"
    return f"{path} must hold lines of numbers, got {_one_line(error)}"


def _is_number(field):
    try:
        float(field)
    except ValueError:
        return False
    return True


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
