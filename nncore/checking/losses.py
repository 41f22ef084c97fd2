"""The check of a loss: its value, summed over the batch, and its backward, dL/dZ through its output
unit.
"""

from types import SimpleNamespace

import numpy as np

from nncore import _kinds, reference, registry
from nncore.checking import roles
from nncore.checking.causes import same
from nncore.checking.findings import Fault, Result, judge, raised
from nncore.checking.mistakes import EITHER
from nncore.checking.roles import BATCH
from nncore.checking.trials import call, copied, differences, location, seeded
from nncore.foreign.probe import untouched

__all__ = ["check", "takes_labels_first", "turned_round"]

# {loss: its output unit}; a Sigmoid whose backward returns dL/dZ unchanged serves as OutputSigmoid.
OF_PROBABILITIES = {
    cls.__name__: cls.output.__name__
    for cls, loss in registry.LOSSES.items()
    if loss.of_probabilities
}

LABELS_FIRST = "its arguments are swapped"


def check(loss, place="", output=None, outputs=None, backward_kind="identity"):
    """Return the Result of a loss; the caller restores the loss.

    In a network: output is the role of the last module ("" if unknown); outputs, how many it has;
    backward_kind, "identity" if its backward returns dL/dZ unchanged, "derivative" if it multiplies
    by its own derivative and so needs dL/dYpred.
    """
    result, role = Result(place, type(loss).__name__), roles.name_of(loss)
    if role == "NLL" and output in ("Sigmoid", "OutputSigmoid"):
        role = "BinaryNLL"
    record = registry.LOSSES.get(_kinds.kind(loss))
    if record is not None and record.has_settings(loss):
        # compared with its own value, as the library's loss of that name has other settings
        weights = getattr(loss, "class_weight", None)
        n = outputs or (3 if weights is None else len(weights))
        _own_loss(result, loss, role, output or record.cls.output.__name__, n, backward_kind)
    elif role in OF_PROBABILITIES and (output is None or role in _kinds_of(role, output)):
        _known_loss(result, loss, role, outputs or (3 if role == "NLL" else 2), backward_kind)
    else:
        _own_loss(result, loss, role, output, outputs or 3, backward_kind)
    return result


def _known_loss(result, loss, role, n, backward_kind):
    """Compare value and gradient with those of the library's loss of the same name."""
    probes = _probes(role, n)
    trial = _run(loss, probes)
    if trial.failure:
        result.faults.append(raised(loss, trial.method, trial.failure, role))
    else:
        _judge_known(result, loss, role, trial, probes, backward_kind)
    if (
        not result.ok
        and result.faults[0].what == "forward"
        and (trial.failure or not result.faults[0].cause)
    ):
        _swapped(result, loss, role, probes, backward_kind)
    if result.ok:
        with untouched(loss):
            value, failure = call(loss.forward, np.array([[1.0], [0.0]]), np.array([[1.0], [0.0]]))
        if failure or not np.all(np.isfinite(value)):
            result.remarks.append(
                "if a probability is exactly 0, the loss is NaN (0 * log 0), though the gradient "
                "is right"
            )


def _judge_known(result, loss, role, trial, probes, backward_kind):
    """Judge the values and gradients of a loss that the library has."""
    twin = getattr(reference, role)()
    _value(result, loss, role, trial, probes, [twin.forward(p.Ypred, p.Y) for p in probes])
    if not result.ok and result.faults[-1].error < 1e-3 and not result.faults[-1].cause:
        result.faults.pop()
        result.remarks.append(
            "the loss is off by less than 0.1 %: a small number added inside np.log? The smaller, "
            "the better"
        )
    wanted = [p.Ypred - p.Y for p in probes]
    if backward_kind == "derivative":
        wanted = [
            -p.Y / p.Ypred if role == "NLL" else (p.Ypred - p.Y) / (p.Ypred * (1 - p.Ypred))
            for p in probes
        ]
    fault = judge("backward", f"{role}.backward", trial.back, wanted, probes, loss.backward)
    if fault:
        if backward_kind == "derivative":
            fault.formula = (
                "dL/dYpred, because the output unit's backward multiplies by its own derivative"
            )
        result.faults.append(fault)


