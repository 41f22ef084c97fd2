"""The training loops of Sequential: the compiled program where it applies, else module by module
with the same results.

The program runs for library types and subclasses that override nothing of the computation
(`_kinds`), each module once, with weights of one dtype that share no memory with each other or with
the data. `as_program` is the one place that decides.
"""

import _signal  # type: ignore[import-not-found, unused-ignore]
import itertools
import os
import signal
import threading
import warnings
from typing import NamedTuple

import numpy as np

from nncore import _backend, _chain, _checks, _core, _labels, _sums, losses, modules, schedules
from nncore._engine_cache import Changed, Fingerprint, runs_python, watched
from nncore._kinds import kind, overridden
from nncore.kernels import compiled

ACTIVATIONS = {
    modules.Tanh: "tanh",
    modules.ReLU: "relu",
    modules.Sigmoid: "sigmoid",
    modules.SoftMax: "softmax",
    modules.OutputSigmoid: "output_sigmoid",
}
FORWARD = {
    modules.Tanh: "tanh_forward",
    modules.ReLU: "relu_forward",
    modules.Sigmoid: "sigmoid_forward",
    modules.SoftMax: "softmax_forward",
    modules.OutputSigmoid: "sigmoid_forward",
}
LOSSES = {
    losses.NLL: "nll",
    losses.BinaryNLL: "binary_nll",
    losses.Squared: "squared",
    losses.Hinge: "hinge",
}
FROM_LOGITS = {
    "nll": "softmax_nll",
    "binary_nll": "sigmoid_nll",
    "squared": "squared_loss",
    "hinge": "hinge_loss",
}
OWN_STAGES = {
    modules.BatchNorm: "batchnorm",
    modules.Dropout: "dropout",
}  # of the program, in training
FEW = 3  # steps of sgd that take less time module by module than to set up a program
SLICE = 1024  # samples evaluated at a time: bounds the memory of evaluate and log_likelihood

# ----------------------------------------------------------------- what is refused before it starts


def _ours(module):
    """True for modules that compute as the library's do, so that their shapes are known; others may
    do as they like."""
    return kind(module) is not None


def check_network(net):
    """Its modules; ValueError for a network that cannot train: no modules, no loss, or a library
    loss beside the wrong library output."""
    _chain.check_methods(net.modules, net.loss)
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
        raise ValueError(
            f"{type(net.loss).__name__} must follow a last {wanted.__name__}, because its backward "
            f"is dL/dZ {through}, got "
            f"{type(last).__name__}"
        )
    return modules_


def check_inputs(parts, X, name="X"):
    """X as an array (D, N) that fits the first Linear of these modules; TypeError or ValueError
    says what is wrong."""
    _check_sizes(parts)
    X = _checks.real(name, X)
    first = _end_linear(parts)
    _checks.shape(name, X, (np.shape(first.W)[0] if first is not None else "D", "N"))
    if first is not None and first is not parts[0]:
        # an activation comes first: by itself it would compute in the type of X, not in that of the
        # network
        X = _checks.as_real(name, X, _checks.computing_dtype(first.W))
    return X


def check_data(net, X, Y, of=""):
    """X (D, N) and Y (n, N) as arrays that fit each other and the network. of: what errors say
    behind X and Y."""
    parts = check_network(net)
    X, Y, name = check_inputs(parts, X, f"X{of}"), _checks.real(f"Y{of}", Y), f"Y{of}"
    last = _end_linear(reversed(parts))
    n, N = np.shape(last.W)[1] if last is not None else "n", X.shape[1]
    hint = ""
    if n == 1 and Y.ndim == 1:
        hint = "; one label per sample is one row, as in Y[None, :]"
    elif Y.shape == (N, n):
        hint = "; samples are columns: pass the transpose"
    elif Y.size == N:
        hint = f"; classes go in as one-hot columns: nncore.datasets.one_hot(labels, {n})"
    _checks.shape(name, Y, (n, N), hint)
    if N == 0:
        raise ValueError(f"X{of} must hold at least one sample, got 0 columns")
    if type(net.loss) is losses.Hinge and not (abs(Y) == 1).all():
        raise ValueError(
            f"{name} must hold -1 and +1 for Hinge, got {Y[abs(Y) != 1][0]}; labels of 0 and 1 "
            f"become 2 * Y - 1"
        )
    if type(net.loss) is losses.BinaryNLL and ((Y < 0) | (Y > 1)).any():
        raise ValueError(
            f"{name} must lie between 0 and 1 for BinaryNLL, got {Y[(Y < 0) | (Y > 1)][0]}; labels "
            f"of -1 and +1 become "
            "(Y + 1) / 2"
        )
    return X, Y


