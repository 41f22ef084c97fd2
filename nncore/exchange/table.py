"""What each module becomes in each format: one row per module of the library.

A new activation needs one row here. A format that cannot hold it gets a `Missing` with the reason,
which an export to that format then raises.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nncore import modules
from nncore.exchange import chain

__all__ = ["FORMS", "Form", "Missing", "Torch"]


class Missing(NamedTuple):
    """The reason why a format has no form of a module, to follow "it": "needs ..."."""

    reason: str


class Torch(NamedTuple):
    """The class in torch.nn, the arguments that make one, and the way back."""

    name: str
    arguments: Callable[[Any], dict] = lambda module: {}
    back: Callable[[Any], Any] | None = None  # from the PyTorch module; None: no module at all


class Form(NamedTuple):
    """The forms of one module.

    onnx: called with the graph to add nodes to, the step and the name of its input; returns the
    name of its output. c: called with the writer and the step; a text is the expression of one
    output in terms of z, or statements that end in a return, in which {f} is the suffix of the
    functions of <math.h>, {real} the type and {slope} and the like are settings. integer: how int8
    computes it: "table" (any function of one number), or a name that c_int8.py knows.
    """

    onnx: Callable[[Any, chain.Step, str], str] | Missing
    c: Callable[[Any, chain.Step], None] | str | Missing
    torch: Torch | Missing
    integer: str | Missing = "table"


def form_of(step, kind):
    """Return the form of a step's module; ValueError, with the reason, if there is none."""
    row = FORMS.get(step.cls)
    form = Missing("has no row in nncore/exchange/table.py") if row is None else getattr(row, kind)
    if isinstance(form, Missing):
        raise ValueError(f"{step.place} {step.module} cannot be written: it {form.reason}")
    return form


# ------------------------------------------------------------------------------------------- ONNX


def _node(operator, **attributes):
    return lambda graph, step, x: graph.add(operator, x, **attributes)


def _linear(graph, step, x):
    W = graph.weight(f"{step.place}.W", step.array("W"))
    if not chain.has_bias(step.module):
        return graph.add("Gemm", x, W)
    W0 = graph.weight(f"{step.place}.W0", step.array("W0").ravel())
    return graph.add("Gemm", x, W, W0)


def _norm(graph, step, x):
    chain.running(step, "ONNX")
    chain.norm_terms(step)  # refuses a variance of 0
    norm = step.module
    var, eps = step.array("running_var", np.float64), norm.eps
    if graph.dtype == np.float64 and float(np.float32(eps)) != eps:
        var, eps = var + eps, 0.0  # the attribute is a float32
    arrays = {
        "G": step.array("G"),
        "B": step.array("B"),
        "running_mean": step.array("running_mean"),
        "running_var": var.astype(graph.dtype),
    }
    inputs = [graph.weight(f"{step.place}.{k}", a.ravel()) for k, a in arrays.items()]
    return graph.add("BatchNormalization", x, *inputs, epsilon=eps)


def _dropout(graph, step, x):
    ratio = graph.weight(f"{step.place}.p", np.array(step.module.p, np.float32))
    return graph.add("Dropout", x, ratio)


def _leaky(graph, step, z):
    """LeakyRelu for float32 only: ONNX Runtime has none for float64, and its attribute is a
    float32.
    """
    slope = step.module.slope
    if graph.dtype == np.float32 and math.isfinite(np.float32(slope)):
        return graph.add("LeakyRelu", z, alpha=slope)
    below = graph.add("Relu", graph.add("Neg", z))
    return graph.add(
        "Sub", graph.add("Relu", z), graph.add("Mul", below, graph.constant("slope", slope))
    )


def _silu(graph, step, z):
    return graph.add("Mul", z, graph.add("Sigmoid", z))


def _gelu(graph, step, z):
    """GELU in its three forms: tanh, Erf, and relu(z) − ½ |z| erfc(|z| / √2) for float64, for which
    ONNX Runtime has neither Erf nor Gelu.
    """
    if step.module.approximate == "tanh":
        cube = graph.add("Mul", graph.add("Mul", z, z), z)
        inner = graph.add("Mul", cube, graph.constant("0.044715", 0.044715))
        inner = graph.add("Mul", graph.add("Add", z, inner), graph.constant("2/pi", _TANH_SCALE))
        phi = graph.add("Add", graph.add("Tanh", inner), graph.constant("1", 1.0))
    elif graph.dtype == np.float32:
        inner = graph.add("Mul", z, graph.constant("1/sqrt2", math.sqrt(0.5)))
        phi = graph.add("Add", graph.add("Erf", inner), graph.constant("1", 1.0))
    else:
        size = graph.add("Abs", z)
        tail = graph.add("Mul", size, _erfc(graph, size))
        tail = graph.add("Mul", tail, graph.constant("1/2", 0.5))
        return graph.add("Sub", graph.add("Relu", z), tail)
    return graph.add("Mul", graph.add("Mul", z, phi), graph.constant("1/2", 0.5))


