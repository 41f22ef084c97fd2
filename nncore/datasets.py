"""Data sets: the embedded digits, files (idx, npz, csv) and the course's toy sets.

Samples are columns. Every loader returns (X, labels): X is (features, N) in the type of the file
(tables: float64), with contiguous columns; labels is (N,) int64 or texts, or None if the file has
none. A file that cannot be used raises one ValueError that names the file and the reason. A missing
file raises the operating system's own error.

`part` selects the samples: "all" (default), "train" or "test". Files with a test part keep it. All
others are split in a fixed way: ``np.random.default_rng(0).permutation(N)``, the first ``4 * N //
5`` for training.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nncore import _checks, _columns, _files, _names, _preprocessing, _readers
from nncore._types import Array, ArrayLike, Integer, Part, Scaling, StrPath, Task

__all__ = [
    "fit_scaling",
    "for_softmax",
    "hard",
    "load",
    "load_csv",
    "load_digits",
    "load_idx",
    "load_npz",
    "load_split",
    "one_hot",
    "scale",
    "split_indices",
    "super_simple_separable",
    "super_simple_separable_through_origin",
    "xor",
    "xor_more",
]


def __dir__() -> list[str]:
    return _names.shown(globals())


# ---------------------------------------------------------------- real data


def load_digits(part: Part = "all") -> tuple[Array, NDArray[np.int64]]:
    """Load the UCI handwritten digits, 8x8 images row by row.

    Parameters
    ----------
    part : {"all", "train", "test"}
        The samples to return.

    Returns
    -------
    X : ndarray of shape (64, N)
        Grey levels 0..16, uint8; N is 1797 in all.
    labels : ndarray of shape (N,)
        The digits 0..9, int64.

    Notes
    -----
    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, doi 10.24432/C50P49, CC BY 4.0; the 1797 images of its test file
    (data/ATTRIBUTION.md).

    Examples
    --------
    >>> X, labels = load_digits()
    >>> X.shape, X.dtype, int(X.max()), labels[:4]
    ((64, 1797), dtype('uint8'), 16, array([0, 1, 2, 3]))
    """
    return _readers.read("digits").select(part)


def load_idx(folder: StrPath, part: Part = "all") -> tuple[Array, NDArray[np.int64] | None]:
    """Load images and labels from a folder of MNIST-format idx files.

    The files are ``train-images-idx3-ubyte`` with ``train-labels-idx1-ubyte``, and ``t10k-...`` (or
    ``test-...``) likewise, also with dots for dashes, gzipped (``.gz``) or not. If both pairs
    exist, "t10k" is the test part; a single pair is split in the fixed way.

    Parameters
    ----------
    folder : path_like
        The folder.
    part : {"all", "train", "test"}
        The samples to return.

    Returns
    -------
    X : ndarray of shape (pixels, N)
        Grey levels, uint8.
    labels : ndarray of shape (N,) or None
        The labels, int64; None if there are images only.

    Raises
    ------
    ValueError
        If the files cannot be used.

    Notes
    -----
    Format: LeCun & Cortes, http://yann.lecun.com/exdb/mnist.

    Examples
    --------
    >>> import gzip, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sizes = [0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]
    ...     for name, content in (
    ...         ("images-idx3", [0, 0, 8, 3, *sizes, 1, 2, 3, 4]),
    ...         ("labels-idx1", [0, 0, 8, 1, *sizes[:4], 7, 5]),
    ...     ):
    ...         path = f"{folder}/t10k-{name}-ubyte.gz"
    ...         with gzip.open(path, "wb") as file:
    ...             _ = file.write(bytes(content))
    ...     load_idx(folder)
    (array([[1, 3],
           [2, 4]], dtype=uint8), array([7, 5]))
    """
    return _readers.read_idx(_files.name(folder)).select(part)


def load_npz(path: StrPath, part: Part = "all") -> tuple[Array, NDArray[np.int64] | None]:
    """Load arrays X and y of an ``.npz`` file.

    The file holds samples first: X is (N, features) or (N, height, width, ...), y is (N,) or (N,
    1). The names are ``X`` and ``y``, or ``x_train``, ``y_train`` and optionally ``x_test``,
    ``y_test``, in upper or lower case; y is optional. Nothing is unpickled.

    Parameters
    ----------
    path : path_like
        The file.
    part : {"all", "train", "test"}
        The samples to return.

    Returns
    -------
    X : ndarray of shape (features, N)
        The samples, in the type of the file.
    labels : ndarray of shape (N,) or None
        The labels, int64.

    Raises
    ------
    ValueError
        If the file cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    ...     np.savez(f"{folder}/data.npz", X=rows, y=[0, 1, 0])
    ...     X, labels = load_npz(f"{folder}/data.npz")
    >>> X.shape, labels
    ((2, 3), array([0, 1, 0]))
    """
    return _readers.read_npz(_files.name(path)).select(part)


def load_csv(
    path: StrPath,
    part: Part = "all",
    label: str = "auto",
    features: int | None = None,
    task: Task = "classification",
    drop: str | Sequence[str] = (),
) -> tuple[Array, Array | None]:
    r"""Load a table with one sample per line: numbers, and labels that may be texts.

    The file is UTF-8, plain or gzipped (``.gz``), separated by commas, semicolons or tabs. The
    first line holds headings if none of its fields is a number or one of them is label, class or
    target. A first column without a heading is an index, as pandas and R write it, and is left out.

    Parameters
    ----------
    path : path_like
        The file.
    part : {"all", "train", "test"}
        The samples to return.
    label : str
        The column of the labels. "auto" is the one headed label, class or target, else the one
        headed y, else the last; "first", "last", "none", a heading, or a number from "1".
    features : int, optional
        The number of features. With "auto", a table with exactly that many columns has no labels.
    task : {"classification", "regression"}
        "regression" reads numbers, the targets, instead of labels.
    drop : sequence of str
        Headings, or numbers from "1", of columns to leave out.

    Returns
    -------
    X : ndarray of shape (features, N)
        The samples, float64.
    labels : ndarray of shape (N,) or None
        The labels, int64 or texts; for a regression the targets, float64.

    Raises
    ------
    ValueError
        If the file cannot be used, or several headings match.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/data.csv", "w") as file:
    ...         _ = file.write("width,height,class\n1.5,2,0\n3,4,1\n")
    ...     load_csv(f"{folder}/data.csv")
    (array([[1.5, 3. ],
           [2. , 4. ]]), array([0, 1]))
    """
    wanted = _wanted(label, features, drop, task)
    return _readers.read_csv(_files.name(path), wanted, task).select(part)


def load(
    source: Any = "digits",
    part: Part = "all",
    label: str = "auto",
    features: int | None = None,
    task: Task = "classification",
    drop: str | Sequence[str] = (),
) -> tuple[Array, Array | None]:
    """Load any of these sources, chosen by `source`.

    Parameters
    ----------
    source : str, path_like or DataFrame
        "digits", a folder (idx), a file ending in .npz, .csv or .tsv (also with .gz) or .parquet,
        or a DataFrame of pandas or polars. Parquet files need polars, or pandas with pyarrow: `pip
        install nncore[parquet]`.
    part : {"all", "train", "test"}
        The samples to return.
    label : str
        As for `load_csv`; other files ignore it.
    features : int, optional
        As for `load_csv`; other files ignore it.
    task : {"classification", "regression"}
        As for `load_csv`.
    drop : sequence of str
        As for `load_csv`.

    Returns
    -------
    X : ndarray of shape (features, N)
        The samples.
    labels : ndarray of shape (N,) or None
        The labels, int64 or texts; for a regression the targets, float64.

    Raises
    ------
    ValueError
        If the source cannot be used.

    Examples
    --------
    >>> load("digits", part="test")[0].shape
    (64, 360)
    """
    return _readers.read(source, _wanted(label, features, drop, task), task).select(part)


def _wanted(label, features, drop, task):
    """Return the columns that a caller asks for, checked."""
    _checks.choice("task", task, ("classification", "regression"))
    for name in (label, *([drop] if isinstance(drop, str) else drop)):
        if not isinstance(name, str):
            raise TypeError(
                f"label and drop must be headings or numbers of columns as texts, got "
                f"{_checks.shown(name)}"
            )
    drop = (drop,) if isinstance(drop, str) else tuple(drop)
    return _columns.Wanted(label, features, drop=drop)


def load_split(
    source: Any = "digits",
    label: str = "auto",
    task: Task = "classification",
    drop: str | Sequence[str] = (),
) -> tuple[Array, Array, Array, Array]:
    """Load the training and test parts of `source`, which must have labels of at least two classes.

    Parameters
    ----------
    source : str, path_like or DataFrame
        As for `load`.
    label : str
        As for `load_csv`.
    task : {"classification", "regression"}
        As for `load_csv`.
    drop : sequence of str
        As for `load_csv`.

    Returns
    -------
    X_train : ndarray of shape (features, N)
        The training samples.
    labels_train : ndarray of shape (N,)
        Their labels, int64 or texts, or targets, float64.
    X_test : ndarray of shape (features, N_test)
        The test samples.
    labels_test : ndarray of shape (N_test,)
        Their labels or targets.

    Raises
    ------
    ValueError
        If the source cannot be used, or has no labels or a single class.

    Examples
    --------
    >>> [array.shape for array in load_split("digits")]
    [(64, 1437), (1437,), (64, 360), (360,)]
    """
    return _readers.read(source, _wanted(label, None, drop, task), task).split(task)


def split_indices(count: Integer) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the fixed split of `count` samples, the same in every call.

    Parameters
    ----------
    count : int
        The number of samples.

    Returns
    -------
    train : ndarray
        Indices of the training samples.
    test : ndarray
        Indices of the test samples.

    Examples
    --------
    >>> train, test = split_indices(1797)
    >>> train.size, test.size
    (1437, 360)
    """
    return _readers.split_indices(_checks.count("count", count))


