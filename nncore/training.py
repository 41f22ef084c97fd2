"""The training loops of Sequential: the compiled program where it applies, else module by module with the same results.

The program runs for exact library types without patched methods, each module once, weights of one dtype that share no memory
with each other or with the data. `as_program` is the one place that decides.
"""

import contextlib
import itertools
import os
import signal
import threading
import warnings
from typing import NamedTuple

import numpy as np

from nncore import _backend, _chain, _checks, _core, _labels, losses, modules, schedules
from nncore.kernels import compiled

ACTIVATIONS = {modules.Tanh: "tanh", modules.ReLU: "relu", modules.Sigmoid: "sigmoid", modules.SoftMax: "softmax",
               modules.OutputSigmoid: "output_sigmoid"}
FORWARD = {modules.Tanh: "tanh_forward", modules.ReLU: "relu_forward", modules.Sigmoid: "sigmoid_forward",
           modules.SoftMax: "softmax_forward", modules.OutputSigmoid: "sigmoid_forward"}
LOSSES = {losses.NLL: "nll", losses.BinaryNLL: "binary_nll", losses.Squared: "squared", losses.Hinge: "hinge"}
FROM_LOGITS = {"nll": "softmax_nll", "binary_nll": "sigmoid_nll", "squared": "squared_loss", "hinge": "hinge_loss"}
OWN_STAGES = {modules.BatchNorm: "batchnorm", modules.Dropout: "dropout"}  # of the program, in training
FEW = 3  # steps of sgd that take less time module by module than to set up a program
SLICE = 1024  # samples evaluated at a time: bounds the memory of evaluate and log_likelihood

# ---------------------------------------------------------------------------------------------- what is refused before it starts


def _ours(module):
    """True for the library's own modules, whose shapes are known; users' modules and subclasses may do as they like."""
    return type(module).__module__ in ("nncore.modules", "nncore.reference")


def check_network(net):
    """Its modules; ValueError for a network that cannot train: no modules, no loss, or a library loss beside the wrong library output."""
    if not net.modules:
        raise ValueError("modules must hold at least one module, got none")
    if net.loss is None:
        raise ValueError("loss must be given to train or evaluate a network, got None")
    modules_ = _chain.modules_of(net)
    if not modules_:
        raise ValueError("modules must hold at least one module, got Sequentials without any")
    last = modules_[-1]
    wanted = getattr(net.loss, "output", None) if isinstance(net.loss, losses.Loss) else None
    if wanted is not None and _ours(last) and not isinstance(last, wanted):
        through = "of that Linear" if wanted is modules.Linear else "through that unit"
        raise ValueError(f"{type(net.loss).__name__} must follow a last {wanted.__name__}, because its backward is dL/dZ {through}, got "
                         f"{type(last).__name__}")
    return modules_


def check_inputs(parts, X):
    """X as an array (D, N) that fits the first Linear of these modules; TypeError or ValueError says what is wrong."""
    X = _checks.real("X", X)
    first = _end_linear(parts)
    _checks.shape("X", X, (np.shape(first.W)[0] if first is not None else "D", "N"))
    if first is not None and first is not parts[0]:
        # an activation comes first: by itself it would compute in the type of X, not in that of the network
        X = _checks.as_real("X", X, _checks.computing_dtype(first.W))
    return X


def check_data(net, X, Y):
    """X (D, N) and Y (n, N) as arrays that fit each other and the network."""
    parts = check_network(net)
    X, Y = check_inputs(parts, X), _checks.real("Y", Y)
    last = _end_linear(reversed(parts))
    n, N = np.shape(last.W)[1] if last is not None else "n", X.shape[1]
    hint = ""
    if n == 1 and Y.ndim == 1:
        hint = "; one label a sample is one row, as in Y[None, :]"
    elif Y.size == N:
        hint = f"; classes go in as one-hot columns: nncore.datasets.one_hot(labels, {n})"
    elif Y.shape == (N, n):
        hint = "; samples are columns: pass the transpose"
    _checks.shape("Y", Y, (n, N), hint)
    if N == 0:
        raise ValueError("X must hold at least one sample, got 0 columns")
    if type(net.loss) is losses.Hinge and not (abs(Y) == 1).all():
        raise ValueError(f"Y must hold -1 and +1 for Hinge, got {Y[abs(Y) != 1][0]}; labels of 0 and 1 become 2 * Y - 1")
    if type(net.loss) is losses.BinaryNLL and ((Y < 0) | (Y > 1)).any():
        raise ValueError(f"Y must lie between 0 and 1 for BinaryNLL, got {Y[(Y < 0) | (Y > 1)][0]}; labels of -1 and +1 become (Y + 1) / 2")
    return X, Y