def _check_sizes(parts):
    """Refuse layers of no inputs or no outputs: the compiled loops assume sizes of at least 1."""
    for i, module in enumerate(parts):
        if isinstance(module, modules.Linear) and type(module).forward is modules.Linear.forward:
            _checks.not_empty(f"W of modules[{i}]", module.W)


def _end_linear(chain):
    """The first Linear of a chain when only the library's activations, which keep the number of
    features, stand before it."""
    for module in chain:
        if not _ours(module):
            return None
        if isinstance(module, modules.Linear):
            return module if np.ndim(module.W) == 2 else None
    return None


def prepare_weights(net, rng=None):
    """Refuse weights that cannot be updated in place; then replace those that a step would replace,
    and settle on the keys of Dropouts, from rng or np.random. All or nothing."""
    parts = _chain.modules_of(net)
    ready = []
    for i, module in enumerate(parts):
        names = tuple(getattr(module, "gradients", ()))
        if not (names or hasattr(module, "sgd_step") or hasattr(module, "step")):
            raise TypeError(
                f"modules[{i}] must have sgd_step(lrate) or step(lrate), which may do nothing "
                f"where nothing is to be trained, "
                f"got {type(module).__name__} with neither"
            )
        if isinstance(module, (modules.Linear, modules.BatchNorm)):
            if _chain.steps_by_library(module):
                ready += zip(itertools.repeat(module), names, module.checked_weights())
        else:
            ready += (
                (
                    module,
                    name,
                    _checks.trainable(name, getattr(module, name), np.shape(getattr(module, name))),
                )
                for name in names
            )
    _check_widths(parts)
    for module, name, array in ready:
        setattr(module, name, array)
    for module in _chain.every_module(net):
        if isinstance(module, modules.Dropout):
            module.draw_key(rng)


def _check_widths(parts):
    """ValueError where a module of the library's does not take as many inputs as the one before has
    outputs."""
    width = None
    for module in parts:
        if not _ours(module):
            width = None
        elif isinstance(module, modules.Linear):
            m, n = np.shape(module.W)
            if width not in (None, m):
                raise ValueError(
                    f"W must have shape ({width}, n) to follow a module with {width} outputs, got "
                    f"({m}, {n})"
                )
            width = n
        elif isinstance(module, modules.BatchNorm):
            if width not in (None, module.m):
                raise ValueError(
                    f"m of BatchNorm must be {width} to follow a module with {width} outputs, got "
                    f"{module.m}"
                )
            width = module.m


class alone:
    """Train in training mode; refuse a network that is training already, in another thread or
    further up the stack.

    A class, because its exit must allocate nothing: when memory has run out, the network would stay
    locked.
    """

    def __init__(self, net):
        self.net, self.key = net, id(net)

    def __enter__(self):
        if _training.setdefault(self.key, self) is not self:
            raise RuntimeError(
                "the network must not be trained by two calls at once, got a second one while the "
                "first is running"
            )
        try:
            self.mode = _chain.in_training_mode(self.net)
            self.mode.__enter__()
        except BaseException:
            del _training[self.key]
            raise

    def __exit__(self, *exc_info):
        try:
            self.mode.__exit__()
        finally:
            _training.pop(self.key, None)