def one_hot(labels: ArrayLike, n: Integer, dtype: DTypeLike = np.float64) -> Array:
    """Return one-hot columns: Y[i, j] = 1 if labels[j] = i, else 0.

    Parameters
    ----------
    labels : array_like of shape (N,)
        Integers in 0..n-1.
    n : int
        The number of classes.
    dtype : dtype
        The type of the result.

    Returns
    -------
    ndarray of shape (n, N)
        The one-hot columns, contiguous.

    Raises
    ------
    TypeError
        If labels are not integers, or `dtype` is not a NumPy type.
    ValueError
        If a label is out of range, or labels are not (N,).

    Examples
    --------
    >>> one_hot([0, 2, 1], 3)
    array([[1., 0., 0.],
           [0., 0., 1.],
           [0., 1., 0.]])
    """
    labels, n = _checks.real("labels", labels), _checks.count("n", n, 1)
    if labels.dtype.kind not in "iub":
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    try:
        dtype = np.dtype(dtype)
    except (TypeError, ValueError):
        raise TypeError(f"dtype must be a NumPy type, got {dtype!r}") from None
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < n:
        raise ValueError(
            f"labels must lie in 0..{n - 1}, got values from {labels.min()} to {labels.max()}"
        )
    # Filled as (N, n), so that the columns are contiguous.
    Y = np.zeros((labels.size, n), dtype)
    Y[np.arange(labels.size), labels.astype(np.intp)] = 1
    return Y.T