def _end_linear(chain):
    """The first Linear of a chain when only the library's activations, which keep the number of features, stand before it."""
    for module in chain:
        if not _ours(module):
            return None
        if isinstance(module, modules.Linear):
            return module if np.ndim(module.W) == 2 else None
    return None


def prepare_weights(net, rng=None):
    """Refuse weights that cannot be updated in place; then replace those that a step would replace, and settle on the keys of Dropouts,
    from rng or np.random. All or nothing."""
    parts = _chain.modules_of(net)
    ready = []
    for i, module in enumerate(parts):
        names = tuple(getattr(module, "gradients", ()))
        if not (names or hasattr(module, "sgd_step") or hasattr(module, "step")):
            raise TypeError(f"modules[{i}] must have sgd_step(lrate) or step(lrate), which may do nothing where nothing is to be trained, "
                            f"got {type(module).__name__} with neither")
        if isinstance(module, (modules.Linear, modules.BatchNorm)):
            if _updated_by_library(module):
                ready += zip(itertools.repeat(module), names, module.checked_weights())
        else:
            ready += ((module, name, _checks.trainable(name, getattr(module, name), np.shape(getattr(module, name)))) for name in names)
    _check_widths(parts)
    for module, name, array in ready:
        setattr(module, name, array)
    for module in _chain.every_module(net):
        if isinstance(module, modules.Dropout):
            module.draw_key(rng)


def _check_widths(parts):
    """ValueError where a module of the library's does not take as many inputs as the one before has outputs."""
    width = None
    for module in parts:
        if not _ours(module):
            width = None
        elif isinstance(module, modules.Linear):
            m, n = np.shape(module.W)
            if width not in (None, m):
                raise ValueError(f"W must have shape ({width}, n) to follow a module with {width} outputs, got ({m}, {n})")
            width = n
        elif isinstance(module, modules.BatchNorm):
            if width not in (None, module.m):
                raise ValueError(f"m of BatchNorm must be {width} to follow a module with {width} outputs, got {module.m}")
            width = module.m


def _updated_by_library(module):
    """False for a subclass with a step of its own, whose weights may be of any kind."""
    return type(module).step is modules.Module.step and type(module).sgd_step is modules.Module.sgd_step


@contextlib.contextmanager
def alone(net):
    """Train in training mode; refuse a network that is training already, in another thread or further up the stack."""
    token = object()
    if _training.setdefault(id(net), token) is not token:
        raise RuntimeError("the network must not be trained by two calls at once, got a second one while the first is running")
    try:
        with _chain.in_training_mode(net):
            yield
    finally:
        _training.pop(id(net), None)


_training: dict[int, object] = {}
os.register_at_fork(after_in_child=_training.clear)  # the parent's other threads do not train in the child

# ---------------------------------------------------------------------------------------------- which way it runs


def compiles():
    """Whether the compiled backend is live."""
    return _backend.live is compiled


def is_plain(net):
    """Whether a network is the library's own Sequential, no subclass."""
    from nncore.sequential import Sequential

    return type(net) is Sequential


def as_program(net, data, trains):
    """The compiled program of a network for the arrays in data (the first is X), or None when it must run module by module."""
    if not compiles() or not is_plain(net):
        return None
    found = _compilable(net, trains)
    if found is None:
        return None
    stages, weights = found
    if trains and _shared([*weights, *(x for x in data if isinstance(x, np.ndarray))], len(weights)):
        return None
    return _core.Program(stages, LOSSES[type(net.loss)] if type(net.loss) in LOSSES else None, weights[0].dtype, data[0].shape[0])


def would_compile(net):
    """Whether a library's Sequential can train compiled, with data of its own beside the weights."""
    found = _compilable(net, True)
    return found is not None and not _shared(found[1], len(found[1]))