def is_training(net):
    """Whether a call trains the network now."""
    return id(net) in _training


_training: dict[int, alone] = {}
os.register_at_fork(
    after_in_child=_training.clear
)  # the parent's other threads do not train in the child

# -------------------------------------------------------------------------------- which way it runs


def is_compiled(net):
    """Whether the compiled backend computes for a network."""
    return net._kernels is compiled and all(
        module._kernels is compiled for module in _chain.modules_of(net)
    )


def as_program(net, data, trains):
    """The compiled program of a network for the arrays in data (the first is X), or None if it must
    run module by module."""
    if refusal(net, trains, data) is not None:
        return None
    parts = _chain.modules_of(net)
    stages = _stages(parts if trains else _folded(parts))
    return _core.Program(
        stages,
        LOSSES.get(kind(net.loss)),
        _weights(parts)[0].dtype,
        data[0].shape[0],
        _is_plain(net.loss),
    )


def would_compile(net):
    """Whether a network can train compiled, on data that share no memory with its weights."""
    return refusal(net, True) is None


def refusal(net, trains, data=()):
    """Why a network must run module by module, in words, or None if its program may run on the
    arrays in data."""
    parts = _chain.modules_of(net)
    for name, thing in (
        ("the network", net),
        *((f"modules[{i}]", module) for i, module in enumerate(parts)),
    ):
        if kind(thing) is None:
            return f"{name} {foreign(thing)}"
        if thing._kernels is not compiled:
            return f"{name} uses the NumPy kernels"
    loss = kind(net.loss)
    if (trains or loss in LOSSES) and (loss not in LOSSES or net.loss._kernels is not compiled):
        return (
            f"the loss {foreign(net.loss)}"
            if loss not in LOSSES
            else "the loss uses the NumPy kernels"
        )
    if len({id(m) for m in parts}) != len(parts):
        return "a module is used twice"
    if not trains and _chain.depends_on_batch(
        net
    ):  # the program predicts by blocks of samples, several at once
        return "a BatchNorm normalises by the whole batch given"
    weights = _weights(parts)
    if not any(isinstance(m, modules.Linear) for m in parts):
        return "there is no Linear"
    if not all(map(_addressable, weights)):
        return "weights are not aligned native float32 or float64 matrices"
    if len({w.dtype for w in weights}) != 1:
        return "weights are of both float32 and float64"
    if trains and _shared(
        [*weights, *(x for x in data if isinstance(x, np.ndarray))], len(weights)
    ):
        return "weights share memory with each other or with the data"
    return None


def foreign(thing):
    """How an object differs from the library's."""
    names = overridden(thing)
    return (
        f"({type(thing).__name__}) overrides {', '.join(names)}"
        if names
        else f"({type(thing).__name__}) is not the library's"
    )


def _weights(parts):
    """Every array of a chain of library modules that training changes."""
    return [
        getattr(m, name)
        for m in parts
        if isinstance(m, (modules.Linear, modules.BatchNorm))
        for name in (*m.gradients, *m.statistics_arrays)
    ]


@_checks.quiet
def _folded(parts):
    """A chain that predicts as `parts` do, with running statistics folded into the Linear before or
    behind, and without Dropouts."""
    folded = []
    if any(isinstance(module, modules.BatchNorm) for module in parts):
        _check_widths(parts)
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
    """[(Linear or None, activation), or (BatchNorm or Dropout, its name)] of a chain of library
    modules."""
    stages = []
    for module in parts:
        what = kind(module)
        if what is modules.Linear or isinstance(module, _core.Frozen):
            stages.append((module, "none"))
        elif what in OWN_STAGES:
            if what is modules.BatchNorm or module.p > 0:
                stages.append((module, OWN_STAGES[what]))
        elif stages and stages[-1][0] is not None and stages[-1][1] == "none":
            stages[-1] = (stages[-1][0], ACTIVATIONS[what])
        else:
            stages.append((None, ACTIVATIONS[what]))
    return stages


