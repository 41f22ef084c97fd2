"""A network as a list of steps that the formats write one by one, or the reason why it has none."""

from typing import Any, NamedTuple

import numpy as np

from nncore import _chain, _checks, _kinds, modules
from nncore.sequential import Sequential
from nncore.training import preparation, validate

__all__ = [
    "Network",
    "Step",
    "affine_norm",
    "described",
    "linear",
    "norm_terms",
    "running",
    "scaling_norm",
    "scaling_terms",
    "unprepared",
]


class Step(NamedTuple):
    """A module with its class in the library and its place."""

    module: Any
    cls: type
    place: str  # "modules[2]"
    inputs: int
    outputs: int

    def array(self, name, dtype=None):
        """Return a weight in the type given (default: its computing type), without a copy if it
        can.
        """
        a = np.asarray(getattr(self.module, name))
        return a.astype(_checks.computing_dtype(a) if dtype is None else dtype, copy=False)


class Network(NamedTuple):
    """A network of library modules whose sizes and types fit together."""

    steps: list[Step]
    dtype: np.dtype
    inputs: int
    outputs: int
    scaling: dict[str, np.ndarray] | None  # shift and factor, float64, one per input


def described(net, form, scaling=None):
    """Return the Network that a format writes.

    form: the format's name for messages. scaling: {"shift", "factor"} as `datasets.fit_scaling`
    returns it, or None.

    TypeError for modules that are not the library's own; ValueError for a network without sizes,
    layers that do not fit, weights of two types, and NaN or infinity.
    """
    parts = _parts(net, form)
    steps, dtypes = [], {}
    for i, module in enumerate(parts):
        place = f"modules[{i}]"
        sizes = _sizes(module, place, form, dtypes)
        steps.append([module, place, sizes])
    validate.check_widths(parts)
    if not dtypes:
        raise ValueError(
            f"a network must have a Linear or BatchNorm to be written as {form}, because these "
            f"give its sizes; got {', '.join(map(repr, parts)) or 'no modules'}"
        )
    if len(set(dtypes.values())) > 1:
        given = ", ".join(f"{name} is {dtype}" for name, dtype in dtypes.items())
        raise ValueError(f"all weights must have one type to be written as {form}; {given}")
    width = inputs = next(sizes[0] for *_, sizes in steps if sizes is not None)
    for at, (module, place, sizes) in enumerate(steps):
        before, width = width, sizes[1] if sizes is not None else width
        steps[at] = Step(module, _kinds.kind(module), place, before, width)
    scaling = None if scaling is None else _numbers_of(scaling, inputs)
    return Network(steps, next(iter(dtypes.values())), inputs, width, scaling)


def unprepared(net, form, scaling=None, classes=None):
    """Return (network, scaling, classes) as a format writes them: those of the network unless
    others are given. The scaling of its targets becomes part of the last Linear.
    """
    found = getattr(net, "_preprocessing", None)
    if found is None or _kinds.kind(net) is None:
        return net, scaling, classes
    preparation.check(net)
    bare = Sequential(list(net.modules), net.loss)
    bare._flat = net._flat
    if found.scales_targets:
        _fold_targets(bare, found, form)
    return (
        bare,
        found.scaling if scaling is None else scaling,
        found.classes if classes is None else classes,
    )


def _fold_targets(net, found, form):
    """Put the scaling of the targets into the last Linear, a copy, of a network or of one in it."""
    while net.modules and hasattr(net.modules[-1], "modules"):
        inner = Sequential(list(net.modules[-1].modules), net.modules[-1].loss)
        net.modules[-1] = net = inner
    last = net.modules[-1] if net.modules else None
    if _kinds.kind(last) is not modules.Linear:
        raise ValueError(
            f"the last module must be a Linear to be written as {form} with target_scaling, got "
            f"{last!r}; set net.target_scaling = None and scale the outputs yourself"
        )
    net.modules[-1] = linear(*found.into_last(np.asarray(last.W), np.asarray(last.W0)))


def _parts(net, form):
    """Return the modules of a network, all of which must be the library's own."""
    if _kinds.kind(net) is None or not isinstance(getattr(net, "modules", None), (list, tuple)):
        raise TypeError(
            f"net must be a Sequential of nncore without methods of its own to be written as "
            f"{form}, got {type(net).__name__}"
        )
    parts = _chain.modules_of(net)
    for i, module in enumerate(parts):
        if _kinds.kind(module) is None:
            own = ", ".join(_kinds.overridden(module))
            raise TypeError(
                f"modules[{i}] must be one of nncore's own modules to be written as {form}, got "
                f"{type(module).__name__}{f', which overrides {own}' if own else ''}; replace it "
                f"by modules of nncore"
            )
    return parts


