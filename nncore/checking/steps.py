"""The check of a module's gradients and step."""

import numpy as np

from nncore.checking.causes import likely_cause, same
from nncore.checking.findings import Fault, judge, raised
from nncore.checking.mistakes import WANTED
from nncore.checking.trials import attributes, call, copied, location, reseeder, set_weights
from nncore.foreign.probe import arrays, untouched

__all__ = ["NAMES", "RATE", "check", "run"]

NAMES = ("sgd_step", "step")
RATE = 0.125
# parts of method names that suggest a step
ALIKE = ("step", "sgd", "sdg", "stp", "update", "train", "descen")


def check(result, module, role, weights, trial, probes, wanted, in_network):
    """Judge gradients and update of the weights; adds to the result."""
    if wanted.own:  # forward is wrong; weights it does not use are not judged
        weights = {
            k: w for k, w in weights.items() if any(np.any(g[k][1]) for g in wanted.own.gradients)
        }
    names = [name for name in NAMES if callable(getattr(module, name, None))]
    runs = {name: run(module, name, role, weights, probes[1::-1]) for name in names}
    if not weights:
        result.faults += [raised(module, name, r[2]) for name, r in runs.items() if r[2]]
        return
    faults = {
        k: judge(
            role.gradient(k),
            role.key(k),
            [g[k] for g in trial.gradients],
            [g[k] for g in wanted.gradients],
            probes,
            module.backward,
            wanted.tolerance,
            wanted.own and [g[k] for g in wanted.own.gradients],
            role.keeps_outputs,
        )
        for k in weights
        if all(k in g for g in trial.gradients)
    }
    working = [
        name
        for name, (after, _, failure) in runs.items()
        if failure or any(not same(after[k], w, 0) for k, w in weights.items())
    ]
    if not working or runs[working[0]][2]:
        for fault in filter(None, faults.values()):
            _add_gradient(result, fault)
        if not working:
            result.faults.append(_never(module, role, names, weights, runs))
        elif not any(
            fault and (fault.shape is None or fault.shape != fault.wanted_shape)
            for fault in faults.values()
        ):
            # a gradient of the wrong shape, or None, explains the failure
            result.faults.append(raised(module, working[0], runs[working[0]][2], role.table))
        return
    name = working[0]
    after, own, _ = runs[name]
    for k, w in weights.items():
        fault, right = faults.get(k), _right_gradient(wanted, k)
        if fault and right is not None and same(after[k], w - RATE * right):
            result.remarks.append(
                f"{role.gradient(k)} {fault.message} ({fault.cause}), but {name} makes up for it"
                if fault.cause
                else f"{role.gradient(k)} {fault.message}, but {name} makes up for it"
            )
            continue
        if fault:
            _add_gradient(result, fault)
        known = isinstance(own[k], np.ndarray) and own[k].shape == w.shape
        gradient = own[k] if known else None if fault else right
        if gradient is not None:
            faults_of_step = _update(
                module, name, role, k, weights, after[k], gradient, probes, result
            )
            if not known:
                _explain(faults_of_step, module, name, role, k, weights, probes, wanted)
            _add(result, faults_of_step)
    idle = [name for name in names if name not in working]
    if idle and not in_network and not _owner(module, idle[0]).__module__.startswith("nncore."):
        result.faults.append(
            Fault(
                idle[0],
                "changes nothing: a network that calls it never trains this module",
                f"the update is called {name}, but {idle[0]}, inherited from "
                f"{_owner(module, idle[0]).__name__}, does "
                f"nothing; call the update {idle[0]}",
                where=location(getattr(module, name)),
            )
        )


def _add(result, faults):
    """Add the faults of an update; the faults of W and W0 make one sentence."""
    for fault in faults:
        first = next(
            (
                f
                for f in result.faults
                if (f.what, f.cause) == (fault.what, fault.cause) and f.cause
            ),
            None,
        )
        if first is None or " wrongly" not in fault.message:
            result.faults.append(fault)
        else:
            first.message = first.message.replace(
                " wrongly", f" and {fault.message.split()[1]} wrongly"
            )