def _addressable(w):
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
    """True when one of the first `written` arrays may share memory with any other; sorting by
    address avoids comparing all pairs."""
    bounds = sorted((*_core.byte_bounds(a), i < written) for i, a in enumerate(arrays) if a.size)
    reach, written_reach = 0, 0
    for low, high, is_written in bounds:
        if low < (reach if is_written else written_reach):
            return True
        reach = max(reach, high)
        written_reach = max(written_reach, high if is_written else 0)
    return False


class whole_steps:
    """Hold Ctrl-C back until `between_steps()` is called, so that it never leaves a half-updated
    network.

    A class, and on `_signal`, because its exit must allocate nothing: when memory has run out,
    Ctrl-C would stay without effect.
    """

    def __enter__(self):
        self.pending, self.before = [], _signal.getsignal(signal.SIGINT)
        self.holds = threading.current_thread() is threading.main_thread() and callable(self.before)
        between_steps = self._between_steps
        if self.holds:
            _signal.signal(signal.SIGINT, self._hold)
        return between_steps

    def __exit__(self, *exc_info):
        if self.holds:
            _signal.signal(signal.SIGINT, self.before)
            self._between_steps()  # also when a step has failed: a Ctrl-C is never lost

    def _hold(self, *args):
        self.pending.append(args)

    def _between_steps(self):
        if self.pending:
            args = self.pending.pop()
            self.pending.clear()
            self.before(*args)


# ---------------------------------------------------------------------------------------------- sgd


def sgd(net, X, Y, iters, lrate, progress):
    """Stochastic gradient descent as the course defines it; see Sequential.sgd."""
    X, Y = check_data(net, X, _labels.columns(net, Y))
    iters, progress = _checks.count("iters", iters), _checks.switch("progress", progress)
    rate = schedules.step_size(lrate, 1, iters)
    with alone(net):
        prepare_weights(net)
        if iters > 0:
            _Sgd(net, X, Y, iters, rate, progress).run()


class Compiled:
    """The program of one call of sgd or mini_gd, or None; made anew where a rate function has
    changed the network."""

    def __init__(self, net, X, Y, rate, wanted):
        self.net, self.X, self.Y, self.wanted = net, X, Y, wanted
        self.watches = runs_python(rate)
        self._make()
        self.rate = watched(rate, lambda: self.fingerprint.holds(net))

    def _make(self):
        self.program = as_program(self.net, (self.X, self.Y), True) if self.wanted else None
        if self.program is not None and self.watches:
            self.fingerprint = Fingerprint(self.net)

    def renew(self):
        """Check and compile the network that a rate function has left."""
        self.X, self.Y = check_data(self.net, self.X, self.Y)
        prepare_weights(self.net)
        self._make()


class _Sgd:
    """The steps of one call of sgd. The last one, and those whose loss or attributes somebody sees,
    run module by module."""

    EVERY = (
        250  # steps from one line of the library's print_accuracy to the next, as in the homework
    )

    def __init__(self, net, X, Y, iters, rate, progress):
        self.net, self.X, self.Y, self.iters, self.rate = net, X, Y, iters, rate
        self.overridden = overrides_progress(net)
        self.shows = self.overridden or progress
        self.compiled = Compiled(net, X, Y, rate, iters > FEW and not self.overridden)
        self.t, self.warned = 0, False

    def run(self):
        while self.t < self.iters:
            eta = self._compiled() if self._compiles() else None
            with whole_steps() as between_steps:
                while self.t < self.iters and (eta is not None or not self._compiles()):
                    self._by_modules(eta)
                    between_steps()
                    eta = None

    def _compiles(self):
        return self.compiled.program is not None and self._unseen() > 0

    def _unseen(self):
        """Steps before the next one that somebody sees."""
        last = self.iters - 1 - self.t
        return min(last, (1 - self.t) % self.EVERY) if self.shows else last

    def _compiled(self):
        """Run the steps before the next one that somebody sees; returns the next step's rate where
        it is known already."""
        program = self.compiled.program
        try:
            program.sgd(self.X, self.Y, self._unseen(), self.compiled.rate, self._warn, self.t)
        except Changed as change:
            self.compiled.renew()
            return (
                change.eta
                if change.eta is not None
                else schedules.at(self.rate, self.t + program.steps + 1)
            )
        finally:
            self.t += program.steps
        return None

    def _by_modules(self, eta):
        """A step of the course's own loop: .A, .dLdW, .Ypred ... stand as it leaves them."""
        net, t = self.net, self.t + 1
        eta = schedules.at(self.rate, t) if eta is None else schedules.checked(eta, t)
        i = np.random.randint(self.X.shape[1])
        loss, finite = course_step(net, self.X[:, i : i + 1], self.Y[:, i : i + 1], eta)
        self.t = t
        if not finite:
            self._warn(t)
        if self.overridden or (self.shows and self.t % self.EVERY == 2 % self.EVERY):
            net.print_accuracy(t - 1, self.X, self.Y, loss)

    def _warn(self, t):
        if not self.warned:
            self.warned = True
            warn_not_finite(t, stacklevel=7)