def _swapped(result, loss, role, probes, backward_kind):
    """Report swapped arguments if the loss, given the labels first, is right or makes a known
    mistake.
    """
    trial = _run(loss, probes, turned=True)
    other = Result("", "")
    if trial.failure:
        return
    _judge_known(other, loss, role, trial, probes, backward_kind)
    of_forward = [f for f in other.faults if f.what == "forward"]
    if any(not f.cause for f in of_forward):
        return
    swapped = result.faults[0]
    if any(f.what == "backward" for f in other.faults) and not any(
        f.what == "backward" for f in result.faults
    ):
        swapped.cause = (
            "Ypred and Y are swapped: it is Y that multiplies, and the logarithm is of Ypred"
        )
        return
    swapped.cause, swapped.where = (
        f"{LABELS_FIRST}: it is forward(self, Ypred, Y), the prediction first",
        location(loss.forward),
    )
    result.faults[1:] = other.faults


def takes_labels_first(result):
    """Return whether swapped arguments are the only fault in the Result of a loss."""
    return len(result.faults) == 1 and result.faults[0].cause.startswith(LABELS_FIRST)


def turned_round(loss):
    """Return a loss of the same name that takes the prediction first, wrapped around one that takes
    the labels first.
    """
    return type(
        type(loss).__name__,
        (),
        {
            "forward": lambda self, Ypred, Y: loss.forward(Y, Ypred),
            "backward": lambda self: loss.backward(),
        },
    )()


def _own_loss(result, loss, role, output, n, backward_kind):
    """Check another loss's gradient against finite differences of its value, with labels of a kind
    that suits it.
    """
    fault = failed = None
    for kind in _kinds_of(role, output):
        probes = _probes(kind, n)
        trial = _run(loss, probes)
        if trial.failure:
            # it may refuse labels of another kind
            failed = failed or raised(loss, trial.method, trial.failure)
            continue
        if not _value(result, loss, role, trial, probes, None):
            return
        for by_logits in _ways(kind, output, backward_kind):
            wanted = [_slopes(loss, kind, p, by_logits) for p in probes]
            if not all(np.isfinite(slopes).all() for _, slopes, _ in wanted):
                continue
            found = judge(
                "backward", f"{role}.backward", trial.back, wanted, probes, loss.backward, 1e-6
            )
            if found is None:
                if _is_averaged(loss, probes[0]):
                    result.remarks.append(
                        "it is averaged over the batch; the course's losses are summed"
                    )
                return
            found.formula = f"dL/d{'Z' if by_logits else 'Ypred'}, of the shape of Ypred"
            if fault is None or found.cause and not fault.cause:
                fault = found
    if fault and not fault.cause:
        fault.cause = EITHER
    if fault or failed:
        result.faults.append(fault or failed)
    else:
        result.unchecked = "its value is not finite for the outputs and labels that were tried"


def _kinds_of(role, output):
    """Return the kinds of predictions and labels to try."""
    for name, unit in OF_PROBABILITIES.items():
        if output is not None and output in (unit, unit.removeprefix("Output")):
            return (name,)
    if role == "Hinge":
        return ("Hinge",)
    return ("Squared", "Hinge") if output is not None else ("Squared", "NLL", "BinaryNLL", "Hinge")


def _ways(kind, output, backward_kind):
    """Return whether to differentiate by the logits (True) or by the outputs (False), the likelier
    first.
    """
    if kind not in OF_PROBABILITIES:
        return (False,)
    return (False, True) if output is None else (backward_kind == "identity",)


