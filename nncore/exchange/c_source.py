"""Write a network as one file of C99, in its own type or in int8."""

from __future__ import annotations

import textwrap

import numpy as np

from nncore import _checks, _files, modules, registry
from nncore._types import ArrayLike, Scaling, StrPath
from nncore._version import __version__
from nncore.exchange import c_int8, c_text, chain, table
from nncore.sequential import Sequential

__all__ = ["c"]

# Of the largest output of a sample: the self-test's tolerance, in units of the last place.
ULPS = 64


def c(
    net: Sequential,
    path: StrPath,
    name: str,
    *,
    int8: ArrayLike | None = None,
    scaling: Scaling | None = None,
    samples: ArrayLike | None = None,
) -> None:
    """Write a network as one file of C99 with its weights as constants.

    The file defines `void NAME(const float x[NAME_INPUTS], float y[NAME_OUTPUTS])`, or with double,
    the type of the weights: y = predict_proba(x) for one sample. It needs no memory but the stack,
    keeps no state, and calls only the functions of <math.h> that its activations need. Its opening
    comment explains how to include and test it.

    Parameters
    ----------
    net : Sequential
        The network, of nncore's own modules.
    path : str, bytes or os.PathLike
        The file, replaced as a whole if all goes well.
    name : str
        The name of the function, a C identifier; in capitals, the prefix of the macros.
    int8 : array_like of shape (inputs, N), optional
        Calibration samples, such as the training inputs, before `scaling`. The file then defines
        `void NAME(const int8_t x[], int32_t y[])`, which computes the logits in integers only; the
        share of samples that keep their class is printed.
    scaling : dict, optional
        {"shift", "factor"}, as `datasets.fit_scaling` returns it: the function then takes raw
        inputs and scales them first. By default that of the network, if any.
    samples : array_like of shape (inputs, 3), optional
        The three samples of the self-test; by default the first of int8, else random ones.

    Raises
    ------
    TypeError
        For networks and modules that are not nncore's own.
    ValueError
        For names that are no C identifiers, for a BatchNorm that predicts by the statistics of the
        batch, for weights of two types or with NaN, and for calibration samples of another shape.
    OSError
        If the file cannot be written.

    Notes
    -----
    Outputs differ from those of `predict_proba` by rounding, because `exp` and `tanh` are those of
    the C library: by at most 64 units in the last place for networks of usual size. Like those of
    `predictor`, probabilities of 1e-8 and below may differ by more. If the compiler has a fast
    fma, or with NAME_FMA defined, sums are rounded as in nncore, and ReLU networks differ by about
    6 units.

    In int8, weights have one scale per output and activations one per layer, from their largest
    sizes over the calibration samples; sums are exact in 32 bits. Activations other than ReLU are
    tables of 256 entries. y times NAME_OUTPUT_SCALE are the logits, so the class is the index of
    the largest y, or y > 0 after OutputSigmoid.

    Examples
    --------
    >>> import os, tempfile
    >>> import nncore as nn
    >>> net = nn.Sequential([nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3), nn.SoftMax()])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "iris.c")
    ...     nn.export.c(net, path, "iris")
    ...     "void iris(const double x[IRIS_INPUTS]" in open(path).read()
    True
    """
    content, report = rendered(net, name, int8, scaling, samples)
    _files.write(path, lambda file: file.write(content))
    if report:
        print(report)


def rendered(net, name, int8=None, scaling=None, samples=None):
    """Return (the file's bytes, one line about int8 or None)."""
    c_text.check_name(name)
    net, scaling, classes = chain.unprepared(net, "C", scaling)
    network = chain.described(net, "C", scaling)._replace(classes=classes)
    X = None
    if int8 is not None:
        X = _samples("int8", int8, network.inputs, "N")
    given = None if samples is None else _samples("samples", samples, network.inputs, 3)
    if X is not None:
        text, report = c_int8.text(net, network, name, X, given)
    else:
        text, report = _Writer(net, network, name).text(given), None
    return text.encode("ascii"), report


def _samples(label, X, inputs, count):
    X = _checks.as_real(label, X)
    _checks.shape(label, X, (inputs, count))
    _checks.finite(label, X)
    if not X.size:
        raise ValueError(f"{label} must hold at least one sample, got shape {X.shape}")
    return X


