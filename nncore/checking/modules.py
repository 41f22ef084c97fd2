"""One module: its forward, what its backward returns, and (steps.py) its gradients and step."""

from types import SimpleNamespace

import numpy as np

from nncore import reference
from nncore._probe import arrays, untouched
from nncore.checking import steps
from nncore.checking.findings import Fault, Result, judge, raised
from nncore.checking.mistakes import EITHER, TOLERANCE, WANTED, same
from nncore.checking.trials import attributes, call, copied, differences, location, reseeder, seeded, set_weights

__all__ = ["check", "features_of", "has_methods", "make", "role_by_name"]

BATCH = 3  # samples in a batch of several; more where a layer has as many inputs or outputs, so that the shapes differ
ACTIVATIONS = ("Tanh", "ReLU", "Sigmoid")
OUTPUTS = ("SoftMax", "OutputSigmoid")

# What a class's name, without "my", "layer" and the like, says that it is for.
NAMES = {"linear": "Linear", "dense": "Linear", "affine": "Linear", "fullyconnected": "Linear", "fc": "Linear", "tanh": "Tanh",
         "relu": "ReLU", "sigmoid": "Sigmoid", "logistic": "Sigmoid", "softmax": "SoftMax", "outputsigmoid": "OutputSigmoid",
         "sigmoidoutput": "OutputSigmoid", "nll": "NLL", "nllm": "NLL", "negativeloglikelihood": "NLL", "crossentropy": "NLL",
         "binarynll": "BinaryNLL", "bce": "BinaryNLL", "binarycrossentropy": "BinaryNLL", "hinge": "Hinge"}
SHARES = ("rate", "p", "pct", "dropout", "prob", "keep")  # parameters that are a share of one, not a size


def has_methods(thing):
    """True for anything with forward and backward."""
    return callable(getattr(thing, "forward", None)) and callable(getattr(thing, "backward", None))


def role_by_name(thing):
    """The library's class that does the job that the class's name tells of, or None."""
    name = "".join(c for c in type(thing).__name__.lower() if c.isalnum()).rstrip("0123456789")
    for start in ("my", "custom"):
        name = name.removeprefix(start)
    for end in ("layer", "module", "activation", "unit", "loss", "function"):
        name = name.removesuffix(end)
    return NAMES.get(name)


def make(cls, parameters, sizes):
    """(object, None) or (None, Fault) of a class given small numbers."""
    arguments = [0.25 if set(p.name.lower().split("_")) & set(SHARES) else size for p, size in zip(parameters, sizes, strict=False)]
    seeded()
    made, failure = call(cls, *arguments)
    if failure is None:
        return made, None
    return None, Fault("__init__", f"raised {failure} for {cls.__name__}({', '.join(map(str, arguments))})", where=failure.line)


def check(module, place="", inputs=None, is_output=False, in_network=False, made=False):
    """(Result, what a network must know of it) of one module; the caller restores it.

    inputs: its features, None where its weights must tell; is_output: it stands last, before a loss; made: from a class, by sizes.
    Known are its role, its number of outputs (None where it does not run), whether forward keeps anything, and, of an output unit,
    whether its backward hands dL/dZ "through" or multiplies by its "derivative".
    """
    result = Result(place, type(module).__name__)
    known = SimpleNamespace(role=role_by_name(module), outputs=None, keeps=False, hands="derivative")
    features = inputs or features_of(module)
    role, known.role = known.role, _role(module, result, features)
    if result.faults:
        return result, known  # its weights do not fit each other, and everything else follows from that
    weights = _weights(module, known.role, features)
    probes = _probes(module, weights, features)
    trial = _run(module, weights, probes)
    known.keeps = trial.keeps
    if "forward" in trial.failures:
        result.faults.append(_failed(module, "forward", trial, probes, role))
        return result, known
    if known.role is None and role is None:
        known.role = _by_behaviour(probes, trial, is_output)
    if np.ndim(trial.out[0]) == 2:
        known.outputs = len(trial.out[0])
        result.size = f"{features} -> {known.outputs}" if weights else ""
    twin = _twin(known.role, weights, probes)
    _forward(result, module, known.role, trial, probes, twin)
    wanted = twin or _numeric(module, weights, probes, trial) if all(p.g is not None for p in probes) else None
    _backward(result, module, known, trial, probes, wanted, is_output)
    if not trial.failures and wanted is not None:
        steps.check(result, module, known.role, weights, trial, probes, wanted, in_network)
    if twin and known.role not in OUTPUTS and known.hands == "derivative" and result.ok:
        _by_differences(result, module, weights, trial, probes[:1])
    if known.role == "SoftMax":
        _softmax_extras(result, module)
    if known.role == "ReLU" and result.ok:
        _relu_at_zero(result, module)
    if made and known.role == "Linear" and result.ok:
        _initial_weights(result, module)
    return result, known


