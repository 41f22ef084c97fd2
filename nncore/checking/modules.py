"""The check of one module: its forward and backward, and (steps.py) its gradients and step."""

import re
from types import SimpleNamespace

import numpy as np

from nncore.checking import passes, roles, steps
from nncore.checking.causes import same
from nncore.checking.findings import Fault, Result, judge, raised
from nncore.checking.mistakes import BIAS_IN_DLDA, EITHER, WANTED
from nncore.checking.roles import ACTIVATIONS, OUTPUTS
from nncore.checking.trials import (
    call,
    location,
    seeded,
)
from nncore.foreign.probe import arrays, untouched

__all__ = ["check", "has_methods", "make"]

# parameters that are a fraction, not a size
SHARES = ("rate", "p", "pct", "dropout", "prob", "keep")


def has_methods(thing):
    """Return whether the object has forward and backward."""
    return callable(getattr(thing, "forward", None)) and callable(getattr(thing, "backward", None))


def make(cls, parameters, sizes):
    """Instantiate a class with small numbers; return (object, None) or (None, Fault)."""
    arguments = [
        0.25 if set(p.name.lower().split("_")) & set(SHARES) else size
        for p, size in zip(parameters, sizes, strict=False)
    ]
    seeded()
    made, failure = call(cls, *arguments)
    if failure is None:
        return made, None
    return None, Fault(
        "__init__",
        f"raised {failure} for {cls.__name__}({', '.join(map(str, arguments))})",
        where=failure.line,
    )


def check(module, place="", inputs=None, is_output=False, in_network=False, made=False):
    """Return (Result, facts for the network) of one module; the caller restores the
    module.

    inputs: its number of features, None to infer it from the weights; is_output: it is the last
    module, followed by a loss; made: instantiated here, by sizes. The second value has `role`,
    `outputs` (None if it does not run), whether forward keeps anything, and `backward_kind`:
    "identity" if an output unit's backward returns dL/dZ unchanged, "derivative" if it multiplies.
    """
    result = Result(place, type(module).__name__)
    known = SimpleNamespace(role=None, outputs=None, keeps=False, backward_kind="derivative")
    features = inputs or roles.features_of(module)
    role = roles.find(module, result, features)
    known.role = role.name
    if result.faults:
        # its weights do not fit each other, which causes all further failures
        return (result, known)
    weights = roles.weights_of(module, role, features)
    probes = passes.probes(module, role, weights, features)
    trial = passes.run(module, role, weights, probes)
    known.keeps = trial.keeps
    if "forward" in trial.failures:
        result.faults.append(_failed(module, "forward", trial, probes, role))
        return result, known
    if role.name is None and roles.name_of(module) is None:
        role.name = known.role = _by_behaviour(probes, trial, is_output)
    if np.ndim(trial.out[0]) == 2:
        known.outputs = len(trial.out[0])
        result.size = f"{features} -> {known.outputs}" if weights else ""
    _numbers(result, module, role, known, weights, trial, probes, is_output, in_network)
    if role.name == "SoftMax":
        _softmax_extras(result, module)
    if role.name == "ReLU" and result.ok:
        _relu_at_zero(result, module)
    if made and role.name == "Linear" and result.ok:
        _initial_weights(result, module, role)
    for fault in result.faults:
        fault.cause, fault.formula = role.worded(fault.cause), role.worded(fault.formula)
    return result, known


def _numbers(result, module, role, known, weights, trial, probes, is_output, in_network):
    """Judge forward, backward, the gradients and the step."""
    twin = passes.library_results(role, weights, probes, trial)
    _forward(result, module, role, trial, probes, twin)
    if (
        any(p.g is None for p in probes)
        or twin
        and any(np.shape(Z) != W.shape for Z, W in zip(trial.out, twin.out, strict=True))
    ):
        if "backward" in trial.failures:
            result.faults.append(_failed(module, "backward", trial, probes, role))
        return  # later failures may follow from the wrong shape
    wanted = twin or passes.numeric_results(module, role, weights, probes, trial)
    wanted.own = (
        passes.numeric_results(module, role, weights, probes, trial)
        if twin and result.faults and not trial.failures
        else None
    )
    _backward(result, module, role, known, trial, probes, wanted, is_output)
    if not trial.failures:
        steps.check(result, module, role, weights, trial, probes, wanted, in_network)
    if twin and role.name not in OUTPUTS and known.backward_kind == "derivative" and result.ok:
        _by_differences(result, module, role, weights, trial, probes[:1])


