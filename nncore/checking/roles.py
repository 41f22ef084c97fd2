"""Find a module's role: the library's class with the same job, and which arrays are the weights."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np

from nncore import registry
from nncore.checking import steps
from nncore.checking.causes import likely_cause, same
from nncore.checking.findings import Fault
from nncore.checking.mistakes import WANTED
from nncore.checking.trials import attributes, call, location, seeded, set_weights
from nncore.foreign.probe import arrays, untouched

__all__ = [
    "ACTIVATIONS",
    "BATCH",
    "OUTPUTS",
    "Role",
    "features_of",
    "find",
    "name_of",
    "spread",
    "statistics",
    "weights_of",
]

# Batch size; larger if a layer has as many inputs or outputs, so that shapes differ.
BATCH = 3
# Scale of a BatchNorm's inputs: large enough to hide any eps in use, on the variance or its root.
SPREAD = 3e4
ACTIVATIONS = tuple(a.cls.__name__ for a in registry.ACTIVATIONS.values() if not a.is_output)
OUTPUTS = tuple(a.cls.__name__ for a in registry.ACTIVATIONS.values() if a.is_output)

# What a class's name means, without "my", "layer" and the like.
NAMES = {
    alias: cls.__name__
    for records in (registry.MODULES, registry.LOSSES)
    for cls, record in records.items()
    for alias in record.aliases
}
_KEEP_OUTPUTS = {
    a.cls.__name__ for a in registry.ACTIVATIONS.values() if a.keeps_output and not a.is_output
}
# Usual names of weights in lower case, the likeliest first.
CALLED = {
    "W": ("w", "weights", "weight", "theta", "kernel"),
    "W0": ("w0", "b", "bias", "biases", "w_0", "b0", "offset", "theta0"),
    "G": ("g", "gamma", "gammas", "scale", "weight", "weights", "w"),
    "B": ("b", "beta", "betas", "shift", "offset", "bias"),
}
# Prefixes and suffixes that turn the name of a weight into that of its gradient.
GRADIENTS = (
    ("dld", ""),
    ("d", ""),
    ("grad", ""),
    ("", "grad"),
    ("g", ""),
    ("gradient", ""),
    ("", "gradient"),
    ("dl", ""),
    ("delta", ""),
    ("dj", ""),
    ("dc", ""),
    ("dloss", ""),
    ("dlossd", ""),
)


@dataclasses.dataclass
class Role:
    """The job of a module.

    name: of the library's class, None if finite differences alone judge the module; weights: {its
    own name: the library's}, "W" and "W0" of a Linear, "G" and "B" of a BatchNorm; outputs_first: W
    is (n, m); shapes: {its own name: shape}; gradients: {its own name: the attribute with its
    gradient}, as far as known.
    """

    name: str | None
    weights: dict = dataclasses.field(default_factory=dict)
    outputs_first: bool = False
    shapes: dict = dataclasses.field(default_factory=dict)
    gradients: dict = dataclasses.field(default_factory=dict)

    @property
    def table(self):
        """The name under which the tables of mistakes list its formulas."""
        return "LinearOutputsFirst" if self.outputs_first else self.name

    @property
    def keeps_outputs(self):
        """Whether backward uses forward's results, so that a wrong forward makes it wrong."""
        return self.name == "BatchNorm" or self.name in _KEEP_OUTPUTS

    def key(self, k):
        """Return the key of a weight's gradient in TABLES and WANTED."""
        return f"{self.table}.dLd{self.weights.get(k, k)}"

    def to_library(self, k, w):
        """Return a weight in the library's shape."""
        if self.weights[k] == "W":
            return w.T if self.outputs_first else w
        return w.reshape(-1, 1)

    def to_own(self, k, w):
        """Return a weight, or its gradient, in the module's own shape."""
        if self.weights[k] == "W":
            return w.T if self.outputs_first else w
        return w.reshape(self.shapes[k])

    def gradient(self, k):
        """Return the attribute with a weight's gradient, as far as known; else the course's name
        for it.
        """
        return self.gradients.get(k, "dLd" + k)

    def look_for_gradients(self, module, weights):
        """Find the attributes that hold the weights' gradients by their names, after a backward."""
        there = {_squashed(name): name for name, v in attributes(module).items() if not callable(v)}
        for k in weights:
            also = CALLED.get(self.weights.get(k), ())
            names = (
                f"{before}{name}{after}"
                for name in dict.fromkeys(map(_squashed, (k, *also)))
                for before, after in GRADIENTS
            )
            found = next((there[name] for name in names if name in there), None)
            if found is not None:
                self.gradients.setdefault(k, found)

    def worded(self, text):
        """Replace the library's names in a text by the module's own."""
        own = {theirs: f"self.{mine}" for mine, theirs in self.weights.items() if mine != theirs}
        own.update(
            {
                "dLd" + theirs: f"self.{self.gradients[mine]}"
                for mine, theirs in self.weights.items()
                if self.gradients.get(mine, "dLd" + theirs) != "dLd" + theirs
            }
        )
        return (
            re.sub(
                r"(?<!\.)\b(?:dLd)?(?:W0|W|G|B)\b", lambda found: own.get(found[0], found[0]), text
            )
            if own
            else text
        )