# ---------------------------------------------------------------------------------------------- what it is


def features_of(module):
    """The number of inputs that a module takes, by its weights and by trying."""
    matrices = [v for v in arrays(module).values() if v.ndim == 2]
    W = getattr(module, "W", None)
    likely = list(np.shape(W)) if np.ndim(W) == 2 else []
    likely += [m for m in (getattr(module, "m", None),) if isinstance(m, int)] + [len(v) for v in matrices] + [4]
    for m in likely:
        with untouched(module):
            if m > 0 and call(module.forward, np.ones((m, BATCH)))[1] is None:
                return m
    return likely[0] or 4


def _role(module, result, features):
    """The role that the name tells and the weights allow; notes what is wrong with the weights of a Linear."""
    role, W, W0 = role_by_name(module), getattr(module, "W", None), getattr(module, "W0", None)
    is_matrix = isinstance(W, np.ndarray) and W.ndim == 2
    if role is None and is_matrix and W.shape[0] == features and np.shape(W0) == (W.shape[1], 1):
        with untouched(module):
            bare, failure = call(module.forward, np.ones((features, BATCH)))
        return "Linear" if failure is None and same(bare, W.T @ np.ones((features, BATCH)) + W0) else None
    if role != "Linear":
        return role
    where = location(getattr(module, "__init__", None))
    if not is_matrix:
        return None
    if W.shape[0] != features:
        if W.shape[1] == features:
            result.remarks.append(f"W has shape {W.shape}, outputs first; the course's has the inputs first, (m, n)")
        return None
    if not isinstance(W0, np.ndarray):
        if not any(isinstance(v, np.ndarray) and v.size == W.shape[1] for k, v in attributes(module).items() if k != "W"):
            result.faults.append(Fault("W0", "is not there", "the bias is missing: keep W0 of shape (n, 1), which forward adds",
                                       WANTED["Linear.forward"], where, wanted_shape=(W.shape[1], 1)))
        return None
    if W0.shape != (W.shape[1], 1):
        result.faults.append(Fault("W0", f"has shape {W0.shape}, must be ({W.shape[1]}, 1)",
                                   "the bias must be a column, so that it is added to every sample of (n, b)", "W0 = np.zeros((n, 1))",
                                   where, shape=W0.shape, wanted_shape=(W.shape[1], 1)))
        return None
    return role


def _weights(module, role, features):
    """{name: random values} of the weights: arrays that forward depends on, and that have a gradient or are changed by a step."""
    rng = np.random.default_rng(1)
    if role == "Linear":
        return {k: rng.normal(size=getattr(module, k).shape) for k in ("W", "W0")}
    # arrays of lists and dictionaries are probed in their own memory, which must hold what is written there
    held = {k: v.copy() for k, v in arrays(module).items() if v.size and v.dtype.kind in "fiu" and (k.isidentifier() or v.dtype == float)}
    if not held:
        return {}
    x = rng.normal(size=(features, BATCH + 1))
    with untouched(module):
        seeded()
        Z, failure = call(module.forward, x.copy())
        if failure or not isinstance(Z, np.ndarray):
            return {}
        call(module.backward, rng.normal(size=Z.shape))
        learns = {k for k in held if isinstance(getattr(module, "dLd" + k, None), np.ndarray)}
        for name in steps.NAMES:
            call(getattr(module, name, len), 0.1)
        after = arrays(module)
        learns |= {k for k, v in held.items() if not same(after.get(k), v, 0)}
    weights = {}
    for k in sorted(learns, key=list(held).index):
        moved = held[k] + 0.2 * rng.normal(size=held[k].shape)  # near what they are: some must stay positive
        with untouched(module):
            set_weights(module, {k: moved})
            seeded()
            other, failure = call(module.forward, x.copy())
        if failure is None and not same(other, Z):
            weights[k] = moved
    return weights


