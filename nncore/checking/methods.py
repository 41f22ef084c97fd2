"""The checks of a network's own forward, backward and sgd_step against those of its modules in
sequence.
"""

import numpy as np

from nncore.checking import sgd
from nncore.checking.by_hand import RATE, ByHand, agree
from nncore.checking.causes import same
from nncore.checking.findings import Fault, raised
from nncore.checking.steps import NAMES
from nncore.checking.trials import call, location, reseeder, seeded, set_weights
from nncore.checking.ways import way_forward, way_of
from nncore.foreign.probe import arrays

__all__ = ["check", "gives_labels_first", "rates"]


def check(result, net, chain, features, outputs, loss=None):
    """Judge a network's methods. chain: [(place, module)]; loss: replaces the network's own."""
    loss = getattr(net, "loss", None) if loss is None else loss
    work = ByHand(net, [m for _, m in chain], [p for p, _ in chain], loss, features, outputs)
    if callable(getattr(net, "forward", None)) and not _forward(result, work):
        if result.ok:
            result.unchecked = "its modules must run first"
        return
    if loss is None:
        return
    failure = work.find_movers()
    stepping = next((name for name in NAMES if callable(getattr(net, name, None))), None)
    if callable(getattr(net, "backward", None)) and stepping:
        if failure:
            result.unchecked = "its modules and its loss must run first"
            return
        if not _backward_and_step(result, work, stepping):
            return
    if (
        callable(getattr(net, "sgd", None))
        and not type(net).__module__.startswith("nncore.")
        and not _is_random(work)
    ):
        sgd.check(result, work)


def gives_labels_first(net, chain, loss, features, outputs):
    """Return whether net.sgd gives net.loss the labels first; loss: a wrapper that swaps them."""
    work = ByHand(net, [m for _, m in chain], [p for p, _ in chain], loss, features, outputs)
    if work.find_movers():
        return False
    work.loss = net.loss
    return sgd.labels_first(work)


def _is_random(work):
    """Return whether the outputs depend on the random generators, as with dropout."""
    with work.untouched():
        outputs = []
        for seed in (0, 1):
            seeded(seed)
            outputs.append(work.forward(work.X)[0])
    return not same(*outputs, 0)


# ------------------------------------------------------------------------------------------ forward


def _forward(result, work):
    """Return whether net.forward runs its modules' forward in order."""
    where, formula = location(work.net.forward), "for m in self.modules: A = m.forward(A)"
    with work.untouched():
        reset = reseeder(*work.chain)
        reset()
        A, failure = work.forward(work.X)
        if failure:
            return False
        reset()
        calls = work.record()
        given, failure = call(work.net.forward, work.X.copy())
    if failure is None and same(given, A):
        return True
    cause = "" if type(work.net).__module__.startswith("nncore.") else way_forward(work, calls)
    if failure:
        fault = raised(work.net, "forward", failure)
        fault.formula = formula
        if cause:
            fault.cause, fault.where = cause, where
        result.faults.append(fault)
    elif given is None:
        result.faults.append(
            Fault("forward", "gives None", cause or "its return is missing", formula, where)
        )
    else:
        if not cause:
            cause = (
                "it returns its input: each module's output must go into the next one"
                if same(given, work.X)
                else ("it must return the output of the last module")
            )
        result.faults.append(
            Fault(
                "forward", "is not its modules' forward, one after the other", cause, formula, where
            )
        )
    return False


# ---------------------------------------------------------------------------- backward and the step


def _backward_and_step(result, work, stepping):
    """Return whether net.backward and its step train every trainable module by lrate."""
    wanted = work.after([(slice(None), slice(None))])
    with work.untouched():
        start, reset, order = work.weights(), reseeder(*work.chain), list(map(id, work.net.modules))
        reset()
        work.forward_backward(work.X, work.Y)
        _clear_gradients(work.chain)  # exposes a backward that does nothing
        reset()
        has_forward = hasattr(work.net, "forward")
        A, _ = call(work.net.forward, work.X.copy()) if has_forward else work.forward(work.X)
        call(work.loss.forward, A, work.Y.copy())
        _, failed = call(work.net.backward, call(work.loss.backward)[0])
        turned = order != list(map(id, work.net.modules))
        calls = work.record()
        _, failure = (None, None) if failed else call(getattr(work.net, stepping), RATE)
        after = work.weights()
    if not turned and not failed and not failure and agree(after, wanted):
        return True
    fault = None if failure else _of_backward(work, failed, turned)
    result.faults.append(fault or _of_step(work, stepping, calls, failure, start, after))
    return False


def _clear_gradients(chain):
    """Zero the gradients that the modules keep."""
    for module in chain:
        names = [k for k in arrays(module) if k.startswith("dLd") and k.isidentifier()]
        set_weights(module, {k: np.zeros_like(getattr(module, k)) for k in names})