# --------------------------------------------------------------------------------------- what it is


def _by_behaviour(probes, trial, is_output):
    """Return the library's activation with the same outputs, or None."""
    for name in (*ACTIVATIONS, *OUTPUTS):
        twin = passes.activation(name, probes, trial)
        if all(same(twin.forward(p.x), Z) for p, Z in zip(probes, trial.out, strict=True)):
            return "OutputSigmoid" if name == "Sigmoid" and is_output else name
    return None


# ---------------------------------------------------------------------------- whether that is right


def _failed(module, method, trial, probes, role):
    """Report a method that raised an exception."""
    only = (
        " for a batch of several"
        if trial.at.b > 1 and probes[-1].b == 1 and _works_alone(module, method, probes[-1])
        else ""
    )
    only = only or (f" for one sample, though not for {probes[0].b}" if trial.at.b == 1 else "")
    fault = raised(
        module, method, trial.failures[method], role.table or roles.name_of(module), only
    )
    if only and trial.at.b > 1:
        fault.cause = "it works for one sample only, and must take a batch (n, b)"
    elif role.name == "Linear" and method == "backward" and _names_the_bias(role, fault.where):
        fault.cause = BIAS_IN_DLDA
        fault.formula = WANTED[f"{role.table}.dLdA"]
    elif method == "forward":
        with untouched(module):
            Z, failure = call(module.forward, trial.at.x.T.copy())
        if failure is None and np.shape(Z)[:1] == (trial.at.b,) and np.shape(Z) != (trial.at.b,):
            fault.cause = (
                "it takes samples as rows; the course's samples are columns: A is (m, b), Z is "
                "(n, b)"
            )
    return fault


def _names_the_bias(role, line):
    """Return whether a line of backward reads the bias, on which no gradient depends."""
    return any(
        re.search(rf"\bself\.{re.escape(k)}(?!\w)", line)
        for k, theirs in role.weights.items()
        if theirs == "W0"
    )


def _works_alone(module, method, probe):
    """Return whether the method accepts a single sample."""
    with untouched(module):
        Z, failure = call(module.forward, probe.x.copy())
        if failure is None and method == "backward":
            failure = call(module.backward, np.ones(np.shape(Z)))[1]
    return failure is None


def _forward(result, module, role, trial, probes, twin):
    """Judge the outputs of forward."""
    fault = judge(
        "forward", f"{role.table}.forward", trial.out, twin and twin.out, probes, module.forward
    )
    if fault:
        result.faults.append(fault)
    if "forward" in trial.wrote:
        result.faults.append(
            Fault(
                "forward",
                "changes its input",
                "it writes into the array that it is given (Z[...] = ..., or Z *= ...), "
                "which is the user's data, or what the module before has kept; it must make a new "
                "one",
                where=location(module.forward),
            )
        )


def _backward(result, module, role, known, trial, probes, wanted, is_output):
    """Judge the results of backward."""
    if "backward" in trial.failures:
        result.faults.append(_failed(module, "backward", trial, probes, role))
        return
    what = "dLdA" if role.name == "Linear" else "backward"
    through = role.name in (*OUTPUTS, "Sigmoid") and all(
        same(g, p.g) for g, p in zip(trial.back, probes, strict=True)
    )
    if through:
        known.backward_kind = "identity"
    own = wanted.own and wanted.own.back
    fault = judge(
        what,
        f"{role.table}.{what}",
        trial.back,
        wanted.back,
        probes,
        module.backward,
        wanted.tolerance,
        own,
        role.keeps_outputs,
    )
    if fault and role.name in OUTPUTS and _is_derivative(role.name, trial, probes):
        if not is_output:
            result.remarks.append(
                "backward multiplies by its own derivative, which is right with a loss whose "
                "backward gives dL/dYpred; "
                "the course's returns dLdZ unchanged, because its NLL gives dL/dZ"
            )
        fault = None
    elif fault and role.name == "Sigmoid" and through:
        if is_output:
            fault = None
        else:
            fault.cause += (
                " (only an output unit may return it unchanged, if the loss gives dL/dZ: call it "
                "OutputSigmoid)"
            )
    elif fault and role.name in OUTPUTS:
        known.backward_kind = "identity"  # as it should; the loss is judged accordingly
    if fault:
        if wanted.out is None:  # the right outputs are unknown
            fault.cause = fault.cause or EITHER
        result.faults.append(fault)
    if "backward" in trial.wrote:
        result.remarks.append(
            "backward changes the array that it is given; it should make a new one"
        )