def _add_gradient(result, fault):
    """Add the fault of a gradient; the same mistake in another gradient is mentioned in the first
    fault.
    """
    first = next(
        (
            f
            for f in result.faults
            if (f.cause, f.where) == (fault.cause, fault.where) and f.cause and f.what != fault.what
        ),
        None,
    )
    if first is None:
        result.faults.append(fault)
    else:
        first.message += f", {fault.what} likewise"


def _explain(faults, module, name, role, k, weights, probes, wanted):
    """Look for a known mistake in the gradient of a wrong update that keeps it under an unknown
    name.
    """
    right = [g[k] for g in wanted.gradients]
    if not faults or faults[0].cause or any(isinstance(g, tuple) for g in right):
        return
    gradients = []
    for i in range(len(probes)):
        after, _, failure = run(module, name, role, weights, probes[: i + 1])
        if failure or not isinstance(after.get(k), np.ndarray):
            return
        with np.errstate(all="ignore"):
            try:
                gradients.append((weights[k] - after[k]) / RATE)
            except ValueError:
                return
    cause = likely_cause(role.key(k), probes, gradients, right)
    if cause:
        faults[0].cause, faults[0].formula = (
            f"its gradient: {cause}",
            WANTED.get(role.key(k), faults[0].formula),
        )
        faults[0].where = location(module.backward)


def run(module, name, role, weights, passes, rate=RATE):
    """Make a step after a pass over each probe; state left over from one pass shows in the next.

    Return (attributes afterwards, the module's gradients before the step, Failure or None).
    """
    with untouched(module):
        set_weights(module, weights)
        _passes(module, passes)
        own = {k: copied(getattr(module, role.gradient(k), None)) for k in weights}
        _, failure = call(getattr(module, name), rate)
        after = {k: v.copy() for k, v in arrays(module).items()}
        after.update({k: copied(getattr(module, k, None)) for k in weights if k.isidentifier()})
    return after, own, failure


def _from_rest(module, name, role, k, weights, probes):
    """Return the change of a weight by a step that starts from zero state (such as a velocity);
    None if there is no state.
    """
    with untouched(module):
        set_weights(module, weights)
        _passes(module, probes[1::-1])
        before = {n: v.copy() for n, v in arrays(module).items()}
        call(getattr(module, name), RATE)
        after = arrays(module)
    kept = [
        n
        for n, v in before.items()
        if n not in weights and v.dtype.kind == "f" and not same(after.get(n), v, 0)
    ]
    if not kept:
        return None
    with untouched(module):
        set_weights(module, {**weights, **{n: np.zeros_like(before[n]) for n in kept}})
        _passes(module, probes[1::-1])
        call(getattr(module, name), RATE)
        after = arrays(module).get(k)
    return after - weights[k] if np.shape(after) == weights[k].shape else None


def _passes(module, probes):
    """Run forward and backward on each probe."""
    reset = reseeder(module)
    for probe in probes:
        reset()
        call(module.forward, probe.x.copy())
        call(module.backward, probe.g.copy())


def _right_gradient(wanted, k):
    """Return the correct gradient of a weight on the first probe, None if entries are unknown."""
    g = wanted.gradients[0][k]
    if not isinstance(g, tuple):
        return g
    index, values, shape = g
    return values.reshape(shape) if len(index) == np.prod(shape) else None


def _owner(module, name):
    """Return the class that defines a method."""
    return next((c for c in type(module).__mro__ if name in vars(c)), type(module))