def _of_backward(work, failed, turned):
    """Return the Fault of net.backward, or None."""
    where, formula = (
        location(work.net.backward),
        "for m in self.modules[::-1]: delta = m.backward(delta)",
    )
    if failed and "NoneType" in str(failed.error) and ".reverse()" in failed.line:
        fault = raised(work.net, "backward", failed)
        fault.cause = (
            "reverse() reverses the list itself and returns None; loop over self.modules[::-1] "
            "or "
            "reversed(self.modules)"
        )
    elif turned and not failed:
        fault = Fault(
            "backward",
            "changes the order of self.modules",
            "reverse() reverses the list itself, so that the next pass goes the "
            "wrong way; self.modules[::-1] and reversed(self.modules) do not",
            where=where,
        )
    else:
        cause = _way_of_backward(work)
        if not failed and not cause:
            return None
        fault = (
            raised(work.net, "backward", failed)
            if failed
            else Fault(
                "backward", "does not pass the gradient back through the modules", where=where
            )
        )
        if cause:
            fault.cause, fault.where = cause, where
    fault.formula = formula
    return fault


def _way_of_backward(work):
    """Return the mistake in the order of net.backward, or "". The modules' backward return random
    arrays meanwhile.
    """
    with work.untouched():
        seeded()
        work.forward_backward(work.X, work.Y)
        rng, start = np.random.default_rng(11), call(work.loss.backward)[0]
        calls = work.record([rng.normal(size=np.shape(x)) for x in work.inputs])
        call(work.net.backward, start)
    return way_of(
        work,
        [c for c in calls if c.method == "backward" and c.index is not None],
        start,
        "backward",
    )


def _of_step(work, stepping, calls, failure, start, after):
    """Return the Fault of the network's step, or None."""
    if failure:
        return _step_failed(work, stepping, failure)
    left = sorted({i for i, k in work.trained if same(after.get((i, k)), start.get((i, k)), 0)})
    where, formula = (
        location(getattr(work.net, stepping)),
        "for m in self.modules: m.sgd_step(lrate)",
    )
    if left and all(work.movers[i] for i in left):
        called = [[c.method for c in calls if c.index == i] for i in left]
        names = " and ".join(f"{work.places[i]} ({type(work.chain[i]).__name__})" for i in left)
        mover = work.movers[left[0]]
        cause = f"{stepping} does not call its {mover}"
        if all(mover in c for c, mover in zip(called, (work.movers[i] for i in left), strict=True)):
            cause = "the network's backward does not reach it"
        elif called[0]:
            cause = (
                f"the network calls {called[0][0]}, which does nothing there; the update is called "
                f"{mover}: give both one name, or let one call the other"
            )
        return Fault(stepping, f"never trains {names}", cause, formula, where)
    cause = rates(work, calls, RATE, _doubled(work, stepping))
    return Fault(
        stepping if cause else "backward or " + stepping,
        "does not do what the modules' own do, called one after the other",
        cause,
        formula,
        where,
    )


def _step_failed(work, stepping, failure):
    """Return the Fault of a network's step that raised an exception."""
    fault = raised(work.net, stepping, failure)
    name, culprit = (failure.missing or ("", ""))[0], getattr(failure.error, "obj", None)
    if name in NAMES and culprit in work.chain:
        other = NAMES[1 - NAMES.index(name)]
        fault.cause = f"{type(culprit).__name__} has no {name}" + (
            f", but {other}: one name must serve in both"
            if hasattr(culprit, other)
            else (
                "; modules without weights need one that does nothing, which a base class may "
                "give them"
            )
        )
    elif isinstance(failure.error, TypeError) and "positional argument" in str(failure.error):
        fault.cause = "a module's step takes lrate: m.sgd_step(lrate)"
    return fault


def _doubled(work, stepping):
    """Return the calls of the network's step at twice RATE."""
    with work.untouched():
        seeded()
        work.forward_backward(work.X, work.Y)
        calls = work.record()
        call(getattr(work.net, stepping), 2 * RATE)
    return calls


def rates(work, calls, rate, doubled):
    """Return the mistake in the modules' learning rates, or "", given the calls at a rate and at
    twice that rate.
    """
    given, other = (
        [c.given[0] for c in some if c.method in NAMES and c.given and work.movers[c.index]]
        for some in (calls, doubled)
    )
    if given and given == other:
        return (
            f"lrate is ignored: the modules step by {given[0]:.4g}, whatever lrate is"
            if _is_number(given[0])
            else "lrate is ignored"
        )
    if given and all(_is_number(g) for g in given) and len(set(given)) == 1 and given[0] != rate:
        return (
            "it goes uphill: the sign of lrate is wrong"
            if given[0] == -rate
            else f"the modules step by {given[0] / rate:.4g} times lrate"
        )
    twice = [
        work.places[i]
        for i, mover in enumerate(work.movers)
        if mover and [c.index for c in calls if c.method == mover].count(i) > 1
    ]
    return f"it calls the step of {twice[0]} more than once" if twice else ""


def _is_number(x):
    return isinstance(x, (int, float, np.number))