def _squashed(name):
    """Return a class's name in lower case, without underscores."""
    return name.lower().replace("_", "")


def name_of(thing):
    """Return the library's class that the object's class name suggests, or None."""
    name = "".join(c for c in type(thing).__name__.lower() if c.isalnum()).rstrip("0123456789")
    for start in ("my", "custom"):
        name = name.removeprefix(start)
    for end in ("layer", "module", "activation", "unit", "loss", "function"):
        name = name.removesuffix(end)
    return NAMES.get(name)


def features_of(module):
    """Return the number of inputs of a module: the one with which it is a Linear, else the
    likeliest one with which it runs.
    """
    for m in dict.fromkeys(size for v in _held(module).values() if v.ndim == 2 for size in v.shape):
        if _linear_by_behaviour(module, m):
            return m
    scale = (
        _called("G", _held(module), lambda v: v.size == max(v.shape))
        if name_of(module) == "BatchNorm"
        else None
    )
    if scale is not None:
        return arrays(module)[scale].size
    matrices = [v for v in arrays(module).values() if v.ndim == 2]
    W = getattr(module, "W", None)
    likely = list(np.shape(W)) if np.ndim(W) == 2 else []
    likely += [m for m in (getattr(module, "m", None),) if isinstance(m, int)] + [
        len(v) for v in matrices
    ]
    likely += [size for v in arrays(module).values() for size in v.shape] + [4]
    for m in likely:
        with untouched(module):
            if m > 0 and call(module.forward, np.ones((m, BATCH)))[1] is None:
                return m
    return likely[0] or 4


def find(module, result, features):
    """Return the Role of a module; adds faults and remarks about a Linear's weights to
    its Result.
    """
    name = name_of(module)
    role = None
    if name in (None, "Linear"):
        role = _linear_by_behaviour(module, features) or (
            name and _linear_by_name(module, result, features)
        )
        if role and role.outputs_first:
            W = next(k for k, v in role.weights.items() if v == "W")
            result.remarks.append(
                f"{W} has shape {role.shapes[W]}, outputs first; the course's has the inputs "
                "first, (m, n)"
            )
    if role is None and name in (None, "BatchNorm"):
        role = _batchnorm(module, result, features, name)
    return role or Role(None if name in ("Linear", "BatchNorm") else name)


# -------------------------------------------------------------------------- the weights of a Linear


def _held(module):
    """Return {name: array} of the arrays that may be weights, likely names first."""
    held = {
        k: v
        for k, v in arrays(module).items()
        if v.size and v.dtype.kind in "fiu" and (k.isidentifier() or v.dtype == np.float64)
    }
    known = [name for names in CALLED.values() for name in names]
    return dict(sorted(held.items(), key=lambda item: _last_part(item[0]) not in known))


def _last_part(name):
    """Return the last name in "params['b']" or "layers[0].w", in lower case."""
    return (re.findall(r"\w+", name) or [""])[-1].lower()


def _is_bias(v, n):
    return v.shape in ((n, 1), (n,), (1, n))