def _by_behaviour(probes, trial, is_output):
    """The library's activation that gives the same outputs, or None."""
    for name in (*ACTIVATIONS, "SoftMax"):
        twin = getattr(reference, name)()
        if all(same(twin.forward(p.x), Z) for p, Z in zip(probes, trial.out, strict=True)):
            return "OutputSigmoid" if name == "Sigmoid" and is_output else name
    return None


# ---------------------------------------------------------------------------------------------- what it does


def _probes(module, weights, features):
    """Inputs away from kinks: two batches of several, so that what is left over from the first shows, then single samples."""
    rng = np.random.default_rng(2)
    sizes = {features, *(s for w in weights.values() for s in w.shape)}
    b = next(b for b in range(BATCH, BATCH + 9) if b not in sizes)
    probes = [SimpleNamespace(x=rng.uniform(0.2, 1.6, (features, batch)) * rng.choice([-1, 1], (features, batch)), b=batch, g=None)
              for batch in (b, b, 1, 1)]
    if role_by_name(module) is not None:
        return probes
    with untouched(module):
        set_weights(module, weights)
        reset = reseeder(module)
        reset()
        several, failure = call(module.forward, probes[0].x.copy())
        reset()
        single, other = call(module.forward, probes[0].x[:, :1].copy())
    if failure is None and (other is not None or not same(np.asarray(several)[..., :1], single, 1e-6)):
        return probes[:2]  # the samples of a batch depend on each other, as in BatchNorm, where one alone says nothing
    return probes


