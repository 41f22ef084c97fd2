"""The scalings, classes and column names that belong to a network.

A Preprocessing belongs to a network, whose attributes of the same names read and set it. It is
replaced, never changed, so that copies of a network may share one.
"""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar, overload

import numpy as np

from nncore import _checks, _sparse

NAMES = ("scaling", "target_scaling", "classes", "feature_names", "target_name")
# Rows that are scaled at a time: a whole float64 copy of a uint8 set is eight times its size.
BLOCK = 4096


Got = TypeVar("Got")
Given = TypeVar("Given")


class Attribute(Generic[Got, Given]):
    """An attribute of a network that its Preprocessing holds; None if there is none. It reads as
    Got, and is set to any Given.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, net: None, owner: Any = None) -> Self: ...
    @overload
    def __get__(self, net: Any, owner: Any = None) -> Got | None: ...
    def __get__(self, net: Any, owner: Any = None) -> Any:
        if net is None:
            return self
        return None if net._preprocessing is None else getattr(net._preprocessing, self.name)

    def __set__(self, net: Any, value: Given | None) -> None:
        net._preprocessing = replaced(net._preprocessing, self.name, value)

    def __delete__(self, net: Any) -> None:
        self.__set__(net, None)


class Preprocessing:
    """The scalings, classes and names of one network, checked; None for what it does not have."""

    def __init__(self, **given):
        self._scaling = _scaling("scaling", given.get("scaling"))
        self._target_scaling = _scaling("target_scaling", given.get("target_scaling"))
        self._classes = _classes(given.get("classes"))
        self._feature_names = _names(given.get("feature_names"))
        self.target_name = given.get("target_name")
        if self.target_name is not None and not isinstance(self.target_name, str):
            raise TypeError(
                f"target_name must be a text or None, got {type(self.target_name).__name__}"
            )
        given = self._classes
        self._order = None if given is None else np.argsort(given)
        # Whether the scalings change anything, and labels differ from the numbers 0, 1, ....
        self.scales, self.scales_targets = _changes(self._scaling), _changes(self._target_scaling)
        self.is_encoded = given is not None and (
            given.dtype.kind != "i" or not np.array_equal(given, np.arange(len(given)))
        )

    # Callers get copies, whose changes would go unnoticed here.

    @property
    def scaling(self):
        """The scaling of the inputs as a dict of plain numbers, or None."""
        return _plain(self._scaling)

    @property
    def target_scaling(self):
        """The scaling of the targets as a dict of plain numbers, or None."""
        return _plain(self._target_scaling)

    @property
    def classes(self):
        """The labels of the outputs as an array, or None."""
        return None if self._classes is None else self._classes.copy()

    @property
    def feature_names(self):
        """The names of the inputs as a list, or None."""
        return None if self._feature_names is None else list(self._feature_names)

    @property
    def summary(self):
        """The end of the network's repr, from a comma on."""
        said = ["scaled inputs"] * self.scales + ["scaled targets"] * self.scales_targets
        said += [] if self._classes is None else [f"classes {_shown(self._classes)}"]
        return "".join(f", {part}" for part in said)

    def as_metadata(self):
        """Return its entries in a model file: plain values by name."""
        found = {name: getattr(self, name) for name in NAMES}
        if self._classes is not None:
            found["classes"] = self._classes.tolist()
        return {name: value for name, value in found.items() if value is not None}

    # ------------------------------------------------------------------------------ the formulas

    def shift_and_factor(self, targets=False):
        """Return (shift, factor) of the inputs or the targets, float64, each () or (D, 1)."""
        return self._target_scaling if targets else self._scaling

    def scaled(self, X, dtype):
        """Return (X − shift) ⊙ factor for X (D, N), an array or sparse Columns."""
        shift, factor = self._scaling
        if type(X) is _sparse.Columns:
            return _scaled_sparse(X, shift, factor)
        return scaled(X, shift, factor, dtype)

    @_checks.quiet
    def scaled_targets(self, Y, dtype):
        """Return (Y − shift) ⊙ factor for targets (N,) or (n, N); other shapes as they are, for
        the caller to refuse.
        """
        shift, factor = self._target_scaling
        if shift.size == 1 and factor.size == 1:
            shift, factor = shift.reshape(()), factor.reshape(())
        elif np.ndim(Y) != 2 or len(Y) != max(shift.size, factor.size):
            return Y
        return ((Y - shift) * factor).astype(dtype)

    @_checks.quiet
    def unscaled_targets(self, P):
        """Return P / factor + shift for outputs (n, N), in their type."""
        shift, factor = self._target_scaling
        return (P / factor + shift).astype(P.dtype)

    def into_first(self, W, W0):
        """Return the weights of a first Linear that takes inputs without their scaling."""
        shift, factor = self._scaling
        wide = np.array(W, np.float64)
        bias = W0 - wide.T @ np.broadcast_to(shift * factor, (len(wide), 1))
        return (wide * factor).astype(W.dtype), bias.astype(W0.dtype)

    def into_last(self, W, W0):
        """Return the weights of a last Linear whose outputs are in the units of the targets."""
        shift, factor = self._target_scaling
        return (W / factor.T).astype(W.dtype), (W0 / factor + shift).astype(W0.dtype)

    def encoded(self, Y, name="Y"):
        """Return labels of any shape as the numbers of their classes, int64; ValueError for labels
        that are not among the classes.
        """
        given, classes = np.asarray(Y), self._classes
        if given.dtype == object and all(isinstance(label, str) for label in given.flat):
            given = given.astype(str)
        if given.dtype.kind not in ("U" if classes.dtype.kind == "U" else "biuf"):
            raise ValueError(
                f"{name} must hold labels among the network's classes {_shown(classes)}, got "
                f"{given.dtype} {given.shape}"
            )
        at = np.searchsorted(classes, given, sorter=self._order)
        numbers = self._order[np.minimum(at, len(classes) - 1)]
        wrong = classes[numbers] != given
        if wrong.any():
            place = tuple(map(int, np.argwhere(wrong)[0]))
            where = "" if not place else f" at {place[0] if len(place) == 1 else place}"
            raise ValueError(
                f"{name} must hold labels among the network's classes {_shown(classes)}, got "
                f"{given[place].item()!r}{where}"
            )
        return numbers.astype(np.int64)

    def decoded(self, numbers):
        """Return the labels of class numbers."""
        return self._classes[numbers]

    # ------------------------------------------------------------------------------------ sizes

    def fits_inputs(self, inputs):
        """Return whether the scaling of the inputs is that of so many."""
        return _fits(self._scaling, inputs)

    def fits_outputs(self, outputs):
        """Return whether the scaling of the targets is that of so many outputs."""
        return _fits(self._target_scaling, outputs)

    def fits_labels(self, labels):
        """Return whether there are so many classes."""
        return self._classes is None or len(self._classes) == labels

    def check_inputs(self, inputs):
        """Raise ValueError unless the scaling and the names are those of so many inputs."""
        _check_size("scaling", self._scaling, inputs, "inputs")
        if self._feature_names is not None and len(self._feature_names) != inputs:
            raise ValueError(
                f"feature_names must hold {inputs} names, one per input of the network, got "
                f"{len(self._feature_names)}"
            )

    def check_outputs(self, outputs, labels=None):
        """Raise ValueError unless the classes and the scaling of the targets fit this
        number of outputs. labels: the number of labels that the outputs distinguish.
        """
        _check_size("target_scaling", self._target_scaling, outputs, "outputs")
        if labels is not None and self._classes is not None and len(self._classes) != labels:
            raise ValueError(
                f"classes must hold {labels} labels for this network, got {len(self._classes)}"
            )