def _agreements(module, W, W0, outputs_first):
    """Return whether forward, dLdA and the step are those of a Linear with these weights; None for
    one that failed.
    """
    rng = np.random.default_rng(9)
    held = arrays(module)
    w, w0 = rng.normal(size=held[W].shape), rng.normal(size=held[W0].shape)
    inputs_first = w.T if outputs_first else w
    m, n = inputs_first.shape
    b = next(b for b in range(2, 9) if b not in (m, n))
    x, g = rng.normal(size=(m, b)), rng.normal(size=(n, b))
    with untouched(module):
        set_weights(module, {W: w, W0: w0})
        seeded()
        Z, failure = call(module.forward, x.copy())
        if failure:
            return None, None, None
        back, failure = call(module.backward, g.copy())
        stepped = None if failure else _stepped(module, W)
    gradient = g @ x.T if outputs_first else x @ g.T
    return (
        same(Z, inputs_first.T @ x + w0.reshape(-1, 1)),
        None if failure else same(back, inputs_first @ g),
        None if stepped is None else same(stepped, w - steps.RATE * gradient, 1e-7),
    )


def _stepped(module, W):
    """Return the weight after the first step that changes it; None if none does."""
    before = arrays(module)[W].copy()
    for name in steps.NAMES:
        call(getattr(module, name, len), steps.RATE)
        after = arrays(module).get(W)
        if not same(after, before, 0):
            return after
    return None


def _linear_by_behaviour(module, features):
    """Return the Role of a module whose forward is that of a Linear, whatever the names.

    A square W that forward does not transpose has the outputs first, unless dLdA and the step both
    use it as inputs first.
    """
    held = _held(module)
    for W, w in held.items():
        if w.ndim != 2 or features not in w.shape:
            continue
        for outputs_first in (False, True):
            m, n = w.shape[::-1] if outputs_first else w.shape
            for W0, w0 in held.items():
                if (
                    m != features
                    or W0 == W
                    or not _is_bias(w0, n)
                    or not _agreements(module, W, W0, outputs_first)[0]
                ):
                    continue
                if outputs_first and m == n and all(_agreements(module, W, W0, False)[1:]):
                    continue
                return Role("Linear", {W: "W", W0: "W0"}, outputs_first, {W: w.shape, W0: w0.shape})
    return None


def _linear_by_name(module, result, features):
    """Return the Role of a module called Linear with another forward; None, or a Fault, if its
    weights do not allow it.
    """
    held = _held(module)
    W = _called("W", held, lambda v: v.ndim == 2 and features in v.shape)
    if W is None:
        return None
    outputs_first = held[W].shape[0] != features
    n = held[W].shape[0] if outputs_first else held[W].shape[1]
    W0 = _called("W0", {k: v for k, v in held.items() if k != W}, lambda v: v.size == n)
    where = location(getattr(module, "__init__", None))
    if W0 is None:
        flat = getattr(module, "W0", None)
        if (
            not outputs_first
            and not isinstance(flat, np.ndarray)
            and not any(
                isinstance(v, np.ndarray) and v.size == n
                for k, v in attributes(module).items()
                if k != W
            )
        ):
            result.faults.append(
                Fault(
                    "W0",
                    "is not there",
                    "the bias is missing: keep W0 of shape (n, 1), which forward adds",
                    WANTED["Linear.forward"],
                    where,
                    wanted_shape=(n, 1),
                )
            )
        return None
    if held[W0].shape != (n, 1) and not _runs(module, features, n):
        result.faults.append(
            Fault(
                W0,
                f"has shape {held[W0].shape}, must be ({n}, 1)",
                "the bias must be a column, so that it is added to every sample of (n, b)",
                f"{W0} = np.zeros((n, 1))",
                where,
                shape=held[W0].shape,
                wanted_shape=(n, 1),
            )
        )
        return None
    if n == features and all(_agreements(module, W, W0, True)[1:]):
        outputs_first = True
    return Role("Linear", {W: "W", W0: "W0"}, outputs_first, {W: held[W].shape, W0: held[W0].shape})


