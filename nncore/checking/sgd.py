"""The check of a network's own sgd: forward, loss, backward and step on a random sample per
iteration.
"""

import inspect
from types import SimpleNamespace

import numpy as np

from nncore.checking.by_hand import RATE, agree
from nncore.checking.causes import same
from nncore.checking.findings import Fault, raised
from nncore.checking.steps import NAMES
from nncore.checking.trials import call, location, seeded
from nncore.checking.ways import way_back, way_forward

__all__ = ["check", "labels_first"]

SEEDS = 6  # single steps whose draw is determined
MANY = 60  # steps that draw each of three samples, except with probability 1e-10
ONE, ALL = [0], [0, 1, 2]
FIRST = slice(0, 1)
DRAW = "i = np.random.randint(N), with N = X.shape[1], gives 0 to N-1"


def check(result, work):
    """Judge single steps on one and three samples, the rate, the number of steps and the draws."""
    if not work.trained or not _takes_the_course_s_arguments(result, work.net.sgd):
        return
    fault = Fault("sgd", "", "", "", location(work.net.sgd))
    run = _trained(work, ONE, 1)
    if run.failure:
        result.faults.append(_failed(work, fault, run))
        return
    steps = [work.after([(FIRST, FIRST)] * k) for k in range(6)]
    if not agree(run.weights, steps[1]):
        fault.message, fault.cause = _of_one_step(work, run, steps)
        result.faults.append(fault)
        return
    run = _trained(work, ONE, 3)
    if run.failure:
        result.faults.append(raised(work.net, "sgd", run.failure, only=" with iters=3"))
        return
    if not agree(run.weights, steps[3]):
        made = next((k for k, s in enumerate(steps) if agree(run.weights, s)), None)
        fault.message = "with iters=3 does not make three steps"
        if made is not None:
            fault.message = f"with iters=3 makes {made} step{'s' if made != 1 else ''}"
            fault.cause = (
                _of_calls(work, run.calls)
                or "a return or break inside the loop, or a loop that counts otherwise"
            )
        result.faults.append(fault)
        return
    _draws(result, work, fault)


def _takes_the_course_s_arguments(result, sgd):
    """Return whether the signature is sgd(X, Y, iters, lrate); else add a remark with the
    parameters.
    """
    try:
        names = list(inspect.signature(sgd).parameters)
    except (TypeError, ValueError):
        return False
    rates = [
        any(part in name.lower() for part in ("rate", "lr", "eta", "alpha", "step_size"))
        for name in names
    ]
    if len(names) >= 4 and rates[3] and not rates[2]:
        return True
    result.remarks.append(
        f"sgd was not checked: it takes ({', '.join(names)}); the course's takes (X, Y, "
        "iters, lrate), in that "
        "order"
    )
    return False


def _trained(work, columns, iters, seed=0, rate=RATE):
    """Run net.sgd on those columns; return `weights` afterwards, `failure`, and `calls` of the
    modules and the loss.
    """
    with work.untouched():
        calls = work.record()
        seeded(seed)
        _, failure = call(work.net.sgd, work.X[:, columns], work.Y[:, columns], iters, rate)
        return SimpleNamespace(
            weights=None if failure else work.weights(), failure=failure, calls=calls
        )


def labels_first(work):
    """Return whether sgd gives the loss the labels first, the predictions second."""
    return _is_swapped(work, _trained(work, ONE, 1).calls)


def _is_swapped(work, calls):
    losses = [c for c in calls if c.index is None and c.method == "forward" and len(c.given) == 2]
    outputs = [c.result for c in calls if c.index == len(work.chain) - 1 and c.method == "forward"]
    return (
        bool(losses and outputs)
        and same(losses[0].given[1], outputs[0], 0)
        and not same(losses[0].given[0], outputs[0], 0)
    )


# ------------------------------------------------------------------------ mistakes in a step


def _of_one_step(work, run, steps):
    """Return (message, cause) of a wrong step on one sample."""
    message = "with one sample and iters=1 is not one forward, loss, backward and step"
    cause = _of_calls(work, run.calls)
    if cause:
        return message, cause
    if agree(run.weights, steps[0]):
        if not run.calls and agree(_trained(work, ONE, 2).weights, steps[1]):
            return (
                "with iters=1 makes no step",
                "the loop runs once too little: it is for it in range(iters)",
            )
        return "does not train: no weight changes", "it must call sgd_step in every iteration"
    if agree(run.weights, work.after([(FIRST, FIRST)], -RATE)):
        return message, "it goes uphill: the sign of lrate is wrong"
    if agree(run.weights, _trained(work, ONE, 1, rate=2 * RATE).weights):
        given = next(
            (
                c.given[0]
                for c in run.calls
                if c.method in work.movers and c.given and work.movers[c.index] == c.method
            ),
            None,
        )
        by = (
            f": the modules step by {given:.4g}, whatever lrate is"
            if isinstance(given, (int, float))
            else ""
        )
        return "ignores lrate" + (
            f": it steps by {given:.4g} with lrate={RATE}" if by else ""
        ), f"lrate is ignored{by}; give it to sgd_step"
    made = next((k for k, s in enumerate(steps) if k > 1 and agree(run.weights, s)), None)
    return message, f"it makes {made} steps instead of one" if made else ""