def replaced(before, name, value):
    """Return the Preprocessing with one value replaced; None if nothing is left."""
    given = {} if before is None else {other: getattr(before, other) for other in NAMES}
    given[name] = value
    return made(**given)


def made(**given):
    """Return the Preprocessing of the values that are not None; None if there are none."""
    return None if all(value is None for value in given.values()) else Preprocessing(**given)


def of_slice(found, first, last):
    """Return the Preprocessing of a slice of a network's modules. first, last: whether it has the
    first module, which takes the inputs, and the last one, which gives the outputs.
    """
    if found is None:
        return None
    names = ("scaling", "feature_names") * first
    names += ("target_scaling", "classes", "target_name") * last
    return made(**{name: getattr(found, name) for name in names})


@_checks.quiet
def scaled(X, shift, factor, dtype):
    """Return (X − shift) ⊙ factor for an array X (D, N), with contiguous columns."""
    rows, shift, factor = X.T, np.ravel(shift), np.ravel(factor)
    result = np.empty(rows.shape, dtype)
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        result[block] = (rows[block] - shift) * factor
    return result.T


def _scaled_sparse(X, shift, factor):
    if shift.any():
        raise ValueError(
            "scaling must have a shift of 0 for a sparse X, because any other would fill it; pass "
            "X.toarray(), or set net.scaling to a scaling without a shift"
        )
    matrix = X.matrix.copy()
    matrix.data = (
        matrix.data * np.broadcast_to(factor.ravel(), X.shape[:1])[matrix.indices]
    ).astype(X.dtype)
    return _sparse.Columns(matrix)