def overrides_progress(net):
    """Whether a network has a print_accuracy of its own, which then sees every step."""
    from nncore.sequential import Sequential

    return getattr(net.print_accuracy, "__func__", None) is not Sequential.print_accuracy


def course_step(net, X, Y, eta):
    """(loss, whether it is finite) of one step of the course's loop on the samples X, Y, module by
    module.

    The loop does nothing with the loss, which may therefore be anything; what is not a number
    counts as finite.
    """
    moved = Moved(net)
    try:
        with _chain.in_training_mode(net):  # a rate function may have called net.eval()
            loss = net.loss.forward(net.forward(X), Y)
            gradient = net.loss.backward()
            # from logits the loss is finite where a probability has underflowed to 0: there the
            # gradient tells
            finite = _is_finite(loss) or (
                _has_output_unit(net)
                and _logits_kernel(net) is not None
                and np.isfinite(gradient).all()
            )
            net.backward(gradient)
            net.sgd_step(eta)
    except BaseException:
        moved.put_back()
        raise
    return loss, finite


def _is_finite(loss):
    try:
        return bool(np.isfinite(loss).all())
    except (TypeError, ValueError):  # ValueError: lists of different lengths
        return True


class Moved:
    """What a training forward changes before the step: running statistics and the Dropouts' counts,
    to put back if it fails."""

    def __init__(self, net, arrays=()):
        parts = _chain.modules_of(net)
        statistics = [
            getattr(module, name)
            for module in parts
            for name in getattr(module, "statistics_arrays", ())
        ]
        self.counts = [
            (module, module.count) for module in parts if isinstance(module, modules.Dropout)
        ]
        self.arrays = [*statistics, *arrays]
        self.copies = _core.Copies(self.arrays)

    def put_back(self):
        """Allocates nothing: it also works when memory has run out."""
        self.copies.put_back()
        at = len(self.counts)
        while at:  # `for` would allocate an iterator
            at -= 1
            module, count = self.counts[at]
            module.count = count


def warn_not_finite(t, stacklevel):
    warnings.warn(
        f"the loss is not finite at step {t}; training goes on as in the course library; a smaller "
        f"lrate may help",
        RuntimeWarning,
        stacklevel=stacklevel,
    )


# ------------------------------------------------------------------------------------------- logits


def live_kernels():
    """The module of kernels that is live, for modules that are not the library's."""
    return _backend.live


def _has_output_unit(net):
    """Whether the loss goes with a module that turns logits into outputs; else they are the
    same."""
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
    """The kernel that takes logits and Y for (loss, dL/dZ) where the library's loss stands beside
    the library's output, or None.

    From logits the loss stays finite and exact where a probability has underflowed to 0. Of a last
    Linear the outputs are the logits.
    """
    last = _chain.modules_of(net)[-1]
    name = LOSSES.get(kind(net.loss))
    if name is not None and kind(last) is net.loss.output and kind(net) is not None:
        return getattr(net.loss._kernels, FROM_LOGITS[name])
    return None


