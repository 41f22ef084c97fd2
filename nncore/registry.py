"""One record per module, loss and optimizer of the library; all lists of them are derived from
these.

The lists decide which objects compile, are saved, are compared with by `accelerate` and `check`,
and are offered by the command. A new activation or loss is a class in `modules.py` or `losses.py`,
its formulas in `kernels/` (and in the core) and a record here; a new optimizer likewise.
`exchange/table.py` says what a module becomes in other formats.

The records are plain classes: a NamedTuple takes 0.2 ms to define, of the 10 that importing nncore
may take.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from nncore import _kinds, losses, modules

__all__ = ["ACTIVATIONS", "LAYERS", "LOSSES", "MODULES", "OPTIMIZERS"]


class Layer:
    """A module that is a layer of its own in the compiled program."""

    def __init__(
        self,
        cls: type,
        name: str,  # in the core
        formula: str,  # the formula of its output
        derivative: str,  # the formula of dL/dInput
        code: dict[str, str],  # the NumPy formula of a method or gradient, for `check`
        aliases: tuple[str, ...],  # usual names of such classes, in lower case
        settings: tuple[str, ...] = (),  # saved with the model, by `_configure`
        constants: tuple[str, ...] = (),  # the settings that a compiled program depends on
        later: bool = False,  # files without settings, of older versions, have the default ones
    ) -> None:
        self.cls = cls
        self.name = name
        self.formula = formula
        self.derivative = derivative
        self.code = code
        self.aliases = aliases
        self.settings = settings
        self.constants = constants
        self.later = later


class Activation:
    """An elementwise function, or one of each column, that follows a Linear."""

    def __init__(
        self,
        cls: type,
        name: str,  # in the core
        forward: str,  # the kernel of its output
        formula: str,
        derivative: str,
        code: dict[str, str],
        aliases: tuple[str, ...],
        settings: tuple[str, ...] = (),  # saved with the model, by `_configure`
        kinks: Callable[[np.ndarray], np.ndarray] | None = None,  # True where Z has no derivative
        classes: str = "",  # how class_fun finds the classes; for output units only
        # the core's name for an object with settings
        core: Callable[[Any], object] | None = None,
        # candidates for a foreign function with the values A at Z; None: the default only
        candidates: Callable[[np.ndarray, np.ndarray], list[modules.Module]] | None = None,
    ) -> None:
        self.cls = cls
        self.name = name
        self.forward = forward
        self.formula = formula
        self.derivative = derivative
        self.code = code
        self.aliases = aliases
        self.settings = settings
        self.kinks = kinks
        self.classes = classes
        self.core = core
        self.candidates = candidates

    @property
    def later(self):
        """False: files always have the settings."""
        return False

    @property
    def constants(self):
        """The settings that a compiled program depends on."""
        return self.settings

    @property
    def keeps_output(self):
        """Whether backward uses the output A, not the input Z."""
        return getattr(self.cls, "_of", "A") == "A"

    def core_name(self, module):
        """Return the core's name for an object of this class."""
        return self.name if self.core is None else self.core(module)

    def matching(self, Z, A):
        """Return objects of the class, one of which computes A from Z if any does."""
        return [self.cls()] if self.candidates is None else self.candidates(Z, A)

    @property
    def is_output(self):
        """Whether it is the output unit of a loss, whose backward returns dL/dZ unchanged."""
        return bool(self.classes)


class Loss:
    """A loss; `cls.output` is the module that must come last."""

    def __init__(
        self,
        cls: type,
        name: str,  # in the core
        from_logits: str,  # the kernel of (loss, dL/dZ) from the logits
        labels: str,  # "classes" (weights of classes), "binary", "signs" or "numbers"
        code: dict[str, str],
        aliases: tuple[str, ...],
        settings: tuple[str, ...] = (),  # saved with the model, by `_configure`
        core: tuple[str, ...] = (),  # the core's names for the settings
    ) -> None:
        self.cls = cls
        self.name = name
        self.from_logits = from_logits
        self.labels = labels
        self.code = code
        self.aliases = aliases
        self.settings = settings
        self.core = core

    def core_settings(self, loss):
        """Return the settings of an object of this class, for the core."""
        return {
            name: getattr(loss, setting)
            for name, setting in zip(self.core, self.settings, strict=True)
        }

    def has_settings(self, loss):
        """Return whether a setting is not the default, which is the class's attribute."""
        pairs = [(getattr(loss, name), getattr(self.cls, name)) for name in self.settings]
        return not all(x is default or np.array_equal(x, default) for x, default in pairs)

    @property
    def of_probabilities(self):
        """Whether the loss is one of probabilities, made by an output unit; else the logits are the
        outputs.
        """
        return self.cls.output is not modules.Linear