def _compilable(net, trains):
    """(stages, all weights) of a network that compiled code can run, else None."""
    parts = _chain.modules_of(net)
    if (trains and type(net.loss) not in LOSSES) or len({id(m) for m in parts}) != len(parts) or _chain.patched(net, net.loss, *parts):
        return None
    if not trains and _chain.depends_on_batch(net):  # the program predicts by blocks of samples, several at once
        return None
    weights = [getattr(m, name) for m in parts if type(m) in (modules.Linear, modules.BatchNorm)
               for name in (*m.gradients, *getattr(m, "statistics_arrays", ()))]
    if (not any(type(m) is modules.Linear for m in parts) or not all(_addressable(w) for w in weights)
            or len({w.dtype for w in weights}) != 1):
        return None
    stages = _stages(parts if trains else _folded(parts))
    return stages and (stages, weights)


def _folded(parts):
    """A chain that predicts as `parts` do, with running statistics folded into the Linear before or behind, and without Dropouts."""
    folded = []
    if any(type(module) is modules.BatchNorm for module in parts):
        _check_widths(parts)
    for module in parts:
        last = folded[-1] if folded else None
        if type(module) is modules.BatchNorm and module.statistics == "running":
            scale, shift = module.affine()
            if type(last) in (modules.Linear, _core.Frozen):
                folded[-1] = _core.Frozen(last.W * scale.T, last.W0 * scale + shift)
            else:
                folded.append(_Affine(scale, shift))
        elif type(last) is _Affine and type(module) is modules.Linear:
            folded[-1] = _core.Frozen(module.W * last.scale, module.W.T @ last.shift + module.W0)
        elif type(module) is not modules.Dropout:
            folded.append(module)
    return [_core.Frozen(np.diagflat(m.scale), m.shift) if type(m) is _Affine else m for m in folded]


class _Affine(NamedTuple):
    """Z = scale ⊙ A + shift."""

    scale: np.ndarray
    shift: np.ndarray


def _stages(parts):
    """[(Linear or None, activation), or (BatchNorm or Dropout, its name)] of a chain of the library's own modules, else None."""
    stages = []
    for module in parts:
        if type(module) in (modules.Linear, _core.Frozen):
            stages.append((module, "none"))
        elif type(module) in OWN_STAGES:
            if type(module) is modules.BatchNorm or module.p > 0:
                stages.append((module, OWN_STAGES[type(module)]))
        elif type(module) not in ACTIVATIONS:
            return None
        elif stages and stages[-1][0] is not None and stages[-1][1] == "none":
            stages[-1] = (stages[-1][0], ACTIVATIONS[type(module)])
        else:
            stages.append((None, ACTIVATIONS[type(module)]))
    return stages


def _addressable(w):
    if not (isinstance(w, np.ndarray) and w.dtype in _checks.COMPUTING and w.dtype.isnative and w.flags.aligned and w.ndim == 2):
        return False
    (m, n), (down, across), size = w.shape, w.strides, w.itemsize
    return not (down % size or across % size) and (down != 0 or m == 1) and (across != 0 or n == 1)


def _shared(arrays, written):
    """True when one of the first `written` arrays may share memory with any other; sorting by address avoids comparing all pairs."""
    bounds = sorted((*_core.byte_bounds(a), i < written) for i, a in enumerate(arrays) if a.size)
    reach, written_reach = 0, 0
    for low, high, is_written in bounds:
        if low < (reach if is_written else written_reach):
            return True
        reach = max(reach, high)
        written_reach = max(written_reach, high if is_written else 0)
    return False