# ---------------------------------------------------------------- scaling of the inputs


@_checks.quiet
def fit_scaling(
    X: ArrayLike, kind: Literal["auto", "grey", "standard", "none"] = "auto"
) -> dict[str, Any]:
    """Return the scaling x -> (x - shift) * factor that suits the training inputs, for `scale`.

    Parameters
    ----------
    X : array_like of shape (features, N)
        The training inputs.
    kind : {"auto", "grey", "standard", "none"}
        "grey" divides by the largest value, so zeros stay zeros; "standard" gives every feature
        mean 0 and standard deviation 1 (a constant feature becomes 0); "none" changes nothing;
        "auto" is "grey" if all values are integers in 0..255, as in images, else "standard".

    Returns
    -------
    dict
        {"shift", "factor"}: plain numbers, or lists with one number per feature, which a model file
        can hold.

    Raises
    ------
    ValueError
        If X is empty, or its squares overflow.

    Examples
    --------
    >>> fit_scaling(np.array([[0, 128], [255, 3]]))
    {'shift': 0.0, 'factor': 0.00392156862745098}
    >>> fit_scaling(np.array([[1.0, 3.0], [0.5, 0.5]]))
    {'shift': [2.0, 0.5], 'factor': [1.0, 0.0]}
    """
    _checks.choice("kind", kind, ("auto", "grey", "standard", "none"))
    X = _checks.real("X", X)
    _checks.shape("X", X, ("D", "N"))
    if not X.size:
        raise ValueError(f"X must hold at least one number, got shape {X.shape}")
    if kind == "auto":
        grey = X.min() >= 0 and X.max() <= 255 and (X.dtype.kind in "iub" or not np.any(X % 1))
        kind = "grey" if grey else "standard"
    if kind == "none":
        return {"shift": 0.0, "factor": 1.0}
    if kind == "grey":
        largest = float(np.abs(X).max())
        return {"shift": 0.0, "factor": 1 / largest if largest else 1.0}
    mean = X.mean(axis=1, dtype=np.float64)
    deviation = X.std(axis=1, dtype=np.float64)
    if not np.isfinite(deviation).all():
        raise ValueError("X must hold numbers whose squares can be summed, got larger ones")
    # A constant column of large numbers has a deviation of rounding errors, not 0.
    varies = deviation > 1e-12 * np.abs(mean)
    factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return {"shift": mean.tolist(), "factor": factor.tolist()}


