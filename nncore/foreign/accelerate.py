"""accelerate: convert a network of a user's NumPy classes, sharing its weight arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nncore import _chain, modules, registry
from nncore.foreign import match, match_linear, match_loss, match_norm, probe
from nncore.sequential import Sequential
from nncore.training import compile, predict

# Relative tolerance of whole networks after STEPS steps, which let rounding grow.
AGREEMENT = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-8}
STEPS = 3
# The matchers tried on a module, in order.
KINDS = (match.activation, match_norm.batchnorm, match_linear.linear)
LIBRARY = ("nncore.modules", "nncore.losses", "nncore.sequential")


@dataclass
class Entry:
    """The outcome of `accelerate` for one module or the loss.

    Parameters
    ----------
    given : str
        The name of its class.
    matched : bool
        True if a part of the library replaces it.
    replacement : str
        The part in the new network.
    remarks : list of str
        Why it was not matched, or how it differs.
    inside : list of Entry
        The entries of its modules, for a matched network inside the network.

    See Also
    --------
    nncore.accelerate : Returns a network whose report lists entries.

    Examples
    --------
    >>> print(Entry("Dense", True, "Linear(2, 3)", []))
    Dense -> Linear(2, 3)
    """

    given: str
    matched: bool
    replacement: str
    remarks: list[str]
    # of a network inside the network that was matched: its modules' entries
    inside: list[Entry] = field(default_factory=list)

    def __str__(self) -> str:
        what = f"{self.given} -> {self.replacement}" if self.matched else f"{self.given} kept"
        return what + (": " + "; ".join(self.remarks) if self.remarks else "")

    def numbered(self, number: str) -> Iterator[tuple[str, Entry]]:
        """Yield (number, entry) for this entry and those inside it: 2, 2.0, 2.1.

        Parameters
        ----------
        number : str
            The number of this entry.

        Yields
        ------
        number : str
            The entry's position in the network.
        entry : Entry
            The entry.
        """
        yield number, self
        for i, entry in enumerate(self.inside):
            yield from entry.numbered(f"{number}.{i}")


@dataclass
class Report:
    """The outcome of `nncore.accelerate`; `str` gives the report to read.

    Parameters
    ----------
    modules : list of Entry
        The entry of every module, in order.
    loss : Entry or None
        The entry of the loss.
    compiled : bool
        True if the new network trains compiled.
    remarks : list of str
        Differences between the networks as a whole.

    See Also
    --------
    nncore.accelerate : Returns a network with a `report`.

    Examples
    --------
    >>> print(Report([Entry("Dense", True, "Linear(2, 3)", [])], None, True, []))
    1 of 1 modules matched; the network trains compiled
      0: Dense -> Linear(2, 3)
    """

    modules: list[Entry]
    loss: Entry | None
    compiled: bool
    remarks: list[str]

    def __str__(self) -> str:
        every = [pair for i, entry in enumerate(self.modules) for pair in entry.numbered(str(i))]
        single = [entry for _, entry in every if not entry.inside]
        matched = sum(e.matched for e in single)
        speed = (
            "the network trains compiled"
            if self.compiled
            else "the network trains module by module"
        )
        loss = "" if self.loss is None else f" and {'the' if self.loss.matched else 'not the'} loss"
        lines = [f"{matched} of {len(single)} modules{loss} matched; {speed}"]
        lines += [f"  {number}: {entry}" for number, entry in every]
        lines += [f"  loss: {self.loss}"] if self.loss is not None else []
        return "\n".join(lines + self.remarks)

    __repr__ = __str__


if TYPE_CHECKING:

    class Accelerated(Sequential):
        """What `accelerate` returns: a Sequential with a report."""

        report: Report


def accelerate(net: Any) -> Accelerated:
    """Convert a network of your own NumPy classes to a compiled one on the same weights.

    The new network, a `Sequential`, computes and trains as `net` does and shares its weight arrays.

    Parameters
    ----------
    net : object
        Any object with `modules`, a list of objects with forward(A), backward(dLdOutput) and
        sgd_step(lrate) or step(lrate), and with `loss`, an object with forward(Ypred, Y) and
        backward(), or None. Samples are columns.

    Returns
    -------
    Sequential
        The new network. Its `report`, an `nncore.foreign.Report`, says for each module whether it
        was matched, and if not, why.

    Raises
    ------
    TypeError
        If `net` is not such a network.
    ValueError
        If it has no modules.

    See Also
    --------
    nncore.check : Find mistakes in such modules.

    Notes
    -----
    Names do not matter: each module and the loss are run on random inputs and compared with the
    library's. The inputs are small and large, one sample and several; compared are forward,
    backward and two steps. A module matches if all of them agree up to rounding. W and W0 (G and B
    of a batch normalisation) are found by their shapes; W may be transposed, W0 may be (n,) or (1,
    n); a module without W0 matches Linear(..., bias=False). A network inside the network is
    replaced module by module if it is the chain of its modules. An unmatched module stays in the
    new network, between the library's modules. So does a module whose step changes a number besides
    its weights, such as a step count that lowers its rate.

    Training the result updates your arrays in place, so your network sees the trained weights. If
    your own step assigns a new array to W, call `accelerate` again after using it. The result's
    `sgd` is the course's, even if net's class overrides it.

    Some differences do not prevent a match, and the report notes them: a function that overflows on
    large numbers if the library's does not; another derivative at a kink (ReLU at 0, Hinge at the
    margin); a loss that guards a logarithm or a quotient against probabilities near 0, or fails if
    one is 0; a class_fun that gives other classes, because training does not use it; a gradient of
    W0 that is not summed over the batch.

    Probing restores net, its modules and the random generators, and prints nothing. It cannot
    rewind some Python objects, such as an iterator that forward draws from.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> class Dense:
    ...     def __init__(self, m, n):
    ...         self.weights = np.random.normal(0, m**-0.5, (m, n))
    ...         self.bias = np.zeros((n, 1))
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
    >>> modules = [Dense(2, 3), Dense(3, 1)]
    >>> mine = SimpleNamespace(modules=modules, loss=SquaredError())
    >>> fast = accelerate(mine)
    >>> fast.modules
    [Linear(2, 3), Linear(3, 1)]
    >>> fast.modules[0].W is mine.modules[0].weights
    True
    """
    _check(net)
    with probe.quiet():
        result = _assemble(net)
    return result


def _check(net):
    """Refuse an object that is not shaped like a network."""
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


def _assemble(net):
    """Return the new network with its report."""
    with probe.untouched(net, *net.modules, net.loss):
        entries, chain = _match_modules(net.modules)
        width = _width_after(Sequential(chain), None)
        loss_entry, loss, guard = _match_loss(net, entries, chain, width)
        _keep_classes(net.modules[-1], entries, chain, loss)
        result = Sequential(chain, loss)
    remarks = []
    if any(e.matched for e in entries) or loss is not net.loss:
        difference = _whole_difference(net, result, guard)
        if difference:
            remarks.append(difference)
            entries = [Entry(type(m).__name__, False, type(m).__name__, []) for m in net.modules]
            loss_entry = loss_entry and Entry(
                type(net.loss).__name__, False, type(net.loss).__name__, []
            )
            result = Sequential(list(net.modules), net.loss)
    if isinstance(net, Sequential):  # what the network knows about its data goes along
        result._preprocessing = net._preprocessing
        if "_flat" in vars(net):
            result._flat = net._flat
    result.report = Report(entries, loss_entry, compile.would_compile(result), remarks)
    return result


def _is_library(part):
    return type(part).__module__ in LIBRARY


# ---------------------------------------------------------------------------------------- the parts


def _match_modules(given, width=None):
    """Return (entries, modules) of a chain that takes `width` features (None if unknown): the
    library's module for each match, else the given one.

    A module that occurs twice does so again.
    """
    entries, chain, known = [], [], {}
    for module in given:
        if id(module) not in known:
            known[id(module)] = _match_module(module, width)
        entry, replacement = known[id(module)]
        entries.append(entry)
        chain.append(replacement)
        width = _width_after(replacement, width)
    return entries, chain


def _match_module(module, width):
    """Return (entry, module) of one module."""
    name = type(module).__name__
    if isinstance(getattr(module, "modules", None), (list, tuple)) and module.modules:
        return _match_network(module, width)
    if _is_library(module):
        return Entry(name, True, repr(module), ["nncore's own"]), module
    try:
        replacement, notes = match.first_match([partial(kind, module, width) for kind in KINDS])
    except match.Refused as refused:
        remarks = [refused.reason]
        if match.step_size(module) is None:
            remarks.append("it has neither sgd_step nor step, so the network cannot be trained")
        return Entry(name, False, name, remarks), module
    return Entry(name, True, repr(replacement), notes), replacement


def _match_network(inner, width):
    """Return (entry, module) of a network inside the network."""
    name = type(inner).__name__
    entries, chain = _match_modules(inner.modules, width)
    if _is_library(inner) and all(a is b for a, b in zip(chain, inner.modules, strict=True)):
        return Entry(name, True, name, ["nncore's own"], entries), inner
    replacement = Sequential(chain)
    replacement.training = getattr(inner, "training", True)
    difference = _inner_difference(inner, replacement, width)
    if difference:
        return Entry(name, False, name, [difference]), inner
    return Entry(name, True, "Sequential", [], entries), replacement


def _width_after(module, width):
    """Return the number of outputs of a module with `width` inputs; None if unknown."""
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


def _match_loss(net, entries, chain, width):
    """Return (entry, loss, Guard or None); replaces the last module in entries and chain if only
    the pair matches.
    """
    if net.loss is None:
        return None, None, None
    name, last = type(net.loss).__name__, net.modules[-1]
    if _is_library(net.loss):
        return Entry(name, True, repr(net.loss), ["nncore's own"]), net.loss, None
    try:
        loss, notes, guard = match_loss.loss(net.loss, width)
        _check_output(loss, chain[-1])
        separate = Entry(name, True, repr(loss), notes), loss, guard
        if entries[-1].matched:
            return separate
    except match.Refused as refused:
        separate = Entry(name, False, name, [refused.reason]), net.loss, None
        # its value is another one, whatever the last module is
        if refused.stage < match.Refused.BACKWARD:
            return separate
    if _is_library(last):
        return separate
    try:
        (chain[-1], last_notes), (loss, notes, guard) = match_loss.output_and_loss(
            last, net.loss, width
        )
    except match.Refused:
        return separate
    entries[-1] = Entry(type(last).__name__, True, repr(chain[-1]), last_notes)
    return Entry(name, True, repr(loss), notes), loss, guard


def _keep_classes(last, entries, chain, loss):
    """Restore a matched last module if it alone can make the predictions, such as a Sigmoid with a
    class_fun before a loss of the user's own.
    """
    if not entries[-1].matched or chain[-1] is last or not hasattr(last, "class_fun"):
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


def _check_output(loss, last):
    """Refuse a loss of the library after another output than its own, for which its backward is
    wrong.
    """
    output = getattr(loss, "output", None)
    if output is not None and _is_library(last) and not isinstance(last, output):
        raise match.Refused(
            match.Refused.REST,
            f"it is {loss!r}, which goes with a last {output.__name__}, not with {last!r}",
        )


# ---------------------------------------------------------------------------------------- the whole


def _whole_difference(net, result, guard):
    """Return a sentence if the two networks train differently although their modules agree one by
    one, as modules that share state do; else "".

    guard: of a matched loss that guards itself against probabilities near 0, else None. Such a loss
    differs as the label's probability gets small, so both trainings use its guard.

    Also "" if net cannot be run on random numbers.
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
            return f"not matched: with your modules nncore's raise {type(error).__name__}: {error}"
    step = _first_difference(wanted, got, result)
    if step is None:
        return ""
    return (
        f"not matched: the modules agree one by one, but together they differ after "
        f"{step} steps, as if they shared state"
    )