def _by_differences(result, module, role, weights, trial, probes):
    """Compare results that agree with the library with finite differences of the module's own
    forward too, unless forward is random.
    """
    wanted = passes.numeric_results(module, role, weights, probes, trial)
    given = [("backward", trial.back[:1], wanted.back)]
    given += [
        (role.gradient(k), [g], [wanted.gradients[0][k]])
        for k, g in trial.gradients[0].items()
        if np.shape(g) == weights[k].shape
    ]
    for what, g, w in given:
        fault = judge(what, "", g, w, probes, module.backward, wanted.tolerance)
        if fault:
            fault.cause = (
                "it is not the derivative of what forward computes, by finite differences: does "
                "forward depend on more than its "
                "input?"
            )
            result.faults.append(fault)


def _is_derivative(role, trial, probes):
    """Return whether an output unit multiplied by its true derivative."""
    if role == "SoftMax":
        return all(
            same(g, p.A * (p.g - np.sum(p.A * p.g, axis=0)))
            for g, p in zip(trial.back, probes, strict=True)
        )
    return all(same(g, p.g * p.A * (1 - p.A)) for g, p in zip(trial.back, probes, strict=True))


def _softmax_extras(result, module):
    """Check a softmax on large logits, and its class_fun."""
    if result.ok:
        with untouched(module):
            A, failure = call(module.forward, np.array([[1000.0], [-1000.0], [0.0]]))
        if failure or not np.isfinite(np.asarray(A, dtype=np.float64)).all():
            result.remarks.append(
                "unstable softmax: np.exp overflows for logits above 709, and then every weight "
                "becomes NaN; subtract "
                "the largest entry of each column first, np.exp(Z - np.max(Z, axis=0))"
            )
    if callable(getattr(module, "class_fun", None)):
        _class_fun(result, module)


def _class_fun(result, module):
    """Check class_fun."""
    rng = np.random.default_rng(3)
    probes, given = [], []
    with untouched(module):
        for n, b in ((3, 4), (3, 4), (4, 1)):
            seen, _ = call(module.forward, rng.normal(size=(n, b)))
            P = rng.permuted(np.tile(np.linspace(0.05, 0.6, n)[:, None], b), axis=0)
            C, failure = call(module.class_fun, P.copy())
            if failure:
                result.faults.append(raised(module, "class_fun", failure, "SoftMax"))
                return
            probes.append(SimpleNamespace(Ypred=P, b=b, seen=np.asarray(seen)))
            given.append(C)
    wanted = [np.argmax(p.Ypred, axis=0) for p in probes]
    where, formula = location(module.class_fun), WANTED["SoftMax.class_fun"]
    if all(isinstance(g, (list, tuple)) for g in given) and all(
        same(g, w, 0) for g, w in zip(given, wanted, strict=True)
    ):
        result.faults.append(
            Fault(
                "class_fun",
                f"gives a {type(given[0]).__name__}, must give an array",
                "== compares lists as a whole, so every accuracy is 0 or 1",
                formula,
                where,
            )
        )
        return
    fault = judge("class_fun", "SoftMax.class_fun", given, wanted, probes, module.class_fun)
    if fault and all(
        isinstance(g, np.ndarray) and same(g.ravel(), w, 0)
        for g, w in zip(given, wanted, strict=True)
    ):
        result.remarks.append(
            f"class_fun gives an array {given[0].shape}; the course's has one axis, "
            f"{wanted[0].shape}"
        )
    elif fault:
        if fault.shape == fault.wanted_shape and fault.shape is not None:
            fault.message = "gives other classes than the largest entries of Ypred"
        result.faults.append(fault)


def _relu_at_zero(result, module):
    """Note a derivative at exactly 0 that differs from the course's."""
    with untouched(module):
        call(module.forward, np.zeros((1, 1)))
        back, failure = call(module.backward, np.ones((1, 1)))
    if failure is None and np.any(np.asarray(back) != 0):
        result.remarks.append("its derivative at exactly 0 is not 0, as the course's is")


def _initial_weights(result, module, role):
    """Report initial weights that are all equal."""
    name = next(k for k, theirs in role.weights.items() if theirs == "W")
    W = arrays(module)[name]
    if not np.any(W) or np.ptp(W) == 0:
        result.faults.append(
            Fault(
                "__init__",
                f"makes all entries of {name} equal",
                "all units of the layer then stay equal forever; W must be random",
                "W = np.random.normal(0, m**-.5, (m, n))",
                location(module.__init__),
            )
        )