def _sizes(module, place, form, dtypes):
    """Return (inputs, outputs) of a module with weights, else None; note the weights' types."""
    cls = _kinds.kind(module)
    if cls is modules.Linear:
        W = _weight(module, "W", place, ("m", "n"), form, dtypes)
        _checks.not_empty(f"W of {place}", W)
        _weight(module, "W0", place, (W.shape[1], 1), form, dtypes)
        return W.shape
    if cls is modules.BatchNorm:
        m = _weight(module, "G", place, ("m", 1), form, dtypes).shape[0]
        for name in ("B", *module.statistics_arrays):
            _weight(module, name, place, (m, 1), form, dtypes)
        return m, m
    return None


def _weight(module, name, place, shape, form, dtypes):
    label = f"{name} of {place}"
    a = _checks.real(label, getattr(module, name))
    _checks.shape(label, a, shape)
    dtypes[label] = _checks.computing_dtype(a)
    if a.dtype.kind == "f" and not np.isfinite(a).all():
        raise ValueError(
            f"{label} must be finite to be written as {form}, got NaN or infinity; train again "
            f"with a smaller rate"
        )
    return a


def _numbers_of(scaling, inputs):
    """Return {"shift", "factor"} as float64 arrays (inputs,); None if nothing is scaled."""
    try:
        found = {key: np.array(scaling[key], np.float64) for key in ("shift", "factor")}
        fits = all(a.shape in ((), (inputs,)) and np.isfinite(a).all() for a in found.values())
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        fits = False
    if not fits:
        raise ValueError(
            f"scaling must be a dict with shift and factor, one finite number or {inputs} each, as "
            f"datasets.fit_scaling returns it; got {str(scaling)[:80]}"
        )
    if not found["shift"].any() and (found["factor"] == 1).all():
        return None
    return {key: np.broadcast_to(a, (inputs,)).copy() for key, a in found.items()}


def scaling_terms(network):
    """Return (shift, factor, offset) in the network's type, each (inputs,).

    (x − shift) ⊙ factor + offset is the scaling of x: offset makes up for the rounding of shift, so
    that large shifts cost a float32 network no digits.
    """
    shift, factor = network.scaling["shift"], network.scaling["factor"]
    rounded = shift.astype(network.dtype)
    offset = (rounded.astype(np.float64) - shift) * factor
    return rounded, factor.astype(network.dtype), offset.astype(network.dtype)


def scaling_norm(network):
    """Return a BatchNorm that computes the scaling by its running statistics."""
    return affine_norm(*scaling_terms(network))


def affine_norm(mean, factor, offset):
    """Return the BatchNorm that predicts (A − mean) ⊙ factor + offset; the arrays have m entries
    of one type.
    """
    norm = modules.BatchNorm.__new__(modules.BatchNorm)
    norm._configure("running", 0.1, 0.0)
    norm.m = len(mean)
    norm.G, norm.B, norm.running_mean = (np.array(a).reshape(-1, 1) for a in (factor, offset, mean))
    norm.running_var = np.ones_like(norm.G)
    return norm


def linear(W, W0=None):
    """Return a Linear with the weights given, (m, n) and n entries, without drawing any; without
    bias if there is no W0.
    """
    made = modules.Linear.__new__(modules.Linear)
    made._configure(W0 is not None)
    W0 = np.zeros(W.shape[1], W.dtype) if W0 is None else W0
    made.W, made.W0 = np.ascontiguousarray(W), np.ascontiguousarray(W0).reshape(-1, 1)
    made.m, made.n = made.W.shape
    return made


def has_bias(module):
    """Return whether a Linear adds W0; that of one without bias is zero unless it was replaced."""
    return module.bias is not False or bool(np.any(module.W0))


def norm_terms(step, dtype=np.float64):
    """Return (mean, factor, offset) of a BatchNorm with running statistics, each (m,)."""
    norm = step.module
    G, B, mean, var = (
        step.array(name, np.float64).ravel() for name in ("G", "B", "running_mean", "running_var")
    )
    with np.errstate(all="ignore"):
        factor = G / np.sqrt(var + norm.eps)
    if not np.isfinite(factor).all():
        raise ValueError(
            f"running_var + eps of {step.place} {norm} must be above 0 to be written, got "
            f"{(var + norm.eps).min():.3g}; set eps, 1e-5 as a rule"
        )
    return tuple(a.astype(dtype) for a in (mean, factor, B))


def running(step, form):
    """Refuse a BatchNorm with the batch's statistics: its output depends on other samples."""
    if step.module.statistics != "running":
        raise ValueError(
            f"{step.place} {step.module} must predict by running statistics to be written as "
            f"{form}, got statistics='batch', with which the output for one sample depends on the "
            f"others; train BatchNorm({step.inputs}, statistics='running') instead"
        )