# ------------------------------------------------------------------------------------ the checks


def _scaling(name, given):
    """Return (shift, factor), float64 arrays () or (D, 1); None for None."""
    if given is None:
        return None
    try:
        found = [np.array(given[key], np.float64) for key in ("shift", "factor")]
        fits = all(a.ndim <= 2 and a.shape[1:] in ((), (1,)) and a.size for a in found)
        fits = fits and all(np.isfinite(a).all() for a in found)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        fits = False
    if not fits or len({a.size for a in found if a.ndim}) > 1:
        raise ValueError(
            f"{name} must be a dict with shift and factor, one finite number or one per feature "
            f"each, as datasets.fit_scaling returns it; got {str(given)[:40]}"
        )
    if name == "target_scaling" and not found[1].all():
        raise ValueError(
            f"{name} must have factors other than 0, by which outputs are divided; got "
            f"{str(given)[:80]}"
        )
    return tuple(a.reshape(-1, 1) if a.ndim else a for a in found)


def _plain(terms):
    if terms is None:
        return None
    plain = [a.ravel().tolist() if a.ndim else a.item() for a in terms]
    return dict(zip(("shift", "factor"), plain, strict=True))


def _changes(terms):
    return terms is not None and bool(terms[0].any() or (terms[1] != 1).any())


def _fits(terms, wanted):
    return terms is None or all(a.ndim == 0 or len(a) == wanted for a in terms)


def _check_size(name, terms, wanted, of):
    for a in terms or ():
        if not _fits((a,), wanted):
            raise ValueError(
                f"{name} must hold one number or {wanted}, one for each of the network's {of}, got "
                f"{len(a)}"
            )


def _classes(given):
    """Return the labels as an array (n,) of int64, bool or text; None for None."""
    if given is None:
        return None
    try:
        labels = np.asarray(given)
    except (TypeError, ValueError):
        labels = np.empty((0, 0))
    if labels.dtype == object and all(isinstance(label, str) for label in labels.flat):
        labels = labels.astype(str)
    mixed = labels.dtype.kind == "U" and not all(
        isinstance(label, str) for label in np.ravel(np.asarray(given, object))
    )
    if labels.ndim != 1 or labels.dtype.kind not in "biuU" or mixed or not labels.size:
        raise ValueError(
            f"classes must be a list of integers or of texts, one per output, got {str(given)[:80]}"
        )
    if labels.dtype.kind == "u" and labels.max() > np.iinfo(np.int64).max:
        raise ValueError(f"classes must be below 2**63, got {labels.max()}")
    labels = labels.astype(np.int64) if labels.dtype.kind in "iu" else labels.copy()
    unique, counts = np.unique(labels, return_counts=True)
    if len(unique) != len(labels):
        raise ValueError(f"classes must differ, got {unique[counts.argmax()].item()!r} twice")
    return labels


def _names(given):
    if given is None:
        return None
    if isinstance(given, str) or not all(isinstance(name, str) for name in list(given)):
        raise TypeError(f"feature_names must be a list of texts, got {str(given)[:80]}")
    return tuple(map(str, given))


def _shown(classes):
    """Return the first classes as a text."""
    shown = ", ".join(repr(label) for label in classes[:6].tolist())
    return f"({shown}{', ...' if len(classes) > 6 else ''})"