def scale(X: ArrayLike, scaling: Scaling, dtype: DTypeLike = np.float64) -> Array:
    """Scale every feature: (X - shift) * factor.

    Parameters
    ----------
    X : array_like of shape (features, N)
        The inputs.
    scaling : dict
        {"shift", "factor"}, as `fit_scaling` returns it.
    dtype : dtype
        The type of the result, float32 or float64.

    Returns
    -------
    ndarray of shape (features, N)
        The scaled inputs, with contiguous columns.

    Examples
    --------
    >>> scale(np.array([[1, 3]]), {"shift": 2.0, "factor": 0.5})
    array([[-0.5,  0.5]])
    """
    if not isinstance(scaling, dict) or not {"shift", "factor"} <= set(scaling):
        raise TypeError(
            f"scaling must be a dict with shift and factor, as fit_scaling returns, got "
            f"{type(scaling).__name__}"
        )
    shift, factor = (
        _checks.as_real(f"{key} of scaling", scaling[key], np.float64)
        for key in ("shift", "factor")
    )
    X, dtype = _checks.real("X", X), _checks.network_dtype(dtype)
    _checks.shape("X", X, ("D", "N"))
    return _preprocessing.scaled(X, shift, factor, dtype)


# ---------------------------------------------------------------- the course's toy sets


def for_softmax(y: ArrayLike) -> Array:
    """Convert labels 0 and 1 to one-hot columns: vstack([1 - y, y]).

    Parameters
    ----------
    y : array_like of shape (1, N)
        Labels 0 and 1.

    Returns
    -------
    ndarray of shape (2, N)
        The one-hot columns.

    Examples
    --------
    >>> for_softmax(np.array([[0, 1]]))
    array([[1, 0],
           [0, 1]])
    """
    y = _checks.real("y", y)
    return np.vstack([1 - y, y])