def _erfc(graph, size):
    """Add erfc(x), x = size / √2 ≥ 0, as t exp(P(2t − 1) − x²) with t = 2 / (2 + x)."""
    add, constant = graph.add, graph.constant
    x = add("Mul", size, constant("1/sqrt2", math.sqrt(0.5)))
    t = add("Div", constant("2", 2.0), add("Add", x, constant("2", 2.0)))
    s = add("Sub", add("Mul", t, constant("2", 2.0)), constant("1", 1.0))
    p = constant(f"erfc.{len(_ERFC) - 1}", _ERFC[-1])
    for k in range(len(_ERFC) - 2, -1, -1):
        p = add("Add", add("Mul", p, s), constant(f"erfc.{k}", _ERFC[k]))
    return add("Mul", t, add("Exp", add("Sub", p, add("Mul", x, x))))


_TANH_SCALE = math.sqrt(2 / math.pi)
# P: the polynomial in s = 2t − 1 that interpolates ln(erfc(x) e^(x²) / t), t = 2 / (2 + x), at 64
# Chebyshev nodes in [−1, 1], cut after degree 23. GELU is within 5e-16 of its definition for
# |z| ≤ 40 (computed with mpmath).
_ERFC = (
    -0.6717940840566906, 0.6726432239776583, 0.04734330684142489, -0.04689561023132892,
    -0.00987268934319109, 0.008824938561312326, 0.0017589331171176884, -0.002345812552995894,
    -0.00014624252395767715, 0.0006736791352568864, -9.376035760297014e-05,
    -0.00017430412986925938, 7.149530982602198e-05, 3.174693542327236e-05,
    -3.0421097531594203e-05, 1.3989370477611051e-07, 8.952692300720023e-06,
    -2.963484230959699e-06, -1.7128780471140371e-06, 1.283394915356199e-06,
    1.5975482569412025e-07, -2.895626567435524e-07, 7.992047577730608e-10,
    2.980513364515168e-08,
)  # fmt: skip


# ---------------------------------------------------------------------------------------------- C

# The exponential of a negative number only: no overflow, and small results keep their digits.
_C_SIGMOID = "{real} e = exp{f}(-fabs{f}(z)); return (z < 0 ? e : 1) / (1 + e);"


# ---------------------------------------------------------------------------------------- PyTorch


def _torch_norm(norm):
    return {
        "num_features": norm.m,
        "eps": norm.eps,
        "momentum": norm.momentum,
        "track_running_stats": norm.statistics == "running",
    }


def _torch_linear(module):
    bias = {} if chain.has_bias(module) else {"bias": False}
    return {"in_features": module.m, "out_features": module.n, **bias}


def _softmax_back(softmax):
    if softmax.dim not in (1, -1):
        raise ValueError(f"Softmax must have dim=1, over the outputs, got dim={softmax.dim}")
    return modules.SoftMax()


# ------------------------------------------------------------------------------------- the rows

FORMS = {
    modules.Linear: Form(
        _linear,
        lambda writer, step: writer.linear(step),
        Torch("Linear", _torch_linear),
        integer="linear",
    ),
    modules.BatchNorm: Form(
        _norm,
        lambda writer, step: writer.norm(step),
        Torch("BatchNorm1d", _torch_norm),
        integer="norm",
    ),
    modules.Dropout: Form(
        _dropout,
        lambda writer, step: None,
        Torch("Dropout", lambda m: {"p": m.p}, lambda t: modules.Dropout(t.p)),
        integer="nothing",
    ),
    modules.Tanh: Form(_node("Tanh"), "tanh{f}(z)", Torch("Tanh", back=lambda t: modules.Tanh())),
    modules.ReLU: Form(
        _node("Relu"),
        "z < 0 ? 0 : z",
        Torch("ReLU", back=lambda t: modules.ReLU()),
        integer="relu",
    ),
    modules.Sigmoid: Form(
        _node("Sigmoid"), _C_SIGMOID, Torch("Sigmoid", back=lambda t: modules.Sigmoid())
    ),
    modules.LeakyReLU: Form(
        _leaky,
        "z > 0 ? z : {slope} * z",
        Torch(
            "LeakyReLU",
            lambda m: {"negative_slope": m.slope},
            lambda t: modules.LeakyReLU(t.negative_slope),
        ),
    ),
    modules.GELU: Form(
        _gelu,
        lambda writer, step: writer.gelu(step),
        Torch(
            "GELU",
            lambda m: {"approximate": m.approximate},
            lambda t: modules.GELU(t.approximate),
        ),
    ),
    modules.SiLU: Form(
        _silu,
        "z / (1 + exp{f}(-z))",
        Torch("SiLU", back=lambda t: modules.SiLU()),
    ),
    modules.SoftMax: Form(
        _node("Softmax", axis=1),
        lambda writer, step: writer.softmax(step),
        Torch("Softmax", lambda m: {"dim": -1}, _softmax_back),
        integer="output",
    ),
    modules.OutputSigmoid: Form(
        _node("Sigmoid"),
        _C_SIGMOID,
        Torch("Sigmoid"),
        integer="output",
    ),
}