@contextlib.contextmanager
def whole_steps():
    """Hold Ctrl-C back until `between_steps()` is called, so that it never leaves a half-updated network."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: None
        return
    pending = []
    signal.signal(signal.SIGINT, lambda *args: pending.append(args))

    def between_steps():
        if pending:
            args = pending.pop()
            pending.clear()
            before(*args)

    try:
        yield between_steps
    finally:
        signal.signal(signal.SIGINT, before)
        between_steps()  # also where a step has failed: a Ctrl-C is never lost


# ---------------------------------------------------------------------------------------------- sgd


def sgd(net, X, Y, iters, lrate):
    """Stochastic gradient descent as the course defines it; see Sequential.sgd."""
    X, Y = check_data(net, X, Y)
    iters, rate = _checks.count("iters", iters), schedules.step_size(lrate)
    with alone(net):
        prepare_weights(net)
        if iters == 0:
            return
        warned = []

        def on_nonfinite(t):
            if not warned:
                warned.append(t)
                warn_not_finite(t, stacklevel=5)

        done = 0
        program = as_program(net, (X, Y), True) if iters > FEW else None
        if program is not None:
            done = iters - 1  # the last step runs module by module and leaves .A, .dLdW, .Ypred ... as the course's loop does
            program.sgd(X, Y, done, rate, on_nonfinite)
        with whole_steps() as between_steps:
            for t in range(done + 1, iters + 1):
                i = np.random.randint(X.shape[1])
                eta = schedules.at(rate, t)
                if not course_step(net, X[:, i:i + 1], Y[:, i:i + 1], eta)[1]:
                    on_nonfinite(t)
                between_steps()


def course_step(net, X, Y, eta):
    """(loss, whether it is finite) of one step of the course's loop on the samples X, Y, module by module."""
    loss = net.loss.forward(net.forward(X), Y)
    gradient = net.loss.backward()
    # from logits the loss is finite where a probability has underflowed to 0: there the gradient tells
    finite = np.isfinite(loss) or (_has_output_unit(net) and _logits_kernel(net) is not None and np.isfinite(gradient).all())
    net.backward(gradient)
    net.sgd_step(eta)
    return loss, finite


def warn_not_finite(t, stacklevel):
    warnings.warn(f"the loss is not finite at step {t}; training goes on as in the course library; a smaller lrate may help",
                  RuntimeWarning, stacklevel=stacklevel)


# ---------------------------------------------------------------------------------------------- logits


def live_kernels():
    """The module of kernels that is live, for modules that are not the library's."""
    return _backend.live


def _has_output_unit(net):
    """Whether the loss goes with a module that turns logits into outputs; else they are the same."""
    return getattr(net.loss, "output", None) is not modules.Linear


def _logits(net, X, predicting=False):
    """Outputs of the last Linear, for a library's loss."""
    parts = _chain.modules_of(net)
    parts = parts[:-1] if _has_output_unit(net) else parts
    if predicting:
        return _chain.predicted(parts, X)
    for module in parts:
        X = module.forward(X)
    return X


def _logits_kernel(net):
    """The kernel that takes logits and Y for (loss, dL/dZ) where the library's loss stands beside the library's output, or None.

    From logits the loss stays finite and exact where a probability has underflowed to 0. Of a last Linear the outputs are the logits.
    """
    last = _chain.modules_of(net)[-1]
    if (type(net.loss) in LOSSES and type(last) is net.loss.output and not _chain.patched(net, net.loss, last)
            and not _chain.has_own_forward(net)):
        return getattr(net.loss._kernels, FROM_LOGITS[LOSSES[type(net.loss)]])
    return None


def loss_and_gradient(net, X, Y):
    """(loss summed over the batch, dL/dZ), module by module."""
    kernel = _logits_kernel(net)
    if kernel is not None:
        return kernel(_logits(net, X), Y)
    return net.loss.forward(net.forward(X), Y), net.loss.backward()


# ---------------------------------------------------------------------------------------------- evaluation


def class_fun(net):
    """The function from outputs to classes: the last module's, else the loss's; None where neither has one."""
    last = _chain.modules_of(net)[-1:]
    return getattr(last[0] if last else None, "class_fun", None) or getattr(net.loss, "class_fun", None)