def _called(weight, held, fits):
    """Return the name of the fitting array that is called like that weight, else of the only one
    that fits, else None.
    """
    fitting = [k for k, v in held.items() if fits(v)]
    named = sorted(
        (k for k in fitting if _last_part(k) in CALLED[weight]),
        key=lambda k: CALLED[weight].index(_last_part(k)),
    )
    return named[0] if named else fitting[0] if len(fitting) == 1 else None


def _runs(module, features, n):
    """Return whether forward gives (n, b) for a batch."""
    b = next(b for b in range(2, 9) if b not in (features, n))
    with untouched(module):
        Z, failure = call(module.forward, np.ones((features, b)))
    return failure is None and np.shape(Z) == (n, b)


# ----------------------------------------------------------------------- the weights of a BatchNorm


def _batchnorm(module, result, features, name):
    """Return the Role of a BatchNorm, found by its outputs, or by the names of its class and
    weights; else None.

    A BatchNorm by name whose outputs no known mistake explains is judged by finite differences.
    """
    held = {k: v for k, v in _held(module).items() if _is_bias(v, features)}
    G = _called("G", held, lambda v: True)
    B = _called("B", {k: v for k, v in held.items() if k != G}, lambda v: True)
    pairs = [(k, other) for k in held for other in held if k != other]
    for pair in sorted(pairs, key=lambda pair: pair != (G, B)):
        if _normalises(module, *pair, held, features, name is not None and pair == (G, B)):
            return Role(
                "BatchNorm",
                dict(zip(pair, "GB", strict=True)),
                shapes={k: held[k].shape for k in pair},
            )
    if name and pairs:
        result.remarks.append(
            "it does not compute what the course's BatchNorm does, nor does a known mistake "
            "explain it: finite "
            "differences alone judge it"
        )
    return None


def _normalises(module, G, B, held, features, mistaken):
    """Return whether forward is a BatchNorm's with these weights; with `mistaken`, whether it
    fails, gives None or makes a known mistake.
    """
    rng = np.random.default_rng(10)
    weights = {k: rng.uniform(0.5, 1.5, held[k].shape) for k in (G, B)}
    x = spread(rng, features, BATCH + features)
    with untouched(module):
        set_weights(module, weights)
        seeded()
        Z, failure = call(module.forward, x.copy())
    if failure or not isinstance(Z, np.ndarray):
        return mistaken
    p = SimpleNamespace(
        A=x, G=weights[G].reshape(-1, 1), B=weights[B].reshape(-1, 1), b=x.shape[1], **statistics(x)
    )
    wanted = p.G * p.norm + p.B
    return (
        same(Z, wanted) or mistaken and bool(likely_cause("BatchNorm.forward", [p], [Z], [wanted]))
    )


def spread(rng, m, b):
    """Return inputs (m, b) whose rows vary far more than any eps in use."""
    return SPREAD * (0.5 + rng.uniform(0.2, 1.6, (m, b)) * np.where(np.arange(b) % 2, 1, -1))


def statistics(x):
    """Return {"mu", "var", "norm"} of the rows of a batch x (m, b), whose variance hides any eps in
    use.
    """
    mu, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return {"mu": mu, "var": var, "norm": (x - mu) / np.sqrt(var)}


# ------------------------------------------------------------------------ the weights of any module


def weights_of(module, role, features):
    """Return {name: random values} of the role's weights; without a role, of the arrays that
    forward depends on and that have a gradient or are changed by a step.
    """
    rng = np.random.default_rng(1)
    if role.name == "BatchNorm":
        return {
            k: rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
            for k, shape in role.shapes.items()
        }
    if role.weights:
        return {k: rng.normal(size=shape) for k, shape in role.shapes.items()}
    # Arrays in lists and dictionaries are probed in their own memory, so they must hold the values
    # written.
    held = {
        k: v.copy()
        for k, v in arrays(module).items()
        if v.size and v.dtype.kind in "fiu" and (k.isidentifier() or v.dtype == float)
    }
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
        # near their values: some must stay positive
        moved = held[k] + 0.2 * rng.normal(size=held[k].shape)
        with untouched(module):
            set_weights(module, {k: moved})
            seeded()
            other, failure = call(module.forward, x.copy())
        if failure is None and not same(other, Z):
            weights[k] = moved
    return weights
