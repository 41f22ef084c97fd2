"""Compile a network for training and prediction, or give the reason why it is not compiled.

The program runs library types, and subclasses that override nothing of the computation (`_kinds`).
Each module occurs once, and the weights have one dtype and share no memory with each other or the
data. `refusal` alone decides.
"""

import copy
from typing import Any, NamedTuple

import numpy as np

from nncore import _chain, _checks, _core, _sparse, modules, registry
from nncore._kinds import kind, overridden
from nncore._types import ArrayLike, Predictor
from nncore.kernels import compiled
from nncore.training import logits, preparation, validate

# A call of sgd of up to this many steps takes less time module by module than to set up a program.
MIN_COMPILED_STEPS = _core.TUNING["MIN_COMPILED_STEPS"]


def is_compiled(net):
    """Return whether the compiled backend computes for all parts of a network."""
    return net._kernels is compiled and all(
        module._kernels is compiled for module in _chain.modules_of(net)
    )


def as_program(net, data, trains):
    """Return the compiled program of a network for the arrays in data (the first is X), or None if
    the network must run module by module.
    """
    if refusal(net, trains, data) is not None:
        return None
    parts = _chain.modules_of(net)
    stages = _stages(parts if trains else _folded(parts))
    loss = registry.of_class(kind(net.loss), registry.LOSSES)
    return _core.Program(
        stages,
        None if loss is None else loss.name,
        _weights(parts)[0].dtype,
        data[0].shape[0],
        logits.is_plain(net.loss),
        **({} if loss is None else loss.core_settings(net.loss)),
    )


def would_compile(net):
    """Return whether a network can train compiled on data that share no memory with its weights."""
    return refusal(net, True) is None


def refusal(net, trains, data=()):
    """Return the reason why a network must run module by module, or None if it compiles for the
    arrays in data.
    """
    parts = _chain.modules_of(net)
    for name, thing in (
        ("the network", net),
        *((f"modules[{i}]", module) for i, module in enumerate(parts)),
    ):
        if kind(thing) is None:
            return f"{name} {foreign(thing)}"
        if not _in_engine(thing):
            return f"{name} ({type(thing).__name__}) is not a layer of the engine"
        if thing._kernels is not compiled:
            return f"{name} uses the NumPy kernels"
    known = kind(net.loss) in registry.LOSSES
    if trains and not known:
        return f"the loss {foreign(net.loss)}"
    if known and net.loss._kernels is not compiled:
        return "the loss uses the NumPy kernels"
    if len({id(m) for m in parts}) != len(parts):
        return "a module is used twice"
    # the program predicts in blocks of samples
    if not trains and _chain.depends_on_batch(net):
        return "a BatchNorm normalises by the whole batch given"
    weights = _weights(parts)
    if not any(isinstance(m, modules.Linear) for m in parts):
        return "there is no Linear"
    if data and isinstance(data[0], _sparse.Columns) and not isinstance(parts[0], modules.Linear):
        return "X is sparse and the first module is not a Linear"
    if not all(map(_addressable, weights)):
        return "weights are not aligned native float32 or float64 matrices"
    if len({w.dtype for w in weights}) != 1:
        return "weights are of both float32 and float64"
    arrays = [a for a in map(_sparse.memory, data) if isinstance(a, np.ndarray)]
    if trains and _shared([*weights, *arrays], len(weights)):
        return "weights share memory with each other or with the data"
    return None


def _in_engine(thing):
    """Return whether the engine can run a library object, given its record."""
    layer = registry.of_class(kind(thing), registry.LAYERS)
    return layer is None or layer.name == "linear" or layer.name in _core.SPECIAL_KINDS


def foreign(thing):
    """Describe how an object differs from the library's."""
    names = overridden(thing)
    return (
        f"({type(thing).__name__}) overrides {', '.join(names)}"
        if names
        else f"({type(thing).__name__}) is not the library's"
    )


def _weights(parts):
    """Return every array of a chain of library modules that training changes."""
    return [
        getattr(m, name)
        for m in parts
        for name in (*m.gradients, *getattr(m, "statistics_arrays", ()))
    ]


@_checks.quiet
def _folded(parts):
    """Return a chain that predicts as `parts` do, without Dropouts, and with running statistics
    folded into the Linear before or after them.
    """
    folded = []
    for module in parts:
        last = folded[-1] if folded else None
        if isinstance(module, modules.BatchNorm) and module.statistics == "running":
            scale, shift = module.affine()
            if isinstance(last, (modules.Linear, _core.Frozen)):
                folded[-1] = _core.Frozen(last.W * scale.T, last.W0 * scale + shift)
            else:
                folded.append(_Affine(scale, shift))
        elif isinstance(last, _Affine) and isinstance(module, modules.Linear):
            folded[-1] = _core.Frozen(module.W * last.scale, module.W.T @ last.shift + module.W0)
        elif not isinstance(module, modules.Dropout):
            folded.append(module)
    return [
        _core.Frozen(np.diagflat(m.scale), m.shift) if isinstance(m, _Affine) else m for m in folded
    ]


class _Affine(NamedTuple):
    """Z = scale ⊙ A + shift."""

    scale: np.ndarray
    shift: np.ndarray