def _never(module, role, names, weights, runs):
    """Return the Fault of a module whose weights no step changes."""
    name = next(
        (n for n in names if _owner(module, n) is type(module) or n in attributes(module)), None
    )
    message = "never changes the weights: the module never trains"
    if name is None:
        known = {*NAMES, "forward", "backward", "class_fun"}
        alike = [
            n
            for n in dir(type(module))
            if n not in known
            and not n.startswith("__")
            and any(part in n.lower() for part in ALIKE)
        ]
        inherited = (
            f", and the one inherited from {_owner(module, names[0]).__name__} does nothing"
            if names
            else ""
        )
        return Fault(
            "sgd_step",
            message,
            f"it has no sgd_step (or step) of its own{inherited}"
            + (f"; it has {alike[0]}: a misspelt name?" if alike else ""),
            "W = W - lrate * dLdW",
            location(getattr(module, alike[0])) if alike else "",
        )
    method, first = getattr(module, name), next(iter(weights))
    after, own, _ = runs[name]
    code = getattr(getattr(method, "__func__", method), "__code__", None)
    inner = code.co_varnames[code.co_argcount :] if code else ()
    cause = f"it assigns nothing to self.{first}"
    for k, w in weights.items():
        for other, v in after.items():
            if (
                other != k
                and isinstance(own[k], np.ndarray)
                and own[k].shape == w.shape
                and same(v, w - RATE * own[k])
            ):
                return Fault(
                    name,
                    message,
                    f"the new {k} is assigned to self.{other}; it must be self.{k}",
                    where=location(method),
                )
    for v in inner:
        if v.lower() in {k.lower() for k in weights}:
            cause = (
                f"it assigns a local variable {v}, which is lost when it returns; it must "
                f"assign self.{v}"
            )
            break
    else:
        if code is not None and not code.co_names:
            cause = "it does nothing yet"
    return Fault(
        name,
        message,
        cause,
        f"self.{first} = self.{first} - lrate * self.{role.gradient(first)}",
        location(method),
    )


def _update(module, name, role, k, weights, after, g, probes, result):
    """Return [Fault] of a weight's update, given the module's gradient g; [] for W - lrate g and
    for other descent steps.
    """
    w, b = weights[k], probes[0].b
    if same(after, w - RATE * g):
        return []
    gradient = f"self.{role.gradient(k)}" if k.isidentifier() else "its gradient"
    common = {
        "formula": f"self.{k} = self.{k} - lrate * {gradient}",
        "where": location(getattr(module, name)),
        "wanted_shape": w.shape,
        "shape": np.shape(after),
    }
    if not isinstance(after, np.ndarray) or after.shape != w.shape:
        return [
            Fault(
                name, f"turns {k} into shape {np.shape(after)}, must leave it {w.shape}", **common
            )
        ]
    moved, error = (
        after - w,
        float(np.max(np.abs(after - w + RATE * g)) / np.max(np.abs(w - RATE * g))),
    )
    for change, words in (
        (0 * g, f"{k} is forgotten: the step must update it too"),
        (RATE * g, "the gradient is added; it must be subtracted"),
        (-g, "lrate is forgotten"),
        (g, "lrate is forgotten, and the gradient is added, not subtracted"),
        (
            -RATE * g / b,
            "divided by the batch: the course steps along the gradient summed over the batch, not "
            "averaged",
        ),
        (-RATE * RATE * g, "lrate is multiplied twice"),
        (-g / RATE, "divided by lrate, not multiplied"),
        (-RATE * g - w, "the old weight is lost: the step must be subtracted from it"),
        (RATE * g - w - w, "the difference is the wrong way round"),
        (g - RATE * w - w, "the weight and its gradient are swapped"),
        (-RATE * w, "lrate multiplies the weight; it must multiply the gradient"),
    ):
        if same(moved, change, 1e-7):
            return [
                Fault(
                    name,
                    f"changes {k} wrongly" if np.any(change) else f"never changes {k}",
                    words,
                    error=error,
                    **common,
                )
            ]
    faster = run(module, name, role, weights, probes[1::-1], 2 * RATE)[0]
    if same(faster.get(k), after):
        return [
            Fault(
                name,
                f"changes {k} wrongly",
                "lrate is ignored: the step must be lrate times the gradient",
                error=error,
                **common,
            )
        ]
    decay = -np.vdot(w, moved + RATE * g) / np.vdot(w, w)
    if 0 < decay < 0.5 and same(moved + RATE * g, -decay * w, 1e-7):
        remark = f"{name} shrinks the weights too, as a weight decay or an l2 penalty does"
        result.remarks += [remark] if remark not in result.remarks else []
        return []
    rested = _from_rest(module, name, role, k, weights, probes)
    if np.all((moved if rested is None else rested) * g <= 1e-12):
        remark = (
            f"{name} goes downhill, but not by lrate times the gradient: another optimizer, "
            f"such as momentum?"
        )
        result.remarks += [remark] if remark not in result.remarks else []
        return []
    return [
        Fault(
            name,
            f"changes {k} by up to {np.max(np.abs(moved)):.3g}, but lrate * {role.gradient(k)} "
            f"goes up to {np.max(np.abs(RATE * g)):.3g}",
            error=error,
            **common,
        )
    ]