def loss_and_gradient(net, X, Y):
    """(loss summed over the batch, dL/dZ), module by module."""
    kernel = _logits_kernel(net)
    if kernel is not None:
        Z = _logits(net, X)
        loss, gradient = kernel(Z, Y)
        if _is_plain(net.loss):
            P = net.loss._kernels.softmax_forward(Z)
            gradient = np.subtract(P, Y, dtype=P.dtype)
        return loss, gradient
    return _one_number(net.loss.forward(net.forward(X), Y)), net.loss.backward()


def _is_plain(loss):
    """Whether an NLL's gradient is Ypred − Y whatever the labels of a sample sum to."""
    return getattr(loss, "_plain", False)


def _one_number(loss):
    """What a user's loss has given as a float; ValueError unless it is one number."""
    value = _numbers(loss)
    if value is not None and value.size == 1:
        return float(value.reshape(()))
    raise ValueError(
        f"loss.forward must return one number, the loss summed over the batch, got {_given(loss)}"
    )


def _numbers(loss):
    """What a user's loss has given as an array, or None if it is not made of real numbers."""
    try:
        value = np.asarray(loss)
    except ValueError:  # lists of different lengths
        return None
    return value if value.dtype.kind in _checks.REAL_KINDS else None


def _given(loss):
    shaped = isinstance(loss, np.ndarray) or _numbers(loss) is not None
    return f"shape {np.shape(loss)}" if shaped else type(loss).__name__


# --------------------------------------------------------------------------------------- evaluation


def class_fun(net):
    """The function from outputs to classes: the last module's, else the loss's; None where neither
    has one."""
    last = _chain.modules_of(net)[-1:]
    return getattr(last[0] if last else None, "class_fun", None) or getattr(
        net.loss, "class_fun", None
    )


def judge(net):
    """The class_fun by which evaluate counts right answers; None where a network is not judged by
    classes."""
    return class_fun(net) if getattr(net.loss, "classifies", True) else None


def predictor(net):
    """The frozen copy of a network; see Sequential.predictor."""
    if not net.modules:
        raise ValueError("modules must hold at least one module, got none")
    parts = _chain.modules_of(net)
    for module in parts:
        if kind(module) is None:
            raise TypeError(
                f"modules must compute as the library's own to make a predictor, got {module!r}"
            )
        if isinstance(module, modules.BatchNorm) and module.statistics == "batch":
            raise TypeError(
                "modules must predict each sample by itself to make a predictor, got a BatchNorm "
                "that normalises by the batch "
                "given; BatchNorm(m, statistics='running') does not"
            )
    linears = [m for m in parts if isinstance(m, modules.Linear)]
    if not linears:
        raise TypeError("modules must hold at least one Linear to make a predictor, got none")
    _check_sizes(parts)
    width = None
    for linear in linears:
        W = _checks.real("W", linear.W)
        _checks.shape("W", W, ("m" if width is None else width, "n"))
        width = W.shape[1]
        _checks.shape("W0", _checks.real("W0", linear.W0), (width, 1))
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
    stages = [
        (None if linear is None else copies[id(linear)], name) for linear, name in _stages(parts)
    ]
    sizes = [linears[0].W.shape[0], *(m.W.shape[1] for m in linears)]
    return _core.Predictor(stages, dtype, sizes[0], "-".join(map(str, sizes)))


def _one_sample(net, X):
    """The outputs for a single column by the live kernels, without the set-up of a program and
    without leaving a trace, or None."""
    first = net.modules[0]
    if (
        kind(net) is None
        or kind(first) is not modules.Linear
        or np.shape(first.W)[:1] != X.shape[:1]
    ):
        return None
    for module in net.modules:
        what = kind(module)
        if what is modules.Linear:
            if not X.size:  # refused by the general path
                return None
            X = module._kernels.linear_forward(X, module.W, module.W0)
        elif what in FORWARD:
            X = getattr(module._kernels, FORWARD[what])(X)
        elif what is not modules.Dropout:
            return None
    return X if X.size else None