def _stages(parts):
    """Return [(Linear or None, activation) or (another layer, its name)] of a chain of library
    modules.
    """
    stages = []
    for module in parts:
        what = kind(module)
        if what is modules.Linear or isinstance(module, _core.Frozen):
            stages.append((module, "none"))
        elif what in registry.LAYERS:
            if what is not modules.Dropout or module.p > 0:
                stages.append((module, registry.LAYERS[what].name))
        elif stages and stages[-1][0] is not None and stages[-1][1] == "none":
            stages[-1] = (stages[-1][0], registry.ACTIVATIONS[what].core_name(module))
        else:
            stages.append((None, registry.ACTIVATIONS[what].core_name(module)))
    return stages


def _addressable(w):
    """Return whether the program can read the array in place."""
    if not (
        isinstance(w, np.ndarray)
        and w.dtype in _checks.COMPUTING
        and w.dtype.isnative
        and w.flags.aligned
        and w.ndim == 2
    ):
        return False
    (m, n), (down, across), size = w.shape, w.strides, w.itemsize
    return not (down % size or across % size) and (down != 0 or m == 1) and (across != 0 or n == 1)


def _shared(arrays, written):
    """Return whether one of the first `written` arrays may share memory with any other.

    Sorting by address avoids comparing all pairs.
    """
    bounds = sorted((*_core.byte_bounds(a), i < written) for i, a in enumerate(arrays) if a.size)
    reach, written_reach = 0, 0
    for low, high, is_written in bounds:
        if low < (reach if is_written else written_reach):
            return True
        reach = max(reach, high)
        written_reach = max(written_reach, high if is_written else 0)
    return False


def predictor(net) -> Predictor:
    """Return the frozen copy of a network; see Sequential.predictor."""
    if not net.modules:
        raise ValueError("modules must hold at least one module, got none")
    parts = _chain.modules_of(net)
    for module in parts:
        if kind(module) is None or not _in_engine(module):
            raise TypeError(
                f"modules must compute as the library's own to make a predictor, got {module!r}"
            )
        if isinstance(module, modules.BatchNorm) and module.statistics == "batch":
            raise TypeError(
                "modules must predict each sample on its own to make a predictor, got a BatchNorm "
                "that normalises by the batch "
                "given; BatchNorm(m, statistics='running') does not"
            )
    linears: list[Any] = [m for m in parts if isinstance(m, modules.Linear)]
    if not linears:
        raise TypeError("modules must hold at least one Linear to make a predictor, got none")
    validate.check_sizes(parts)
    for linear in linears:
        W = _checks.real("W", linear.W)
        _checks.shape("W", W, ("m", "n"))
        _checks.shape("W0", _checks.real("W0", linear.W0), (W.shape[1], 1))
    validate.check_widths(parts)
    prepares = net._preprocessing is not None
    if prepares:
        preparation.check(net)
        parts, prepares = _prepared(net._preprocessing, parts)
    parts = _folded(parts)
    linears = [m for m in parts if isinstance(m, (modules.Linear, _core.Frozen))]
    types = {_checks.computing_dtype(w) for linear in linears for w in (linear.W, linear.W0)}
    if len(types) != 1:
        raise TypeError(
            "weights must be float32 or float64 arrays of one type to make a predictor, got both"
        )
    dtype = types.pop()
    copies = {
        id(m): _core.Frozen(np.array(m.W, dtype, order="C"), np.array(m.W0, dtype, order="C"))
        for m in linears
    }
    stages = [(copies.get(id(m)) or copy.copy(m), name) for m, name in _stages(parts)]
    sizes = [linears[0].W.shape[0], *(m.W.shape[1] for m in linears)]
    made = _core.Predictor(stages, dtype, sizes[0], "-".join(map(str, sizes)))
    return PreparedPredictor(made, net._preprocessing, dtype) if prepares else made


# Scalings are folded into weights if that costs an output no more than this, relative to it.
FOLDED_ERROR = 1e-6


def _prepared(found, parts):
    """Return the parts with the scalings folded into the first and the last Linear, and whether
    they are not: between shift ⊙ factor and the scaled inputs, digits cancel.
    """
    dtype = _checks.computing_dtype(next(m for m in parts if isinstance(m, modules.Linear)).W)
    scales, scales_targets = found.scales, found.scales_targets
    if scales:
        shift, factor = found.shift_and_factor()
        largest = float(abs(shift * factor).max())
        if largest * np.finfo(dtype).eps > FOLDED_ERROR or type(parts[0]) is not modules.Linear:
            return parts, True
        parts = [_core.Frozen(*found.into_first(parts[0].W, parts[0].W0)), *parts[1:]]
    if scales_targets:
        if not isinstance(parts[-1], (modules.Linear, _core.Frozen)):
            return parts, True
        last = _core.Frozen(*found.into_last(parts[-1].W, parts[-1].W0))
        parts = [*parts[:-1], last]
    return parts, False


class PreparedPredictor:
    """A predictor that scales its inputs before, and its outputs after, the compiled one."""

    def __init__(self, predictor, preprocessing, dtype):
        self._predictor, self._preprocessing, self._dtype = predictor, preprocessing, dtype

    def __call__(self, x: ArrayLike, out: Any = None) -> Any:
        found = self._preprocessing
        if found.scales:
            x = _checks.real("x", x)
            if x.ndim in (1, 2) and found.fits_inputs(len(x)):
                columns = x[:, None] if x.ndim == 1 else x
                x = found.scaled(columns, self._dtype).reshape(x.shape)
        P = self._predictor(x, out=out)
        if found.scales_targets:
            P[...] = found.unscaled_targets(P.reshape(len(P), -1)).reshape(P.shape)
        return P

    def __repr__(self):
        return repr(self._predictor)