class _Writer:
    """The functions of one network in C."""

    def __init__(self, net, network, name):
        self.net, self.network, self.name = net, network, name
        self.dtype = network.dtype
        self.real = c_text.TYPES[self.dtype]
        self.f = "f" if self.real == "float" else ""
        self.helpers = {}  # texts of functions
        self.functions = {}  # body of an activation: its name
        self.arrays = []
        self.lines = []
        self.buffers = {}  # name: size
        self.source = "x"  # the array with the outputs of the last step
        linear = [k for k, step in enumerate(network.steps) if step.cls is modules.Linear]
        self.last = linear[-1] if linear else -1  # from here on, they are in y

    # ---------------------------------------------------------------- called by the table

    def number(self, x):
        """Return a number of the network's type."""
        return c_text.number(x, self.dtype)

    def linear(self, step):
        """Add Z = Wᵀ A + W0, with W by outputs."""
        k = self.at
        self._array(f"w{k}", step.array("W").T.ravel())
        bias = "0"
        if chain.has_bias(step.module):
            bias = f"b{k}"
            self._array(bias, step.array("W0").ravel())
        source = self.source
        target = "y" if k == self.last else "a" if source != "a" else "b"
        if bias == "0" or "linear" not in self.helpers:
            self.helpers["linear"] = _LINEAR if bias != "0" else _LINEAR_OR_PRODUCT
        sizes = f"{step.inputs}, {step.outputs}"
        self.lines.append(f"{self.name}_linear(w{k}, {bias}, {sizes}, {source}, {target});")
        self._goes_on_in(target, step.outputs)

    def norm(self, step):
        """Add (A − mean) ⊙ factor + offset."""
        chain.running(step, "C")
        self._affine(f"{self.at}", *chain.norm_terms(step, self.dtype), step.inputs)

    def gelu(self, step):
        """Add GELU in one of its forms."""
        if step.module.approximate == "tanh":
            scale, cube = (self.number(v) for v in (-2 * np.sqrt(2 / np.pi), 0.044715))
            body = f"return z / (1 + exp{self.f}({scale} * (z + {cube} * z * z * z)));"
        else:
            half, root = self.number(0.5), self.number(-np.sqrt(0.5))
            body = f"return {half} * z * erfc{self.f}({root} * z);"
        self.elementwise(step, body)

    def softmax(self, step):
        """Add the softmax of the current values."""
        self._in_memory(step.inputs)
        self.helpers["softmax"] = _SOFTMAX
        self.lines.append(f"{self.name}_softmax({self.source}, {step.inputs});")

    def elementwise(self, step, body):
        """Add a function of each value, one function in C for each body."""
        self._in_memory(step.inputs)
        function = self.functions.setdefault(body, f"{self.name}_f{len(self.functions)}")
        v = self.source
        self._loop(step.inputs, f"{v}[i] = {function}({v}[i]);")

    # ---------------------------------------------------------------- the function's body

    def _steps(self):
        network = self.network
        self.at = -1
        if network.scaling is not None:
            self._affine("s", *chain.scaling_terms(network), network.inputs)
        for self.at, step in enumerate(network.steps):
            form = table.form_of(step, "c")
            if callable(form):
                form(self, step)
            else:
                self.elementwise(step, self._body(step, form))
        self._in_memory(network.outputs)

    def _body(self, step, form):
        """Return the body of a function from the table's text."""
        names = registry.MODULES[step.cls].settings
        settings = {name: self.number(getattr(step.module, name)) for name in names}
        text = form.format(f=self.f, real=self.real, **settings)
        return text if "return" in text else f"return {text};"

    def _array(self, name, values):
        self.arrays.append(c_text.array(self.real, name, values, self.dtype))

    def _affine(self, label, mean, factor, offset, n):
        """Add (source − mean) ⊙ factor + offset; zeros are left out."""
        value = f"{self.source}[i]"
        for letter, values, form in (
            ("m", mean, "({} - {}[i])"),
            ("g", factor, "{} * {}[i]"),
            ("o", offset, "{} + {}[i]"),
        ):
            if letter == "g" or values.any():
                self._array(f"{letter}{label}", values)
                value = form.format(value, f"{letter}{label}")
        target = self._target()
        self._loop(n, f"{target}[i] = {value};")
        self._goes_on_in(target, n)

    def _target(self):
        """Return the array for the outputs of a step that keeps their number."""
        if self.source != "x":
            return self.source
        return "a" if self.at < self.last else "y"

    def _in_memory(self, n):
        """Copy the inputs, which are not changed, before a step that works in place."""
        if self.source == "x":
            target = self._target()
            self._loop(n, f"{target}[i] = x[i];")
            self._goes_on_in(target, n)

    def _goes_on_in(self, target, n):
        if target != "y":
            self.buffers[target] = max(n, self.buffers.get(target, 0))
        self.source = target

    def _loop(self, n, line):
        self.lines.append(f"for (size_t i = 0; i < {n}; i++)\n        {line}")

    # ---------------------------------------------------------------- the file

    def text(self, samples):
        """Return the file."""
        self._steps()
        name, real, upper = self.name, self.real, self.name.upper()
        stack = sum(self.buffers.values()) * self.dtype.itemsize
        prototype = f"void {name}(const {real} x[{upper}_INPUTS], {real} y[{upper}_OUTPUTS])"
        parts = [
            c_text.comment(self._about(stack)),
            c_text.header(
                name,
                {"INPUTS": self.network.inputs, "OUTPUTS": self.network.outputs},
                [f"{prototype};"],
            ),
            f"#ifndef {upper}_HEADER\n#include <math.h>\n#include <stddef.h>\n",
        ]
        words = {"name": name, "NAME": upper, "real": real, "f": self.f, "F": self.f.upper()}
        parts += [text.format(**words) for text in self.helpers.values()]
        parts += [
            f"\nstatic {real} {function}({real} z)\n{{\n    "
            + body.replace("; ", ";\n    ")
            + "\n}\n"
            for body, function in self.functions.items()
        ]
        buffers = "".join(f"    {real} {b}[{n}];\n" for b, n in sorted(self.buffers.items()))
        body = "".join(f"    {line}\n" for line in self.lines)
        parts.append(f"\n{prototype}\n{{\n{''.join(self.arrays)}{buffers}\n{body}}}\n")
        parts += [self._self_test(samples), "#endif\n"]
        return "".join(parts)

    def _about(self, stack):
        upper = self.name.upper()
        return [
            f"{self.name}: a network of {self.real}, written by nncore {__version__}.",
            f"{', '.join(repr(step.module) for step in self.network.steps)}"[:2000],
            "",
            f"{self.name}(x, y) computes all outputs y for the inputs x of one sample"
            + (", which it scales first." if self.network.scaling is not None else ".")
            + " x and y must not overlap.",
            *c_text.order_of(self.network.classes),
            f"Needs C99 and <math.h>; {stack} bytes of stack, no other memory, no state.",
            f"Other files see the prototype and sizes alone: #define {upper}_HEADER, then "
            "#include this file.",
            f"Sums use fma if the compiler reports that it is fast (arm64, -march=haswell) or if "
            f"{upper}_FMA is defined. They are then rounded as in nncore.",
            f"With {upper}_SELF_TEST defined, {self.name}_self_test() returns 0, or the number of "
            f"the first of three samples whose outputs are off by more than {ULPS} units in the "
            "last place of the largest.",
        ]

    def _self_test(self, samples):
        X = self._test_samples() if samples is None else samples
        Y = self.net.predict_proba(self._scaled(X))
        real, f, upper = self.real, self.f, self.name.upper()
        declarations = c_text.array(real, "x", X.T, self.dtype)
        declarations += c_text.array(real, "y", np.asarray(Y, self.dtype).T, self.dtype)
        bound = self.number(ULPS * np.finfo(self.dtype).eps)
        body = f"""\
        {real} got[{upper}_OUTPUTS], largest = 0;
        {self.name}(x[k], got);
        for (size_t i = 0; i < {upper}_OUTPUTS; i++)
            if (fabs{f}(y[k][i]) > largest)
                largest = fabs{f}(y[k][i]);
        for (size_t i = 0; i < {upper}_OUTPUTS; i++)
            if (!(fabs{f}(got[i] - y[k][i]) <= {bound} * largest))
                return k + 1;
"""
        return c_text.self_test(self.name, declarations, body)

    def _test_samples(self):
        Z = np.random.default_rng(0).normal(size=(self.network.inputs, 3))
        if self.network.scaling is not None:
            factor = self.network.scaling["factor"][:, None]
            shift = self.network.scaling["shift"][:, None]
            Z = shift + Z / np.where(factor == 0, 1, factor)
        return Z.astype(self.dtype)

    def _scaled(self, X):
        return scaled(self.network, X)