def upstream(shape, seed):
    """A dL/dOutput with entries of both signs, none near 0."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.3, 1.5, shape) * rng.choice([-1, 1], shape)


def _run(module, weights, probes):
    """Forward and backward on one probe after the other, without a step: what came back and was set, what was changed, what failed."""
    trial = SimpleNamespace(out=[], back=[], gradients=[], wrote=set(), failures={}, at=None, keeps=False)
    with untouched(module):
        set_weights(module, weights)
        reset = reseeder(module)
        for seed, p in enumerate(probes):
            x, before = p.x.copy(), dict(attributes(module))
            reset()
            Z, failure = call(module.forward, x)
            trial.keeps |= any(before.get(k) is not v for k, v in attributes(module).items())
            if failure:
                trial.failures["forward"], trial.at = failure, p
                return trial
            if not same(x, p.x, 0):
                trial.wrote.add("forward")
            trial.out.append(copied(Z))
            if not isinstance(Z, np.ndarray) or "backward" in trial.failures:
                continue
            p.g = upstream(Z.shape, seed)
            g = p.g.copy()
            back, failure = call(module.backward, g)
            if failure:
                trial.failures["backward"], trial.at = failure, p
                continue
            if not same(g, p.g, 0):
                trial.wrote.add("backward")
            trial.back.append(copied(back))
            trial.gradients.append({k: copied(getattr(module, "dLd" + k)) for k in weights if hasattr(module, "dLd" + k)})
    return trial


def _twin(role, weights, probes):
    """What the library's module of that role gives on the probes; None where there is none. Names the probes' arrays on the way."""
    if role not in (*ACTIVATIONS, *OUTPUTS, "Linear"):
        return None
    twin = reference.Linear(*weights["W"].shape) if role == "Linear" else getattr(reference, role)()
    set_weights(twin, weights)
    wanted = SimpleNamespace(out=[], back=[], gradients=[], tolerance=TOLERANCE)
    for p in probes:
        Z = twin.forward(p.x)
        g = p.g if np.shape(p.g) == Z.shape else upstream(Z.shape, 0)
        wanted.out.append(Z)
        wanted.back.append(np.array(twin.backward(g)))
        wanted.gradients.append({k: np.array(getattr(twin, "dLd" + k)) for k in weights})
        # the names that the course gives them, in which the mistakes are written
        if role == "Linear":
            p.A, p.Z, p.dLdZ, p.W, p.W0 = p.x, Z, g, weights["W"], weights["W0"]
        else:
            p.Z, p.A, p.dLdA, p.dLdZ = p.x, Z, g, g
    return wanted


def _numeric(module, weights, probes, trial):
    """Finite differences of sum(g * forward(x)), in the place of a twin."""
    single = any(Z.dtype == np.float32 for Z in trial.out)
    step, tolerance = (1e-2, 2e-2) if single else (1e-5, 1e-6)
    wanted = SimpleNamespace(out=None, back=[], gradients=[], tolerance=tolerance)
    with untouched(module) as snapshot:
        for p in probes:
            x, moved = p.x.copy(), {k: w.copy() for k, w in weights.items()}

            def value(p=p, x=x, moved=moved):
                snapshot.restore()  # it may count its calls or keep running means
                set_weights(module, moved)
                seeded()
                Z, failure = call(module.forward, x.copy())
                return np.nan if failure else float(np.sum(p.g * Z, dtype=np.float64))

            wanted.back.append(differences(value, x, step))
            wanted.gradients.append({k: differences(value, w, step) for k, w in moved.items()})
    return wanted


# ---------------------------------------------------------------------------------------------- whether that is right


def _failed(module, method, trial, probes, role):
    only = " for a batch of several" if trial.at.b > 1 and probes[-1].b == 1 and _works_alone(module, method, probes[-1]) else ""
    only = only or (f" for one sample, though not for {probes[0].b}" if trial.at.b == 1 else "")
    fault = raised(module, method, trial.failures[method], role, only)
    if only and trial.at.b > 1:
        fault.cause = "it works for one sample only, and must take a batch (n, b)"
    elif method == "forward":
        with untouched(module):
            Z, failure = call(module.forward, trial.at.x.T.copy())
        if failure is None and np.shape(Z)[:1] == (trial.at.b,) and np.shape(Z) != (trial.at.b,):
            fault.cause = "it takes samples as rows; the course's samples are columns: A is (m, b), Z is (n, b)"
    return fault


def _works_alone(module, method, probe):
    """True where one sample goes through that method."""
    with untouched(module):
        Z, failure = call(module.forward, probe.x.copy())
        if failure is None and method == "backward":
            failure = call(module.backward, np.ones(np.shape(Z)))[1]
    return failure is None


def _forward(result, module, role, trial, probes, twin):
    """Judge what forward gave."""
    fault = judge("forward", f"{role}.forward", trial.out, twin and twin.out, probes, module.forward)
    if fault:
        result.faults.append(fault)
    if "forward" in trial.wrote:
        result.faults.append(Fault("forward", "changes its input", "it writes into the array that it is given (Z[...] = ..., or Z *= ...), "
                                   "which is the user's data, or what the module before has kept; it must make a new one",
                                   where=location(module.forward)))


def _backward(result, module, known, trial, probes, wanted, is_output):
    """Judge what backward returned."""
    if "backward" in trial.failures:
        result.faults.append(_failed(module, "backward", trial, probes, known.role))
        return
    if wanted is None:
        return
    what = "dLdA" if known.role == "Linear" else "backward"
    through = known.role in (*OUTPUTS, "Sigmoid") and all(same(g, p.g) for g, p in zip(trial.back, probes, strict=True))
    if through:
        known.hands = "through"
    fault = judge(what, f"{known.role}.{what}", trial.back, wanted.back, probes, module.backward, wanted.tolerance)
    if fault and known.role in OUTPUTS and _is_derivative(known.role, trial, probes):
        if not is_output:
            result.remarks.append("backward multiplies by its own derivative, which is right beside a loss whose backward gives dL/dYpred; "
                                  "the course's hands dLdZ through, because its NLL gives dL/dZ")
        fault = None
    elif fault and known.role == "Sigmoid" and through:
        if is_output:
            fault = None
        else:
            fault.cause += " (only an output unit may hand it through, when the loss gives dL/dZ: call it OutputSigmoid)"
    elif fault and known.role in OUTPUTS:
        known.hands = "through"  # as it should: the loss is judged by that
    if fault:
        if wanted.out is None:  # nobody knows what forward should be
            fault.cause = fault.cause or EITHER
        result.faults.append(fault)
    if "backward" in trial.wrote:
        result.remarks.append("backward changes the array that it is given; it should make a new one")


def _by_differences(result, module, weights, trial, probes):
    """What agrees with the library must agree with the module's own forward too, unless that does something else at every call."""
    wanted = _numeric(module, weights, probes, trial)
    given = [("backward", trial.back[:1], wanted.back)]
    given += [("dLd" + k, [g], [wanted.gradients[0][k]]) for k, g in trial.gradients[0].items() if np.shape(g) == weights[k].shape]
    for what, g, w in given:
        fault = judge(what, "", g, w, probes, module.backward, wanted.tolerance)
        if fault:
            fault.cause = ("it is not the derivative of what forward computes, by finite differences: does forward depend on more than its "
                           "input?")
            result.faults.append(fault)


