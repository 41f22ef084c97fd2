"""SciPy's sparse matrices as X: one class around them, which the compiled loops read as it is."""

import sys

import numpy as np

from nncore import _checks, _core


class Columns:
    """A sparse matrix (D, N) with samples as columns, sorted and without duplicates, in the type of
    the network.
    """

    ndim = 2

    def __init__(self, matrix):
        self.matrix = matrix  # CSC
        self.shape, self.dtype = matrix.shape, matrix.dtype
        self._rows = None

    def __getitem__(self, key):
        return Columns(self.matrix[key])

    @property
    def rows(self):
        """The matrix as the engine takes it: CSC columns are CSR rows of the transpose."""
        if self._rows is None:
            m = self.matrix
            self._rows = _core.Rows(
                m.data,
                np.ascontiguousarray(m.indices, np.int32),
                np.ascontiguousarray(m.indptr, np.int64),
                m.shape[0],
            )
        return self._rows


def is_sparse(X):
    """Return whether X is a SciPy sparse matrix or array, or Columns of one."""
    if type(X) is np.ndarray:
        return False
    scipy_sparse = sys.modules.get("scipy.sparse")  # who has no such module has no such matrix
    return isinstance(X, Columns) or scipy_sparse is not None and scipy_sparse.issparse(X)


def columns(name, X, dtype):
    """Return a sparse X as Columns; TypeError unless it is real, ValueError unless it has two
    dimensions. CSC is read in place if it is sorted and of the type.
    """
    if isinstance(X, Columns) and X.dtype == dtype:
        return X
    X = X.matrix if isinstance(X, Columns) else X
    if X.ndim != 2:
        raise ValueError(f"{name} must have shape (D, N), got {X.shape}")
    if X.dtype.kind not in _checks.REAL_KINDS:
        raise TypeError(f"{name} must be a real matrix, got a sparse one of {X.dtype}")
    if X.shape[0] > np.iinfo(np.int32).max:
        raise ValueError(f"{name} must have less than 2**31 rows, got {X.shape[0]}")
    columns = X.tocsc()
    if not columns.has_canonical_format:
        columns = columns.copy() if columns is X else columns
        columns.sum_duplicates()
    return Columns(columns.astype(dtype, copy=False))


def for_engine(X):
    """Return what Program takes for X."""
    return X.rows if type(X) is Columns else X


def memory(X):
    """Return the array that holds the numbers of X."""
    return X.matrix.data if type(X) is Columns else X


def check_finite(name, X):
    """Raise ValueError, naming the column, if X holds NaN or infinity."""
    if type(X) is Columns and not np.isfinite(X.matrix.data).all():
        at = np.flatnonzero(~np.isfinite(X.matrix.data))[0]
        column = int(np.searchsorted(X.matrix.indptr, at, side="right")) - 1
        raise ValueError(f"{name} must be finite, got NaN or infinity in column {column}")
    if type(X) is not Columns:
        _checks.finite(name, X)


def dense(X):
    """Return X as an array, for modules that run one by one."""
    return X.matrix.toarray(order="F") if type(X) is Columns else X