class Optimizer:
    """An optimizer of nncore.optimizers, which is imported (2 ms) when its class is first used."""

    def __init__(
        self,
        name: str,  # for `fit` and the command
        class_name: str,
        command_rate: float
        | None = None,  # the rate of `nncore train`; None: from the data's curvature
    ) -> None:
        self.name = name
        self.class_name = class_name
        self.command_rate = command_rate

    @property
    def cls(self):
        """The optimizer's class."""
        from nncore import optimizers

        return getattr(optimizers, self.class_name)


def _by_class(*records):
    return {record.cls: record for record in records}


def _leaky(Z, A):
    """Return a LeakyReLU with the slope of A at negative Z."""
    negative = (Z < 0) & np.isfinite(A)
    slope = np.median(A[negative] / Z[negative]) if negative.any() else np.nan
    fits = 0 <= slope < np.inf and slope != 1  # 1: the identity
    return [modules.LeakyReLU(float(f"{slope:.12g}")) if fits else modules.LeakyReLU()]


_THROUGH = "its argument, dL/dZ, which the loss computes"
_CODE_THROUGH = "dLdZ itself, because the loss has computed it"

LAYERS = _by_class(
    Layer(
        modules.Linear,
        "linear",
        formula="Wᵀ A + W0",
        derivative="W dLdZ",
        code={
            "forward": "Z = W.T @ A + W0",
            "dLdA": "dLdA = W @ dLdZ",
            "dLdW": "dLdW = A @ dLdZ.T",
            "dLdW0": "dLdW0 = np.sum(dLdZ, axis=1, keepdims=True)",
        },
        aliases=("linear", "dense", "affine", "fullyconnected", "fc"),
        settings=("bias",),
        constants=("bias",),
        later=True,
    ),
    Layer(
        modules.BatchNorm,
        "batchnorm",
        formula="G (A − μ)/√(v + eps) + B",
        derivative="its gradient, on which μ and v of the batch depend, too",
        code={
            "forward": "Z = G * (A - mu) / np.sqrt(var + eps) + B, where mu and var are np.mean "
            "and np.var of A, axis=1, keepdims=True",
            "backward": "dLdA = (d - mean(d) - norm * mean(d * norm)) / np.sqrt(var + eps), "
            "where d = G * dLdZ and mean is over the batch",
            "dLdG": "dLdG = np.sum(dLdZ * norm, axis=1, keepdims=True)",
            "dLdB": "dLdB = np.sum(dLdZ, axis=1, keepdims=True)",
        },
        aliases=("batchnorm", "batchnormalization", "batchnormalisation", "bn", "batchnorm1d"),
        settings=("statistics", "momentum", "eps"),
        constants=("statistics", "momentum", "eps"),
    ),
    Layer(
        modules.Dropout,
        "dropout",
        formula="A ⊙ mask / (1 − p)",
        derivative="dLdA ⊙ mask / (1 − p)",
        code={},
        aliases=(),
        settings=("p", "key", "count"),
        constants=("p",),  # key and count are read at each call
    ),
)

ACTIVATIONS = _by_class(
    Activation(
        modules.Tanh,
        "tanh",
        "tanh_forward",
        formula="tanh Z",
        derivative="dLdA ⊙ (1 − A²)",
        code={"forward": "A = np.tanh(Z)", "backward": "dLdZ = dLdA * (1 - A**2)"},
        aliases=("tanh",),
    ),
    Activation(
        modules.ReLU,
        "relu",
        "relu_forward",
        formula="max(0, Z)",
        derivative="dLdA where A > 0, else 0",
        code={"forward": "A = np.maximum(0, Z)", "backward": "dLdZ = dLdA * (A > 0)"},
        aliases=("relu",),
        kinks=lambda Z: Z == 0,
    ),
    Activation(
        modules.Sigmoid,
        "sigmoid",
        "sigmoid_forward",
        formula="1/(1 + e^−Z)",
        derivative="dLdA ⊙ A (1 − A)",
        code={"forward": "A = 1 / (1 + np.exp(-Z))", "backward": "dLdZ = dLdA * A * (1 - A)"},
        aliases=("sigmoid", "logistic"),
    ),
    Activation(
        modules.LeakyReLU,
        "leaky_relu",
        "leaky_relu_forward",
        formula="Z where Z > 0, else slope Z",
        derivative="dLdA where Z > 0, else slope dLdA",
        code={
            "forward": "A = np.where(Z > 0, Z, slope * Z)",
            "backward": "dLdZ = dLdA * np.where(Z > 0, 1, slope)",
        },
        aliases=("leakyrelu", "lrelu"),
        settings=("slope",),
        kinks=lambda Z: Z == 0,
        core=lambda module: ("leaky_relu", module.slope),
        candidates=_leaky,
    ),
    Activation(
        modules.GELU,
        "gelu",
        "gelu_forward",
        formula="Z ⊙ Φ(Z)",
        derivative="dLdA ⊙ (Φ(Z) + Z ⊙ φ(Z))",
        code={
            "forward": "A = Z * Phi(Z), where Phi(z) = (1 + erf(z / sqrt(2))) / 2",
            "backward": "dLdZ = dLdA * (Phi(Z) + Z * np.exp(-Z**2 / 2) / np.sqrt(2 * np.pi))",
        },
        aliases=("gelu",),
        settings=("approximate",),
        core=lambda module: "gelu" if module.approximate == "none" else "gelu_tanh",
        candidates=lambda Z, A: [modules.GELU(), modules.GELU("tanh")],
    ),
    Activation(
        modules.SiLU,
        "silu",
        "silu_forward",
        formula="Z ⊙ σ(Z)",
        derivative="dLdA ⊙ (σ(Z) + Z ⊙ σ(Z) ⊙ (1 − σ(Z)))",
        code={
            "forward": "A = Z * s, where s = 1 / (1 + np.exp(-Z))",
            "backward": "dLdZ = dLdA * (s + Z * s * (1 - s)), where s = 1 / (1 + np.exp(-Z))",
        },
        aliases=("silu", "swish"),
    ),
    Activation(
        modules.SoftMax,
        "softmax",
        "softmax_forward",
        formula="softmax of each column",
        derivative=_THROUGH,
        code={
            "forward": "A = np.exp(Z) / np.sum(np.exp(Z), axis=0)",
            "backward": _CODE_THROUGH,
            "class_fun": "np.argmax(Ypred, axis=0)",
        },
        aliases=("softmax",),
        classes="the place of the largest entry of each column",
    ),
    Activation(
        modules.OutputSigmoid,
        "output_sigmoid",
        "sigmoid_forward",
        formula="1/(1 + e^−Z)",
        derivative=_THROUGH,
        code={"forward": "A = 1 / (1 + np.exp(-Z))", "backward": _CODE_THROUGH},
        aliases=("outputsigmoid", "sigmoidoutput"),
        classes="1 above 1/2, else 0",
    ),
)