def super_simple_separable_through_origin() -> tuple[Array, Array]:
    """Return four points that a line through the origin separates.

    Returns
    -------
    X : ndarray of shape (2, 4)
        The points.
    Y : ndarray of shape (2, 4)
        The labels, one-hot.

    Examples
    --------
    >>> super_simple_separable_through_origin()[0].shape
    (2, 4)
    """
    return np.array([[2, 3, 9, 12], [5, 1, 6, 5]]), for_softmax(np.array([[1, 0, 1, 0]]))


def super_simple_separable() -> tuple[Array, Array]:
    """Return four points that a line separates.

    Returns
    -------
    X : ndarray of shape (2, 4)
        The points.
    Y : ndarray of shape (2, 4)
        The labels, one-hot.

    Examples
    --------
    >>> super_simple_separable()[1]
    array([[0, 1, 0, 1],
           [1, 0, 1, 0]])
    """
    return np.array([[2, 3, 9, 12], [5, 2, 6, 5]]), for_softmax(np.array([[1, 0, 1, 0]]))


def xor() -> tuple[Array, Array]:
    """Return the exclusive or on the corners of a square, which no line separates.

    Returns
    -------
    X : ndarray of shape (2, 4)
        The points.
    Y : ndarray of shape (2, 4)
        The labels, one-hot.

    Examples
    --------
    >>> xor()[0]
    array([[1, 2, 1, 2],
           [1, 2, 2, 1]])
    """
    return np.array([[1, 2, 1, 2], [1, 2, 2, 1]]), for_softmax(np.array([[1, 1, 0, 0]]))


def xor_more() -> tuple[Array, Array]:
    """Return eight points arranged like `xor`.

    Returns
    -------
    X : ndarray of shape (2, 8)
        The points.
    Y : ndarray of shape (2, 8)
        The labels, one-hot.

    Examples
    --------
    >>> xor_more()[0].shape
    (2, 8)
    """
    X = np.array([[1, 2, 1, 2, 2, 4, 1, 3], [1, 2, 2, 1, 3, 1, 3, 3]])
    return X, for_softmax(np.array([[1, 1, 0, 0, 1, 1, 0, 0]]))


def hard() -> tuple[Array, Array]:
    """Return twenty points that need two hidden layers or luck.

    Returns
    -------
    X : ndarray of shape (2, 20)
        The points, float64.
    Y : ndarray of shape (2, 20)
        The labels, one-hot.

    Examples
    --------
    >>> X, Y = hard()
    >>> X.shape, Y.sum()
    ((2, 20), np.float64(20.0))
    """
    X = np.array(
        [
            [
                -0.23390341,
                1.18151883,
                -2.46493986,
                1.55322202,
                1.27621763,
                2.39710997,
                -1.3440304,
                -0.46903436,
                -0.64673502,
                -1.44029872,
                -1.37537243,
                1.05994811,
                -0.93311512,
                1.02735575,
                -0.84138778,
                -2.22585412,
                -0.42591102,
                1.03561105,
                0.91125595,
                -2.26550369,
            ],
            [
                -0.92254932,
                -1.1030963,
                -2.41956036,
                -1.15509002,
                -1.04805327,
                0.08717325,
                0.8184725,
                -0.75171045,
                0.60664705,
                0.80410947,
                -0.11600488,
                1.03747218,
                -0.67210575,
                0.99944446,
                -0.65559838,
                -0.40744784,
                -0.58367642,
                1.0597278,
                -0.95991874,
                -1.41720255,
            ],
        ]
    )
    y = np.array(
        [
            [
                1.0,
                1.0,
                0.0,
                1.0,
                1.0,
                1.0,
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                1.0,
                1.0,
                1.0,
                0.0,
                0.0,
                0.0,
                1.0,
                1.0,
                0.0,
            ]
        ]
    )
    return X, for_softmax(y)