def scaled(network, X):
    """Return raw inputs as the network takes them."""
    X = X.astype(network.dtype)
    if network.scaling is None:
        return X
    shift, factor = (network.scaling[key][:, None] for key in ("shift", "factor"))
    return ((X.astype(np.float64) - shift) * factor).astype(network.dtype)


# One copy for all layers: clang would unroll one for each. Each sum waits for the last one, so
# unrolling, which clang would do here, takes bytes and gains no time.
_LINEAR = textwrap.dedent(
    """
    #ifdef __GNUC__
    __attribute__((noinline))
    #endif
    static void {name}_linear(const {real} *w, const {real} *b, size_t m, size_t n,
                              const {real} *a, {real} *z)
    {{
        for (size_t j = 0; j < n; j++) {{
            {real} sum = 0;
    #ifdef __clang__
    #pragma clang loop unroll(disable)
    #endif
            for (size_t i = 0; i < m; i++)
    #if defined FP_FAST_FMA{F} || defined {NAME}_FMA
                sum = fma{f}(*w++, a[i], sum);
    #else
                sum += *w++ * a[i];
    #endif
            z[j] = sum + b[j];
        }}
    }}
    """
)
# b: NULL for a layer without bias
_LINEAR_OR_PRODUCT = _LINEAR.replace("sum + b[j]", "b ? sum + b[j] : sum")
_SOFTMAX = textwrap.dedent(
    """
    static void {name}_softmax({real} *z, size_t n)
    {{
        {real} largest = z[0], sum = 0;
        for (size_t i = 1; i < n; i++)
            if (z[i] > largest)
                largest = z[i];
        for (size_t i = 0; i < n; i++)
            sum += z[i] = exp{f}(z[i] - largest);
        for (size_t i = 0; i < n; i++)
            z[i] /= sum;
    }}
    """
)