def _move_off_kinks(network):
    """Add random numbers to the biases, which the user's modules share.

    A bias of 0 after units that are all off puts logits at exactly 0, the kink of a ReLU, where a
    matched module may have another derivative.
    """
    rng = np.random.default_rng(8)
    for module in _chain.every_module(network):
        is_linear = isinstance(module, modules.Linear) and "W0" in _chain.trained(module)
        if is_linear and module.W0.flags.writeable:
            module.W0 += rng.normal(size=module.W0.shape).astype(module.W0.dtype)


class _LabelsAsGradient:
    """A substitute for a loss: its gradient is Y."""

    def forward(self, Ypred, Y):
        self.Y = Y

    def backward(self):
        return self.Y


def _inner_difference(inner, replacement, width):
    """Return a sentence if an inner network is not, or cannot be shown to be, the chain of its
    modules; else "".
    """
    with probe.untouched(inner, *inner.modules, *replacement.modules) as snapshot:
        data = _data(inner, replacement, snapshot, width)
        if data is None:
            return "its modules cannot be run on random numbers"
        _move_off_kinks(replacement)
        try:
            wanted = _trained([inner], _LabelsAsGradient(), *data)
        except Exception as error:
            return f"it raises {type(error).__name__}: {error}"
        snapshot.restore()
        _move_off_kinks(replacement)
        got = _trained(replacement.modules, _LabelsAsGradient(), *data)
    return (
        ""
        if _first_difference(wanted, got, replacement) is None
        else "it has modules, but is not their chain, each one's output the next one's input"
    )


def _first_difference(wanted, got, result):
    """Return the number of steps after which the outputs differ; None if they agree as long as they
    are finite.
    """
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
    """Return (X, Y), random samples that go through the network, or None."""
    rng = np.random.default_rng(6)
    for m in _widths(net, result) if width is None else [width]:
        X = rng.normal(size=(m, STEPS))
        try:
            n = _through(net.modules, X[:, :1]).shape[0]
        except Exception:  # at a wrong width, foreign code may raise anything
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
    """Return numbers of features that the network may take, the likeliest first."""
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
    """Return the outputs for X before and after some single-sample steps of the course's sgd."""
    outputs = [np.array(_through(chain, X[:, :1]), np.float64)]
    for i in range(X.shape[1] if loss is not None else 0):
        loss.forward(_through(chain, X[:, i : i + 1]), Y[:, i : i + 1])
        delta = loss.backward()
        for module in chain[::-1]:
            delta = (
                module._input_gradient(delta)
                if isinstance(module, Sequential)
                else module.backward(delta)
            )
        for module in chain:
            (getattr(module, "sgd_step", None) or module.step)(0.01)
        outputs.append(np.array(_through(chain, X[:, i : i + 1]), np.float64))
    return outputs