def _is_derivative(role, trial, probes):
    """True where an output unit multiplied by its true derivative."""
    if role == "SoftMax":
        return all(same(g, p.A * (p.g - np.sum(p.A * p.g, axis=0))) for g, p in zip(trial.back, probes, strict=True))
    return all(same(g, p.g * p.A * (1 - p.A)) for g, p in zip(trial.back, probes, strict=True))


def _softmax_extras(result, module):
    """Large logits, and the classes."""
    if result.ok:
        with untouched(module):
            A, failure = call(module.forward, np.array([[1000.0], [-1000.0], [0.0]]))
        if failure or not np.isfinite(np.asarray(A, dtype=np.float64)).all():
            result.remarks.append("unstable softmax: np.exp overflows for logits above 709, and then every weight becomes NaN; subtract "
                                  "the largest entry of each column first, np.exp(Z - np.max(Z, axis=0))")
    if callable(getattr(module, "class_fun", None)):
        _class_fun(result, module)


def _class_fun(result, module):
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
    if all(isinstance(g, (list, tuple)) for g in given) and all(same(g, w, 0) for g, w in zip(given, wanted, strict=True)):
        result.faults.append(Fault("class_fun", f"gives a {type(given[0]).__name__}, must give an array", "== compares lists as a whole, "
                                   "so that every accuracy is 0 or 1", formula, where))
        return
    fault = judge("class_fun", "SoftMax.class_fun", given, wanted, probes, module.class_fun)
    if fault and all(isinstance(g, np.ndarray) and same(g.ravel(), w, 0) for g, w in zip(given, wanted, strict=True)):
        result.remarks.append(f"class_fun gives an array {given[0].shape}; the course's has one axis, {wanted[0].shape}")
    elif fault:
        if fault.shape == fault.wanted_shape and fault.shape is not None:
            fault.message = "gives other classes than the largest entries of Ypred"
        result.faults.append(fault)


def _relu_at_zero(result, module):
    with untouched(module):
        call(module.forward, np.zeros((1, 1)))
        back, failure = call(module.backward, np.ones((1, 1)))
    if failure is None and np.any(np.asarray(back) != 0):
        result.remarks.append("its derivative at exactly 0 is not 0, as the course's is")


def _initial_weights(result, module):
    W = module.W
    if not np.any(W) or np.ptp(W) == 0:
        result.faults.append(Fault("__init__", "makes all entries of W equal", "all units of the layer then stay equal for ever; W must be "
                                   "random", "W = np.random.normal(0, m**-.5, (m, n))", location(module.__init__)))
