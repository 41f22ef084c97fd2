"""accelerate: a network of somebody's own NumPy classes as one of the library's, on the same weight
arrays."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from nncore import _chain, modules, registry
from nncore.foreign import match, match_linear, match_loss, match_norm, probe
from nncore.sequential import Sequential
from nncore.training import compile, predict

# of whole networks after some steps: rounding grows
AGREEMENT = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-8}
STEPS = 3
# what a module may be
KINDS = (match.activation, match_norm.batchnorm, match_linear.linear)
LIBRARY = ("nncore.modules", "nncore.losses", "nncore.sequential")


@dataclass
class Entry:
    """What became of one module, or of the loss."""

    given: str  # the name of its class
    taken: bool  # whether a part of the library stands in its place
    stands: str  # what stands in the new network
    remarks: list  # why it was not taken, or what is different
    # of a network inside the network that was taken: its modules' entries
    inside: list = field(default_factory=list)

    def __str__(self):
        what = f"{self.given} -> {self.stands}" if self.taken else f"{self.given} kept"
        return what + (": " + "; ".join(self.remarks) if self.remarks else "")

    def numbered(self, number):
        """(number, entry) of this one and those inside: 2, 2.0, 2.1."""
        yield number, self
        for i, entry in enumerate(self.inside):
            yield from entry.numbered(f"{number}.{i}")


@dataclass
class Report:
    """What `accelerate` has taken and what not, and why: `modules` (a list of Entry), `loss` (Entry
    or None), `compiled`, `remarks`."""

    modules: list
    loss: Entry | None
    compiled: bool
    remarks: list

    def __str__(self):
        every = [pair for i, entry in enumerate(self.modules) for pair in entry.numbered(str(i))]
        single = [entry for _, entry in every if not entry.inside]
        taken = sum(e.taken for e in single)
        speed = (
            "the network trains compiled"
            if self.compiled
            else "the network trains module by module"
        )
        loss = "" if self.loss is None else f" and {'the' if self.loss.taken else 'not the'} loss"
        lines = [f"{taken} of {len(single)} modules{loss} taken; {speed}"]
        lines += [f"  {number}: {entry}" for number, entry in every]
        lines += [f"  loss: {self.loss}"] if self.loss is not None else []
        return "\n".join(lines + self.remarks)

    __repr__ = __str__


def accelerate(net):
    """A compiled `Sequential` that computes and trains as `net`, a network of your own NumPy
    classes, and shares its weight arrays.

    net: any object with `modules`, a list of objects with forward(A), backward(dLdOutput) and
    sgd_step(lrate) or step(lrate), and with `loss`, an object with forward(Ypred, Y) and
    backward(), or None. Samples are columns. Names do not matter: each module and the loss are run
    beside the library's on random numbers, small and large, one sample and several, forward,
    backward and two steps, and are taken where all agree to rounding; W and W0 (of a batch
    normalisation G and B) are found by their shapes, W also transposed, W0 also as (n,) or (1, n).
    A network inside the network is taken apart, where it is the chain of its modules. What is not
    recognised stands in the new network as it is, with the library's modules around it; so does a
    module whose step changes a number beside its weights, as one that counts steps to lower its
    rate. Probing leaves net, its modules and the random generators as they were, and prints
    nothing; only what Python cannot wind back, such as an iterator that a forward draws from, has
    gone on.

    Training the result updates your arrays in their own memory, so that your network sees the
    trained weights; where your own step binds W anew, call `accelerate` again after using it. The
    result's `sgd` is the course's, whatever net's own class does.

    result.report says for each module whether it was taken, and why not. Some differences do not
    keep a part from being taken; a note says so: a function that overflows on large numbers, when
    the library's does not; another derivative at a kink (ReLU at 0, Hinge at the margin); a loss
    that guards a logarithm or a quotient against probabilities near 0, or fails if one is 0; a
    class_fun that gives other classes, because training does not use it; a gradient of W0 that is
    not summed over the batch.

    TypeError for what is not such a network, ValueError for one without modules.

    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> class Dense:
    ...     def __init__(self, m, n):
    ...         self.weights, self.bias = np.random.normal(0, m**-0.5, (m, n)), np.zeros((n, 1))
    ...     def forward(self, x):
    ...         self.x = x
    ...         return self.weights.T @ x + self.bias
    ...     def backward(self, dz):
    ...         self.dw, self.db = self.x @ dz.T, dz.sum(axis=1, keepdims=True)
    ...         return self.weights @ dz
    ...     def step(self, rate):
    ...         self.weights -= rate * self.dw
    ...         self.bias -= rate * self.db
    >>> class SquaredError:
    ...     def forward(self, guess, y):
    ...         self.difference = guess - y
    ...         return float(np.sum(self.difference**2))
    ...     def backward(self):
    ...         return 2 * self.difference
    >>> mine = SimpleNamespace(modules=[Dense(2, 3), Dense(3, 1)], loss=SquaredError())
    >>> fast = accelerate(mine)
    >>> fast.modules
    [Linear(2, 3), Linear(3, 1)]
    >>> fast.modules[0].W is mine.modules[0].weights
    True
    """
    _check(net)
    with probe.quiet():
        result = _assembled(net)
    return result


def _check(net):
    """Refuse what is not shaped like a network."""
    if (
        not hasattr(net, "modules")
        or not hasattr(net, "loss")
        or not isinstance(net.modules, (list, tuple))
    ):
        raise TypeError(
            f"net must have a list `modules` and a `loss`, as Sequential(modules, loss) has, got "
            f"{type(net).__name__}"
        )
    if not net.modules:
        raise ValueError("net.modules must hold at least one module, got none")
    parts = [(f"net.modules[{i}]", m) for i, m in enumerate(net.modules)]
    for name, part in [*parts, ("net.loss", net.loss)]:
        if (
            part is not None
            and not all(callable(getattr(part, method, None)) for method in ("forward", "backward"))
            or (part is None and name != "net.loss")
        ):
            raise TypeError(
                f"{name} must have methods forward and backward, got {type(part).__name__}"
            )


def _assembled(net):
    """The new network with its report."""
    with probe.untouched(net, *net.modules, net.loss):
        entries, chain = _take_modules(net.modules)
        width = _width_after(Sequential(chain), None)
        loss_entry, loss, guard = _take_loss(net, entries, chain, width)
        _keep_classes(net.modules[-1], entries, chain, loss)
        result = Sequential(chain, loss)
    remarks = []
    if any(e.taken for e in entries) or loss is not net.loss:
        difference = _whole_difference(net, result, guard)
        if difference:
            remarks.append(difference)
            entries = [Entry(type(m).__name__, False, type(m).__name__, []) for m in net.modules]
            loss_entry = loss_entry and Entry(
                type(net.loss).__name__, False, type(net.loss).__name__, []
            )
            result = Sequential(list(net.modules), net.loss)
    result.report = Report(entries, loss_entry, compile.would_compile(result), remarks)
    return result


def _is_library(part):
    return type(part).__module__ in LIBRARY


# ---------------------------------------------------------------------------------------- the parts


def _take_modules(given, width=None):
    """(entries, modules) for a chain that takes `width` features (None: not known): the library's
    where recognised, else the given ones.

    A module that stands twice does so again.
    """
    entries, chain, known = [], [], {}
    for module in given:
        if id(module) not in known:
            known[id(module)] = _take_module(module, width)
        entry, stands = known[id(module)]
        entries.append(entry)
        chain.append(stands)
        width = _width_after(stands, width)
    return entries, chain


def _take_module(module, width):
    name = type(module).__name__
    if isinstance(getattr(module, "modules", None), (list, tuple)) and module.modules:
        return _take_network(module, width)
    if _is_library(module):
        return Entry(name, True, repr(module), ["nncore's own"]), module
    try:
        stands, notes = match.first_taken([partial(kind, module, width) for kind in KINDS])
    except match.Refused as refused:
        remarks = [refused.reason]
        if match.step_size(module) is None:
            remarks.append("it has neither sgd_step nor step, so the network cannot be trained")
        return Entry(name, False, name, remarks), module
    return Entry(name, True, repr(stands), notes), stands


def _take_network(inner, width):
    """What _take_module gives, of a network inside the network."""
    name = type(inner).__name__
    entries, chain = _take_modules(inner.modules, width)
    if _is_library(inner) and all(a is b for a, b in zip(chain, inner.modules, strict=True)):
        return Entry(name, True, name, ["nncore's own"], entries), inner
    stands = Sequential(chain)
    stands.training = getattr(inner, "training", True)
    difference = _inner_difference(inner, stands, width)
    if difference:
        return Entry(name, False, name, [difference]), inner
    return Entry(name, True, "Sequential", [], entries), stands


def _width_after(module, width):
    """Features that come out of a module that `width` features go into; None where that is not
    known."""
    if isinstance(module, modules.Linear):
        return module.W.shape[1]
    if isinstance(module, Sequential):
        for part in module.modules:
            width = _width_after(part, width)
        return width
    if _is_library(module):
        return width
    if width is None:
        return None
    (trace,) = probe.run_module(
        module, (np.random.default_rng(0).normal(size=(width, 2)), None, None)
    )
    return (
        trace.output.shape[0]
        if isinstance(trace.output, np.ndarray) and trace.output.ndim == 2
        else None
    )


def _take_loss(net, entries, chain, width):
    """(entry, loss, Guard or None); a last module that is the library's only together with the loss
    is replaced in entries and chain."""
    if net.loss is None:
        return None, None, None
    name, last = type(net.loss).__name__, net.modules[-1]
    if _is_library(net.loss):
        return Entry(name, True, repr(net.loss), ["nncore's own"]), net.loss, None
    try:
        loss, notes, guard = match_loss.loss(net.loss, width)
        _check_beside(loss, chain[-1])
        alone = Entry(name, True, repr(loss), notes), loss, guard
        if entries[-1].taken:
            return alone
    except match.Refused as refused:
        alone = Entry(name, False, name, [refused.reason]), net.loss, None
        # its value is another one, whatever stands before it
        if refused.stage < match.Refused.BACKWARD:
            return alone
    if _is_library(last):
        return alone
    try:
        (chain[-1], last_notes), (loss, notes, guard) = match_loss.output_and_loss(
            last, net.loss, width
        )
    except match.Refused:
        return alone
    entries[-1] = Entry(type(last).__name__, True, repr(chain[-1]), last_notes)
    return Entry(name, True, repr(loss), notes), loss, guard


def _keep_classes(last, entries, chain, loss):
    """Put back a last module that alone makes the predictions, as a Sigmoid with a class_fun beside
    a loss of the user's own.
    """
    if not entries[-1].taken or chain[-1] is last or not hasattr(last, "class_fun"):
        return
    instead = predict.class_fun(Sequential(chain, loss))
    if instead is None:
        reason = (
            f"it is {chain[-1]!r}, but its class_fun makes the predictions, and nncore's has none"
        )
        entries[-1], chain[-1] = (
            Entry(type(last).__name__, False, type(last).__name__, [reason]),
            last,
        )
    elif instead == getattr(loss, "class_fun", None):
        entries[-1].remarks.append(
            f"predictions of the new network use {type(loss).__name__}.class_fun instead of yours"
        )


def _check_beside(loss, last):
    """Refused for a loss of the library beside another of its outputs, whose backward is not made
    for it."""
    output = getattr(loss, "output", None)
    if output is not None and _is_library(last) and not isinstance(last, output):
        raise match.Refused(
            match.Refused.REST,
            f"it is {loss!r}, which goes with a last {output.__name__}, not with {last!r}",
        )


# ---------------------------------------------------------------------------------------- the whole


def _whole_difference(net, result, guard):
    """A sentence where the two networks train differently although their modules agree one by one,
    as when modules share state; else "".

    A loss that was taken although it guards itself against probabilities near 0 (Guard, else None)
    differs by as much as the label's probability is small, so its guard is in both trainings.

    Nothing is said where net cannot be run on random numbers.
    """
    with probe.untouched(net, *net.modules, net.loss, *result.modules, result.loss) as snapshot:
        data = _data(net, result, snapshot)
        if data is None:
            return ""
        _move_off_kinks(result)
        try:
            wanted = _trained(net.modules, net.loss, *data)
        except Exception:
            return ""
        snapshot.restore()
        _move_off_kinks(result)
        try:
            got = _trained(result.modules, guard or result.loss, *data)
        except Exception as error:
            return f"not taken: beside your modules nncore's raise {type(error).__name__}: {error}"
    step = _parting(wanted, got, result)
    if step is None:
        return ""
    return (
        f"not taken: the modules agree one by one, but together they differ after "
        f"{step} steps, as if they shared state"
    )


def _move_off_kinks(network):
    """Add random numbers to the biases, which the user's modules share.

    A bias of 0 behind units that are all off puts logits at exactly 0, the kink of a ReLU, where
    the derivative of a module that was taken may be another one.
    """
    rng = np.random.default_rng(8)
    for module in _chain.every_module(network):
        if isinstance(module, modules.Linear) and module.W0.flags.writeable:
            module.W0 += rng.normal(size=module.W0.shape).astype(module.W0.dtype)


class _Handing:
    """In the place of a loss: hands back Y as the gradient."""

    def forward(self, Ypred, Y):
        self.Y = Y

    def backward(self):
        return self.Y


def _inner_difference(inner, stands, width):
    """A sentence where a network inside the network is not the chain of its modules, or cannot be
    seen to be; else ""."""
    with probe.untouched(inner, *inner.modules, *stands.modules) as snapshot:
        data = _data(inner, stands, snapshot, width)
        if data is None:
            return "its modules cannot be run on random numbers"
        _move_off_kinks(stands)
        try:
            wanted = _trained([inner], _Handing(), *data)
        except Exception as error:
            return f"it raises {type(error).__name__}: {error}"
        snapshot.restore()
        _move_off_kinks(stands)
        got = _trained(stands.modules, _Handing(), *data)
    return (
        ""
        if _parting(wanted, got, stands) is None
        else "it has modules, but is not their chain, each one's output the next one's input"
    )


def _parting(wanted, got, result):
    """The number of steps after which the outputs differ; None where they do not while they are
    finite."""
    types = {m.W.dtype for m in _chain.every_module(result) if isinstance(m, modules.Linear)}
    tolerance = (
        max([AGREEMENT.get(t, 0) for t in types], default=0) or AGREEMENT[np.dtype(np.float64)]
    )
    for step, (a, b) in enumerate(zip(wanted, got, strict=True)):
        if not np.isfinite(a).all():
            break
        if probe.disagreement(b, a) > tolerance:
            return step
    return None


def _data(net, result, snapshot, width=None):
    """(X, Y) of random samples that go through the network, or None."""
    rng = np.random.default_rng(6)
    for m in _widths(net, result) if width is None else [width]:
        X = rng.normal(size=(m, STEPS))
        try:
            n = _through(net.modules, X[:, :1]).shape[0]
        except Exception:  # what foreign code raises at a wrong width is anybody's guess
            continue
        finally:
            snapshot.restore()
        Y = (
            np.eye(n)[:, rng.integers(n, size=STEPS)]
            if n > 1
            else rng.integers(2, size=(1, STEPS)).astype(np.float64)
        )
        loss = registry.record_of(result.loss, registry.LOSSES)
        return X, 2 * Y - 1 if loss is not None and loss.labels == "signs" else Y
    return None


def _widths(net, result):
    """Numbers of features that the network may take, the likeliest first."""
    linears = [m.W.shape[0] for m in _chain.every_module(result) if isinstance(m, modules.Linear)][
        :1
    ]
    sizes = [size for m in net.modules for a in probe.arrays(m).values() for size in a.shape]
    return list(dict.fromkeys(linears + sizes))[:10]


def _through(chain, X):
    for module in chain:
        X = module.forward(X)
    return X


def _trained(chain, loss, X, Y):
    """The outputs for X before and after some steps of one sample each, as the course's sgd makes
    them."""
    outputs = [np.array(_through(chain, X[:, :1]), np.float64)]
    for i in range(X.shape[1] if loss is not None else 0):
        loss.forward(_through(chain, X[:, i : i + 1]), Y[:, i : i + 1])
        delta = loss.backward()
        for module in chain[::-1]:
            delta = (
                module._hand_back(delta)
                if isinstance(module, Sequential)
                else module.backward(delta)
            )
        for module in chain:
            (getattr(module, "sgd_step", None) or module.step)(0.01)
        outputs.append(np.array(_through(chain, X[:, i : i + 1]), np.float64))
    return outputs
