"""Write a network as C99 with integer arithmetic only."""

import textwrap
from typing import NamedTuple

import numpy as np

from nncore import _chain, modules
from nncore._version import __version__
from nncore.exchange import c_text, chain, table
from nncore.training import predict

__all__ = ["text"]

# Sums must stay below 2^31; the bias may take this much of it.
MOST_BIAS = 2**29
SAMPLES = 4096  # of the calibration set, at most, that are looked at at once


class Stage(NamedTuple):
    """A Linear in integers, and the function of one number that follows it."""

    W: np.ndarray  # (m, n) int8
    bias: np.ndarray  # (n,) int32
    factor: np.ndarray  # (n,) float64: sums × factor are of the next layer's scale
    low: int  # the least value after rescaling
    table: np.ndarray | None  # 256 values for −128 ... 127; None: none
    last: bool


class _Layer:
    """A Linear in float64, BatchNorms folded in, with the activations that follow it."""

    def __init__(self, W, b):
        self.W, self.b, self.activations, self.relu = W, b, [], False

    def apply(self, Z):
        """Return the activations of Z."""
        for module in self.activations:
            Z = np.asarray(_chain.predicted([module], Z))
        return Z


def text(net, network, name, X, samples):
    """Return (the file, one line about how well integers do)."""
    layers, output = _layers(network)
    scales, stages = _quantised(network, layers, X)
    share = _report(net, network, name, stages, scales, output, X)
    samples = X[:, [0, X.shape[1] // 2, -1]] if samples is None else samples
    return _file(network, name, stages, scales, output, _inputs(network, samples, scales)), share


# ---------------------------------------------------------------------------- layers in float64


def _layers(network):
    """Return the layers with BatchNorm folded into them, and the output unit's class or None."""
    layers, before, output = [], None, None
    for k, step in enumerate(network.steps):
        kind = table.form_of(step, "integer")
        if kind == "output" and k == len(network.steps) - 1:
            output = step.cls
        elif kind == "linear":
            W, b = step.array("W", np.float64), step.array("W0", np.float64).ravel()
            if before is not None:
                b = b + W.T @ before[1]
                W = before[0][:, None] * W
            before = None
            layers.append(_Layer(W, b))
        elif kind == "norm":
            chain.running(step, "int8 C")
            mean, factor, offset = chain.norm_terms(step)
            shift = offset - mean * factor
            if layers and not layers[-1].activations and before is None:
                layers[-1].W, layers[-1].b = layers[-1].W * factor, layers[-1].b * factor + shift
            elif before is None:
                before = factor, shift
            else:
                before = before[0] * factor, before[1] * factor + shift
        elif kind != "nothing":
            _activate(step, kind, layers, before)
    if before is not None or not layers:
        raise ValueError(
            "a network must end in a Linear and its activation, with a Linear next to each "
            "BatchNorm, to be written in int8"
        )
    return layers, output


def _activate(step, kind, layers, before):
    """Add an activation to the layer before it."""
    if not layers or before is not None:
        raise ValueError(
            f"{step.place} {step.module} must follow a Linear, or its BatchNorm, to be written in "
            f"int8"
        )
    if step.cls is modules.SoftMax:
        raise ValueError(
            f"{step.place} {step.module} must be the last module to be written in int8, whose "
            f"outputs are the logits"
        )
    layer = layers[-1]
    layer.relu = kind == "relu" and not layer.activations
    layer.activations.append(step.module)


def _scaled(network, X):
    """Return the network's inputs in float64."""
    X = X.astype(np.float64)
    if network.scaling is None:
        return X
    return (X - network.scaling["shift"][:, None]) * network.scaling["factor"][:, None]


# ------------------------------------------------------------------------------------ in integers


def _quantised(network, layers, X):
    """Return the scales (input, of each layer's output) and the stages."""
    A = _scaled(network, X)
    scales, stages = [_input_scale(A)], []
    for k, layer in enumerate(layers):
        last = k == len(layers) - 1
        Z = layer.W.T @ A + layer.b[:, None]
        A = layer.apply(Z)
        stage, scale = _stage(layer, Z, A, scales[-1], last)
        stages.append(stage)
        scales.append(scale)
    return scales, stages


def _input_scale(A):
    """Return the scale of the inputs, at most 2 × the finest, with the least error; inputs on a
    grid, such as grey levels, become exact.
    """
    largest = np.abs(A).max()
    if largest == 0:
        return 1.0
    some = A[:, :SAMPLES]
    errors = []
    for levels in range(127, 63, -1):
        s = largest / levels
        errors.append((np.square(np.rint(some / s) * s - some).mean(), s))
    return min(errors)[1]


def _stage(layer, Z, A, scale, last):
    """Return the Stage of a layer and the scale of its output."""
    sizes = np.abs(layer.W).max(axis=0)
    w = np.maximum(sizes / 127, np.abs(layer.b) / (MOST_BIAS * scale))
    w = np.where(w > 0, w, 1.0)
    W = np.rint(layer.W / w).astype(np.int8)
    bias = np.rint(layer.b / (w * scale)).astype(np.int64)
    most = np.abs(W.astype(np.int64)).sum(axis=0) * 128 + np.abs(bias)
    if most.max() >= 2**31:
        raise ValueError(
            f"a Linear must have sums below 2**31 to be written in int8, got {most.max()} with "
            f"{len(W)} inputs; fewer inputs have smaller sums"
        )
    sums, low, values = w * scale, -128, None
    if last and not layer.activations:
        unit = float(sums.max())
    elif layer.relu and len(layer.activations) == 1:
        unit, low = _largest(A) / 127, 0
    elif not layer.activations:
        unit = _largest(Z) / 127
    else:
        unit, values, out = _table(layer, Z, A)
        return Stage(W, bias.astype(np.int32), sums / unit, -127, values, last), out
    return Stage(W, bias.astype(np.int32), sums / unit, low, values, last), unit


def _largest(A):
    return float(np.abs(A).max()) or 1.0


def _table(layer, Z, A):
    """Return (scale of Z, the activation's 256 values, their scale).

    Z is clipped beyond the point from which the rounded activation is constant, so that its unit is
    smaller.
    """
    out = _largest(A) / 127
    largest = _largest(Z)
    for part in np.linspace(1 / 64, 1, 64):
        grid = np.linspace(part * largest, largest, 65)[None, :]
        ends = [np.rint(layer.apply(side * grid) / out) for side in (1.0, -1.0)]
        if all((e == e[:, :1]).all() for e in ends):
            break
    unit = float(part) * largest / 127
    values = layer.apply((np.arange(-128, 128) * unit)[None, :]).ravel() / out
    return unit, np.clip(np.rint(values), -127, 127).astype(np.int8), out


def _multipliers(factor):
    """Return (m, shift) with factor ≈ m / 2^shift, m below 2^31, for products in 64 bits."""
    digits, power = np.frexp(factor)
    m = np.rint(digits * 2**31).astype(np.int64)
    power = np.where(m == 2**31, power + 1, power)
    m = np.where(m == 2**31, 2**30, m)
    shift = 31 - power.astype(np.int64)
    if (shift < 1).any():
        raise ValueError(
            f"layers must not grow numbers by more than 2**30 to be written in int8, got a factor "
            f"of {factor.max():.3g}"
        )
    m = np.where(shift > 62, 0, m)
    return m, np.minimum(shift, 62)


def _run(stages, q):
    """Return the integers that the C file computes for inputs q (m, N), int8."""
    for stage in stages:
        # Products and sums are whole numbers below 2^31, exact in float64, whose product is fast.
        sums = stage.W.T.astype(np.float64) @ q.astype(np.float64)
        sums = sums.astype(np.int64) + stage.bias[:, None]
        m, shift = (a[:, None] for a in _multipliers(stage.factor))
        q = _rescaled(sums, m, shift)
        if not (stage.last and stage.table is None and stage.low == -128):
            q = np.clip(q, stage.low, 127)
        if stage.table is not None:
            q = stage.table[q + 128].astype(np.int64)
    return q


def _rescaled(sums, m, shift):
    """Return sums m / 2^shift rounded to the nearest integer, halves away from 0."""
    half = np.left_shift(np.int64(1), shift - 1)
    sizes = np.right_shift(np.abs(sums) * m + half, shift)
    return np.where(sums < 0, -sizes, sizes)


def _inputs(network, X, scales):
    """Return samples as the integer function takes them."""
    return np.clip(np.rint(_scaled(network, X) / scales[0]), -127, 127).astype(np.int8)


def _report(net, network, name, stages, scales, output, X):
    """Return one line with the share of samples that keep their class, or the largest error."""
    same, error, largest = 0, 0.0, 0.0
    classes = predict.judge(net)
    for at in range(0, X.shape[1], SAMPLES):
        part = X[:, at : at + SAMPLES]
        y = _run(stages, _inputs(network, part, scales)) * scales[-1]
        with np.errstate(all="ignore"):
            given = np.asarray(
                net.predict_proba(_scaled(network, part).astype(network.dtype)), np.float64
            )
        if classes is None:
            error = max(error, float(np.abs(given - y).max()))
            largest = max(largest, float(np.abs(given).max()))
            continue
        if output is modules.OutputSigmoid:
            y = np.where(y > 0, 1.0, 0.0)
        same += int(np.equal(classes(y), classes(given)).reshape(-1, part.shape[1]).all(0).sum())
    if classes is None:
        return f"{name}: largest error of int8 {error:.3g}, outputs up to {largest:.3g}"
    count = X.shape[1]
    return f"{name}: int8 gives the same class for {same / count:.4f} of {count} samples"


# ----------------------------------------------------------------------------------------- the file


def _file(network, name, stages, scales, output, samples):
    upper = name.upper()
    widths = [stage.W.shape[1] for stage in stages[:-1]]
    buffers = min(len(widths), 2)
    room = max(widths, default=1)
    prototype = f"void {name}(const int8_t x[{upper}_INPUTS], int32_t y[{upper}_OUTPUTS])"
    macros = {
        "INPUTS": network.inputs,
        "OUTPUTS": network.outputs,
        "INPUT_SCALE": c_text.number(scales[0], np.float64),
        "OUTPUT_SCALE": c_text.number(scales[-1], np.float64),
    }
    arrays, calls, source = [], [], "x"
    for k, stage in enumerate(stages):
        m, shift = _multipliers(stage.factor)
        for kind, letter, values in (
            ("int8_t", "w", stage.W.T.ravel()),
            ("int32_t", "b", stage.bias),
            ("int32_t", "m", m),
            ("uint8_t", "s", shift),
        ):
            arrays.append(c_text.array(kind, f"{letter}{k}", values))
        if stage.table is not None:
            arrays.append(c_text.array("int8_t", f"t{k}", stage.table))
        target = "y" if stage.last else "a" if source != "a" else "b"
        value = f"{name}_rescaled({name}_sum(w{k} + j * {len(stage.W)}, {source}, {len(stage.W)}) "
        value += f"+ b{k}[j], m{k}[j], s{k}[j])"
        if not (stage.last and stage.table is None and stage.low == -128):
            value = f"{name}_cut({value}, {stage.low})"
        if stage.table is not None:
            value = f"t{k}[{value} + 128]"
        cast = "" if stage.last else "(int8_t)"
        size = stage.W.shape[1]
        calls.append(
            f"    for (size_t j = 0; j < {size}; j++)\n        {target}[j] = {cast}{value};\n"
        )
        source = target
    cut = "_cut(" in "".join(calls)
    memory = "".join(f"    int8_t {b}[{room}];\n" for b in "ab"[:buffers])
    return "".join(
        [
            c_text.comment(_about(network, name, output, buffers * room)),
            c_text.header(name, macros, ["#include <stdint.h>", f"{prototype};"]),
            f"#ifndef {upper}_HEADER\n#include <stddef.h>\n",
            _HELPERS.format(name=name),
            _CUT.format(name=name) if cut else "",
            f"\n{prototype}\n{{\n{''.join(arrays)}{memory}\n{''.join(calls)}}}\n",
            _self_test(name, stages, samples),
            "#endif\n",
        ]
    )


def _about(network, name, output, stack):
    upper = name.upper()
    scaled = "x"
    lines = [
        f"{name}: a network of int8, written by nncore {__version__}.",
        f"{', '.join(repr(step.module) for step in network.steps)}"[:2000],
        "",
        f"{name}(x, y) computes all outputs y for the inputs x of one sample, by integers alone. y "
        f"times {upper}_OUTPUT_SCALE are "
        + ("the logits: " if output is not None else "the outputs.")
        + (
            ""
            if output is None
            else "a class is the index of the largest y."
            if output is modules.SoftMax
            else "a label is 1 if its y is above 0."
        ),
    ]
    lines += c_text.order_of(network.classes)
    if network.scaling is not None:
        scaled = "(x - shift) * factor"
    lines.append(
        f"An input x becomes {scaled} / {upper}_INPUT_SCALE, rounded to the nearest integer from "
        "-127 to 127."
    )
    if network.scaling is not None:
        for key in ("shift", "factor"):
            values = network.scaling[key]
            values = values[:1] if (values == values[0]).all() else values
            lines.append(f"{key}: {', '.join(f'{v:.9g}' for v in values)}")
    lines += [
        f"Needs C99 with 64-bit integers; {stack} bytes of stack, no other memory, no state.",
        f"Other files see the prototype and sizes alone: #define {upper}_HEADER, then "
        "#include this file.",
        f"With {upper}_SELF_TEST defined, {name}_self_test() returns 0, or the number of the first "
        "of three samples with other outputs than in nncore.",
    ]
    return lines


def _self_test(name, stages, samples):
    Y = _run(stages, samples)
    declarations = c_text.array("int8_t", "x", samples.T) + c_text.array("int32_t", "y", Y.T)
    body = f"""\
        int32_t got[{name.upper()}_OUTPUTS];
        {name}(x[k], got);
        for (size_t i = 0; i < {name.upper()}_OUTPUTS; i++)
            if (got[i] != y[k][i])
                return k + 1;
"""
    return c_text.self_test(name, declarations, body)


_HELPERS = textwrap.dedent(
    """
    static int32_t {name}_sum(const int8_t *w, const int8_t *a, size_t m)
    {{
        int32_t sum = 0;
        for (size_t i = 0; i < m; i++)
            sum += w[i] * a[i];
        return sum;
    }}

    /* sum * m / 2^shift, rounded to the nearest integer, halves away from 0 */
    static int32_t {name}_rescaled(int32_t sum, int32_t m, uint8_t shift)
    {{
        int64_t product = (int64_t)sum * m, half = (int64_t)1 << (shift - 1);
        return (int32_t)(product < 0 ? -((half - product) >> shift) : (product + half) >> shift);
    }}
    """
)
_CUT = textwrap.dedent(
    """
    static int32_t {name}_cut(int32_t z, int32_t least)
    {{
        return z < least ? least : z > 127 ? 127 : z;
    }}
    """
)