def _probes(kind, n):
    """Return predictions Ypred (n, b) with their logits Z and labels Y of that kind: two batches of
    sizes other than n, and a single sample.
    """
    rng = np.random.default_rng(4)
    several = next(b for b in (BATCH, BATCH + 1) if b != n)
    probes = []
    for b in (several, several, 1):
        Z = rng.uniform(0.2, 1.6, (n, b)) * rng.choice([-1, 1], (n, b))
        Z[np.abs(np.abs(Z) - 1) < 0.1] = 0.5  # the hinge has its kink at 1
        Y = {
            "NLL": lambda b=b: np.eye(n)[:, rng.integers(n, size=b)],
            "BinaryNLL": lambda b=b: rng.integers(0, 2, (n, b)) * 1.0,
            "Hinge": lambda b=b: rng.choice([-1.0, 1.0], (n, b)),
            "Squared": lambda b=b: rng.normal(size=(n, b)),
        }[kind]()
        probes.append(SimpleNamespace(b=b, Z=Z, Y=Y, Ypred=_unit(kind)(Z)))
    return probes


def _unit(kind):
    """Return the function of the output unit that precedes a loss of that kind."""
    unit = OF_PROBABILITIES.get(kind)
    return np.copy if unit is None else getattr(reference, unit)().forward


def _run(loss, probes, turned=False):
    """Return the values and gradients on the probes, and the failed method with its Failure.
    turned: labels first.
    """
    trial = SimpleNamespace(out=[], back=[], failure=None, method="", wrote=False)
    with untouched(loss):
        for p in probes:
            seeded()
            P, Y = p.Ypred.copy(), p.Y.copy()
            trial.method = "forward"
            value, trial.failure = call(loss.forward, *((Y, P) if turned else (P, Y)))
            if trial.failure is None:
                trial.out.append(copied(value))
                trial.method = "backward"
                back, trial.failure = call(loss.backward)
                trial.back.append(copied(back))
            if trial.failure:
                break
            trial.wrote |= not same(P, p.Ypred, 0) or not same(Y, p.Y, 0)
    return trial


def _value(result, loss, role, trial, probes, wanted):
    """Judge the results of forward; return whether each is one number per batch."""
    given = trial.out
    if all(isinstance(v, np.ndarray) and v.ndim and v.size == 1 for v in given):
        result.remarks.append(
            f"forward gives an array {given[0].shape}; the course's loss is a number"
        )
        given = [v.item() for v in given]
    fault = judge("forward", f"{role}.forward", given, wanted, probes, loss.forward)
    one = all(np.ndim(v) == 0 for v in given)
    if not one and (fault is None or fault.shape is not None):
        fault = fault or Fault(
            "forward",
            "",
            "np.sum is missing",
            where=location(loss.forward),
            shape=np.shape(given[0]),
            wanted_shape=(),
        )
        fault.message = f"gives shape {fault.shape}, must be one number"
    if fault:
        result.faults.append(fault)
    if trial.wrote:
        result.faults.append(
            Fault(
                "forward",
                "changes its input",
                "it writes into Ypred or Y; it must make a new array",
                where=location(loss.forward),
            )
        )
    return one and (fault is None or fault.message != "gives None")


def _slopes(loss, kind, p, by_logits):
    """Return (indices, derivatives, shape) of the loss with respect to Z or Ypred."""
    x = (p.Z if by_logits else p.Ypred).copy()
    unit = _unit(kind) if by_logits else np.copy

    def value():
        with untouched(loss):
            v, failure = call(loss.forward, unit(x), p.Y.copy())
        return np.nan if failure else float(np.sum(v))

    return differences(value, x, 1e-6)


def _is_averaged(loss, p):
    """Return whether repeating the batch leaves the loss unchanged."""
    with untouched(loss):
        once, _ = call(loss.forward, p.Ypred.copy(), p.Y.copy())
        twice, _ = call(loss.forward, np.hstack([p.Ypred, p.Ypred]), np.hstack([p.Y, p.Y]))
    return same(np.ravel(once), np.ravel(twice))