LOSSES = _by_class(
    Loss(
        losses.NLL,
        "nll",
        from_logits="softmax_nll",
        labels="classes",
        code={"forward": "-np.sum(Y * np.log(Ypred))", "backward": "dLdZ = Ypred - Y"},
        aliases=("nll", "nllm", "negativeloglikelihood", "crossentropy"),
        settings=("label_smoothing", "class_weight"),
        core=("smoothing", "class_weight"),
    ),
    Loss(
        losses.BinaryNLL,
        "binary_nll",
        from_logits="sigmoid_nll",
        labels="binary",
        code={
            "forward": "-np.sum(Y * np.log(Ypred) + (1 - Y) * np.log(1 - Ypred))",
            "backward": "dLdZ = Ypred - Y",
        },
        aliases=("binarynll", "bce", "binarycrossentropy"),
    ),
    Loss(
        losses.Squared,
        "squared",
        from_logits="squared_loss",
        labels="numbers",
        code={},
        aliases=(),
    ),
    Loss(
        losses.Absolute,
        "absolute",
        from_logits="absolute_loss",
        labels="numbers",
        code={},
        aliases=(),
    ),
    Loss(
        losses.Huber,
        "huber",
        from_logits="huber_loss",
        labels="numbers",
        code={},
        aliases=(),
        settings=("delta",),
        core=("parameter",),
    ),
    Loss(
        losses.Hinge,
        "hinge",
        from_logits="hinge_loss",
        labels="signs",
        code={},
        aliases=("hinge",),
    ),
)

OPTIMIZERS = {
    record.name: record
    for record in (
        Optimizer("sgd", "SGD"),
        Optimizer("momentum", "Momentum"),
        Optimizer("nesterov", "Nesterov"),
        Optimizer("adagrad", "Adagrad", command_rate=0.01),
        Optimizer("rmsprop", "RMSprop", command_rate=0.001),
        Optimizer("adam", "Adam", command_rate=0.001),
        Optimizer("adamw", "AdamW", command_rate=0.001),
    )
}

MODULES: dict[type, Layer | Activation] = {**LAYERS, **ACTIVATIONS}

for _record in MODULES.values():
    _kinds.register(_record.cls, settings=_record.settings)
for _loss in LOSSES.values():
    _kinds.register(_loss.cls, settings=_loss.settings)


def record_of(thing, records):
    """Return the record in MODULES or LOSSES of the library class that `thing` is an object of,
    also through subclasses; else None.
    """
    return of_class(type(thing), records) or next(
        (records[cls] for cls in type(thing).__mro__ if cls in records), None
    )


def of_class(cls, records):
    """Return a class's record, or None.

    On a free-threaded Python, `records.get` would hold the table's own lock: threads that train at
    once would wait for each other, and a child forked meanwhile could wait for ever.
    """
    return records[cls] if cls in records else None


def name_of(optimizer):
    """Return the name of an optimizer of the library, None for another one."""
    for name, record in OPTIMIZERS.items():
        if type(optimizer).__name__ == record.class_name and type(optimizer) is record.cls:
            return name
    return None