def takes_one_sample(net, X):
    """Whether `outputs` sends X through the live kernels without a program."""
    return _is_one_sample(net, X) and _one_sample(net, X) is not None


def _is_one_sample(net, X):
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.shape[1] == 1
        and X.dtype in _checks.COMPUTING
        and bool(net.modules)
    )


def outputs(net, X):
    """The network's outputs (n, N) for X (D, N)."""
    if _is_one_sample(net, X):
        P = _one_sample(net, X)
        if P is not None:
            return P
    _chain.check_methods(net.modules, None)
    X = check_inputs(_chain.modules_of(net), X)
    program = as_program(net, (X,), False)
    return program.run(X)[0] if program is not None else _chain.predicted([net], X)


def agreement(class_fun, P, Y):
    """Whether the classes of P are those of Y, as class_fun gives them; a sample whose outputs are
    NaN has none."""
    agree = class_fun(P) == class_fun(Y)
    if _core.has_nan(P):
        valid = ~np.isnan(P)
        agree = agree & (valid if np.shape(agree) == np.shape(P) else valid.all(axis=0))
    return agree


def nan_samples(P):
    """How many samples have an output that is NaN."""
    return int(np.isnan(P).any(axis=0).sum()) if _core.has_nan(P) else 0


def warn_of_nan(count, N):
    """Warn of samples whose outputs are NaN, which a class would hide."""
    if count:
        warnings.warn(
            f"the outputs of {count} of {N} samples are NaN, because X or a weight holds NaN or "
            f"infinity; their classes mean "
            "nothing and count as wrong",
            RuntimeWarning,
            stacklevel=3,
        )


def slices(net, X, Y):
    """(outputs, losses, Y) of up to SLICE samples at a time; losses one a sample, or their sum for
    a loss without per_sample."""
    X, Y = check_data(net, X, _labels.columns(net, Y))
    program = as_program(net, (X, Y), False) if kind(net.loss) in LOSSES else None
    size = X.shape[1] if _chain.depends_on_batch(net) else SLICE
    for at in range(0, X.shape[1], size):
        Xs, Ys = X[:, at : at + size], Y[:, at : at + size]
        if program is not None:
            P, values = program.run(Xs, Ys)
        else:
            kernel = _logits_kernel(net)
            if kernel is not None:
                Z = _logits(net, Xs, predicting=True)
                yield (
                    _chain.modules_of(net)[-1].forward(Z) if _has_output_unit(net) else Z,
                    kernel(Z, Ys)[0],
                    Ys,
                )
                continue
            P = _chain.predicted([net], Xs)
            call = "per_sample" if hasattr(net.loss, "per_sample") else "forward"
            given = getattr(net.loss, call)(P, Ys)
            values = _numbers(given)
            if values is None:
                raise ValueError(f"loss.{call} must return numbers, got {_given(given)}")
        yield P, values, Ys


def score(net, X, Y):
    """Accuracy, or R squared; see Sequential.score."""
    if getattr(net.loss, "classifies", True):
        return net.evaluate(X, Y)[1]
    parts = [(P, Ys) for P, _, Ys in slices(net, X, Y)]
    P, Y = (
        np.concatenate(arrays, axis=1).astype(np.float64) for arrays in zip(*parts, strict=True)
    )
    warn_of_nan(nan_samples(P), P.shape[1])
    return _r_squared(P, Y)


@_checks.quiet
def _r_squared(P, Y):
    residual = _sums.pairwise((Y - P) ** 2, axis=1)
    total = _sums.pairwise((Y - _sums.pairwise(Y, axis=1, keepdims=True) / Y.shape[1]) ** 2, axis=1)
    flat = total == 0
    return float(np.mean(np.where(flat, residual == 0, 1 - residual / np.where(flat, 1, total))))