def _of_calls(work, calls):
    """Return the mistake that the calls of the modules and the loss show, or ""."""
    inputs = [c.given[0] for c in calls if c.index == 0 and c.method == "forward" and c.given]
    losses = [
        c.given for c in calls if c.index is None and c.method == "forward" and len(c.given) == 2
    ]
    back = {(c.index is None, c.method) for c in calls}
    if not inputs:
        return ""
    if any(np.ndim(x) == 1 for x in inputs):
        return (
            "a sample must stay a column (D, 1): X[:, i] has lost that axis, X[:, i:i+1] keeps it"
        )
    if any(np.ndim(y) == 1 for given in losses for y in given[1:]):
        return (
            "the labels of a sample must stay a column (n, 1): Y[:, i] has lost that axis, Y[:, "
            "i:i+1] keeps it"
        )
    if any(np.shape(x)[1:] == (0,) for x in inputs):
        return (
            f"an index beyond the last column is drawn, for which X[:, i:i+1] is empty: {DRAW}, "
            "while random.randint(0, N) can give N"
        )
    if np.shape(inputs[0])[:1] != work.X.shape[:1]:
        return (
            f"the network is given an array of shape {np.shape(inputs[0])}: a sample is a column, "
            f"X[:, i:i+1], of shape ({len(work.X)}, 1)"
        )
    if _is_swapped(work, calls):
        return (
            "the loss is given the labels first: it is self.loss.forward(Ypred, Yt), the "
            "prediction first"
        )
    if losses and inputs and np.shape(losses[0][1])[1:] != np.shape(inputs[0])[1:]:
        return "X and Y are not indexed alike: X[:, i:i+1] goes with Y[:, i:i+1]"
    if (True, "backward") in back and not losses:
        return (
            "self.loss.forward(Ypred, Yt) must come before self.loss.backward(), which uses what "
            "it keeps"
        )
    if (
        work.recordable
        and any((False, name) in back for name in NAMES)
        and (False, "backward") not in back
    ):
        return (
            "the network's backward must come before its step: self.backward(self.loss.backward())"
        )
    return way_forward(work, calls) or way_back(work, calls)


def _failed(work, fault, run):
    """Return the Fault of an sgd that raises an exception with one sample."""
    failed = raised(work.net, "sgd", run.failure, only=" with one sample")
    cause = _of_calls(work, run.calls)
    if not cause and not any(_trained(work, ALL, 1, seed).failure for seed in range(SEEDS)):
        never = _never_drawn(work)
        if never:
            _name_never(fault, never)
            fault.message += "; with one sample it raises " + str(run.failure)
            fault.where = failed.where or fault.where
            return fault
    if cause:
        failed.cause, failed.where = cause, fault.where
    failed.where = failed.where or fault.where
    return failed


# ---------------------------------------------------------------------------------------- the draws


def _draws(result, work, fault):
    """Judge which sample a step of sgd uses."""
    N = work.X.shape[1]
    columns = [slice(i, i + 1) for i in range(N)]
    alone = [work.after([(c, c)]) for c in columns]
    # for example if all units are off: no step shows its draw
    if any(agree(alone[i], alone[i - 1]) for i in range(N)):
        return
    drawn, expected = [], []
    for seed in range(SEEDS):
        run = _trained(work, ALL, 1, seed)
        if run.failure:
            failed = raised(work.net, "sgd", run.failure, only=" with three samples")
            cause = _of_calls(work, run.calls)
            if cause:
                failed.cause, failed.where = cause, fault.where
            result.faults.append(failed)
            return
        found = next((i for i, a in enumerate(alone) if agree(run.weights, a)), None)
        if found is None:
            fault.message = "with three samples does not step along the gradient of one of them"
            fault.cause = _of_calls(work, run.calls)
            if agree(run.weights, work.after([(slice(None), slice(None))])):
                fault.cause = f"every step takes all samples; it must draw one at random: {DRAW}"
            elif any(
                agree(run.weights, work.after([(columns[i], columns[j])]))
                for i in range(N)
                for j in range(N)
                if i != j
            ):
                fault.cause = (
                    "X and Y are drawn separately: one i must choose the columns of both, X[:, "
                    "i:i+1] and Y[:, i:i+1]"
                )
            result.faults.append(fault)
            return
        drawn.append(found)
        seeded(seed)
        expected.append(np.random.randint(N))
    never = _never_drawn(work)
    if never:
        _name_never(fault, never)
        result.faults.append(fault)
    elif len(set(drawn)) == 1 and drawn != expected:
        result.remarks.append(
            "sgd draws the same samples in every call: it seeds the generator itself, or takes "
            "them in turn"
        )
    elif drawn != expected:
        result.remarks.append(
            "sgd does not draw by one np.random.randint(N) per step; its numbers differ from "
            "the course's"
        )


def _never_drawn(work):
    """Return which of three samples many steps never draw."""
    columns, X = [slice(i, i + 1) for i in ALL], work.X
    never = []
    for j, column in enumerate(columns):
        try:
            work.X = X.copy()
            work.X[:, j] = np.nan  # shows in the weights as soon as the sample is drawn
            if _all_finite(work.after([(column, column)])):
                continue  # unless the loss accepts NaN and no unit is on
            run = _trained(work, ALL, MANY)
        finally:
            work.X = X
        if run.failure is None and _all_finite(run.weights):
            never.append(j)
    return never


def _name_never(fault, never):
    fault.message = (
        f"never draws {'sample' if len(never) == 1 else 'samples'} {', '.join(map(str, never))} of "
        f"0, 1, 2 in {MANY} steps"
    )
    fault.cause = f"the random index must run over all columns: {DRAW}"
    if never == [ALL[-1]]:
        fault.cause = f"the last sample is never drawn: {DRAW} already"
    elif never == [0]:
        fault.cause = f"the first sample is never drawn: {DRAW}"


def _all_finite(weights):
    return weights is not None and all(np.isfinite(w).all() for w in weights.values())