def predictor(net):
    """The frozen copy of a network; see Sequential.predictor."""
    if not net.modules:
        raise ValueError("modules must hold at least one module, got none")
    parts = _chain.modules_of(net)
    for module in parts:
        if type(module) not in (modules.Linear, *ACTIVATIONS, *OWN_STAGES) or _chain.patched(module):
            raise TypeError(f"modules must be the library's own to make a predictor, got {module!r}")
        if type(module) is modules.BatchNorm and module.statistics == "batch":
            raise TypeError("modules must predict each sample by itself to make a predictor, got a BatchNorm that normalises by the batch "
                            "given; BatchNorm(m, statistics='running') does not")
    linears = [m for m in parts if type(m) is modules.Linear]
    if not linears:
        raise TypeError("modules must hold at least one Linear to make a predictor, got none")
    width = None
    for linear in linears:
        W = _checks.real("W", linear.W)
        _checks.shape("W", W, ("m" if width is None else width, "n"))
        width = W.shape[1]
        _checks.shape("W0", _checks.real("W0", linear.W0), (width, 1))
    parts = _folded(parts)
    linears = [m for m in parts if type(m) in (modules.Linear, _core.Frozen)]
    types = {_checks.computing_dtype(w) for linear in linears for w in (linear.W, linear.W0)}
    if len(types) != 1:
        raise TypeError("weights must be float32 or float64 arrays of one type to make a predictor, got both")
    dtype = types.pop()
    copies = {id(m): _core.Frozen(np.array(m.W, dtype, order="C"), np.array(m.W0, dtype, order="C")) for m in linears}
    stages = [(linear and copies[id(linear)], name) for linear, name in _stages(parts)]
    sizes = [linears[0].W.shape[0], *(m.W.shape[1] for m in linears)]
    return _core.Predictor(stages, dtype, sizes[0], "-".join(map(str, sizes)))


def _one_sample(net, X):
    """The outputs for a single column by the live kernels, without the set-up of a program and without leaving a trace, or None."""
    first, kernels = net.modules[0], _backend.live
    if type(first) is not modules.Linear or np.shape(first.W)[:1] != X.shape[:1] or _chain.patched(net, *net.modules):
        return None
    for module in net.modules:
        if type(module) is modules.Linear:
            X = kernels.linear_forward(X, module.W, module.W0)
        elif type(module) in ACTIVATIONS:
            X = getattr(kernels, FORWARD[type(module)])(X)
        elif type(module) is not modules.Dropout:
            return None
    return X


def outputs(net, X):
    """The network's outputs (n, N) for X (D, N)."""
    if type(X) is np.ndarray and X.ndim == 2 and X.shape[1] == 1 and X.dtype in _checks.COMPUTING and net.modules:
        P = _one_sample(net, X)
        if P is not None:
            return P
    X = check_inputs(_chain.modules_of(net), X)
    program = as_program(net, (X,), False)
    return program.run(X)[0] if program is not None else _chain.predicted([net], X)


def slices(net, X, Y):
    """(outputs, losses, Y) of up to SLICE samples at a time; losses one a sample, or their sum for a loss without per_sample."""
    X, Y = check_data(net, X, _labels.columns(net, Y))
    program = as_program(net, (X, Y), False) if type(net.loss) in LOSSES else None
    size = X.shape[1] if _chain.depends_on_batch(net) else SLICE
    for at in range(0, X.shape[1], size):
        Xs, Ys = X[:, at:at + size], Y[:, at:at + size]
        if program is not None:
            P, values = program.run(Xs, Ys)
        else:
            kernel = _logits_kernel(net)
            if kernel is not None:
                Z = _logits(net, Xs, predicting=True)
                yield _chain.modules_of(net)[-1].forward(Z) if _has_output_unit(net) else Z, kernel(Z, Ys)[0], Ys
                continue
            P = _chain.predicted([net], Xs)
            values = net.loss.per_sample(P, Ys) if hasattr(net.loss, "per_sample") else net.loss.forward(P, Ys)
        yield P, values, Ys


def score(net, X, Y):
    """Accuracy, or R squared; see Sequential.score."""
    if getattr(net.loss, "classifies", True):
        return net.evaluate(X, Y)[1]
    parts = [(P, Ys) for P, _, Ys in slices(net, X, Y)]
    P, Y = (np.concatenate(arrays, axis=1).astype(np.float64) for arrays in zip(*parts, strict=True))
    residual = np.sum((Y - P) ** 2, axis=1)
    total = np.sum((Y - Y.mean(axis=1, keepdims=True)) ** 2, axis=1)
    flat = total == 0
    return float(np.mean(np.where(flat, residual == 0, 1 - residual / np.where(flat, 1, total))))
