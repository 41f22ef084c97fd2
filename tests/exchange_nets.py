"""Networks and C programs that the tests of exported networks share."""

import ctypes
import shutil
import subprocess

import numpy as np

import nncore as nn

ACTIVATIONS = {
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "Sigmoid": nn.Sigmoid,
    "LeakyReLU": lambda: nn.LeakyReLU(0.2),
    "GELU": nn.GELU,
    "GELU tanh": lambda: nn.GELU("tanh"),
    "SiLU": nn.SiLU,
    "SoftMax": nn.SoftMax,
    "OutputSigmoid": nn.OutputSigmoid,
}
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wdouble-promotion", "-Werror"]
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]


def norm(m, dtype, rng):
    """A BatchNorm with running statistics that are not 0 and 1."""
    made = nn.BatchNorm(m, statistics="running", dtype=dtype)
    made.running_mean[:] = rng.normal(size=(m, 1))
    made.running_var[:] = rng.uniform(0.2, 2, (m, 1))
    made.G[:], made.B[:] = rng.uniform(0.5, 1.5, (m, 1)), rng.normal(size=(m, 1))
    return made


def network(activation, dtype, output=nn.SoftMax):
    """Everything at once: normalisation before and after, Dropout, a network in the network."""
    rng = np.random.default_rng(0)
    np.random.seed(0)
    act = ACTIVATIONS[activation]
    inner = nn.Sequential([act(), nn.Linear(13, 5, dtype=dtype)])
    parts = [nn.Linear(7, 13, dtype=dtype), act(), norm(13, dtype, rng), nn.Dropout(0.3)]
    parts += [nn.Linear(13, 13, dtype=dtype), norm(13, dtype, rng), inner]
    for part in (parts[0], parts[4], inner.modules[1]):
        part.W0[:] = rng.normal(size=part.W0.shape)
    return nn.Sequential([*parts, *([output()] if output else [])])


def samples(count, inputs, dtype, spread=1.0):
    return (np.random.default_rng(1).normal(size=(inputs, count)) * spread).astype(dtype)


def digits(hidden, dtype, activation=nn.Tanh, steps=3000):
    """A network of the digits after some steps, as in the figures that are promised."""
    X, labels = nn.datasets.load_digits("train")
    np.random.seed(0)
    parts = []
    for m, n in zip([64, *hidden], [*hidden, 10], strict=True):
        parts += [nn.Linear(m, n, init="notes", dtype=dtype), activation()]
    net = nn.Sequential([*parts[:-1], nn.SoftMax()], nn.NLL())
    net.sgd((X / 16).astype(dtype), nn.datasets.one_hot(labels, 10, dtype), steps, 0.02)
    return net


def ulps(a, b):
    """The largest difference in units in the last place."""
    return float((np.abs(a - b) / np.spacing(np.maximum(np.abs(a), np.abs(b)))).max(initial=0))


class Compiled:
    """A function NAME(x, y) of a file of C, compiled for this machine."""

    def __init__(self, path, name, real, outputs, compiler=None, result=None, options=("-O2",)):
        library = path.with_suffix(f".{compiler or 'cc'}{len(list(path.parent.iterdir()))}.so")
        command = [compiler or COMPILERS[0], *WARNINGS, *options, f"-D{name.upper()}_SELF_TEST"]
        command += ["-shared", "-fPIC", "-o", str(library), str(path), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
        self.library = ctypes.CDLL(str(library))
        self.function = getattr(self.library, name)
        self.real, self.outputs, self.result = real, outputs, result or real
        self.self_test = getattr(self.library, f"{name}_self_test")

    def __call__(self, X):
        X = np.ascontiguousarray(X.T, self.real)
        Y = np.empty((len(X), self.outputs), self.result)
        for x, y in zip(X, Y, strict=True):
            self.function(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p))
        return Y.T
