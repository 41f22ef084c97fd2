"""The kernels that take arrays and give new ones, and arguments for them."""

import zlib

import numpy as np

# name: ((argument, shape in letters) ...), shapes of the results, index of the argument whose type
# computes: the weights, what an activation gave, or the first
KERNELS = {
    "linear_forward": ((("A", "mb"), ("W", "mn"), ("W0", "n1")), ("nb",), 1),
    "linear_backward": ((("dLdZ", "nb"), ("A", "mb"), ("W", "mn")), ("mb", "mn", "n1"), 2),
    "tanh_forward": ((("Z", "nb"),), ("nb",), 0),
    "relu_forward": ((("Z", "nb"),), ("nb",), 0),
    "sigmoid_forward": ((("Z", "nb"),), ("nb",), 0),
    "softmax_forward": ((("Z", "nb"),), ("nb",), 0),
    "tanh_backward": ((("dLdA", "nb"), ("A", "nb")), ("nb",), 1),
    "relu_backward": ((("dLdA", "nb"), ("A", "nb")), ("nb",), 1),
    "sigmoid_backward": ((("dLdA", "nb"), ("A", "nb")), ("nb",), 1),
    "softmax_nll": ((("Z", "nb"), ("Y", "nb")), ("nb",), 0),
    "sigmoid_nll": ((("Z", "nb"), ("Y", "nb")), ("nb",), 0),
    "squared_loss": ((("Z", "nb"), ("Y", "nb")), ("nb",), 0),
    "hinge_loss": ((("Z", "nb"), ("Y", "nb")), ("nb",), 0),
    "squared": ((("Ypred", "nb"), ("Y", "nb")), ("b",), 0),
    "hinge": ((("Ypred", "nb"), ("Y", "nb")), ("b",), 0),
    "nll_backward": ((("Ypred", "nb"), ("Y", "nb")), ("nb",), 0),
    "nll": ((("Ypred", "nb"), ("Y", "nb")), ("b",), 0),
    "binary_nll": ((("Ypred", "nb"), ("Y", "nb")), ("b",), 0),
}


def shape_of(letters, m, n, b):
    return tuple({"m": m, "n": n, "b": b, "1": 1}[letter] for letter in letters)


def values(kernel, name, shape, rng):
    """Plausible numbers for an argument: probabilities if the kernel takes their logarithm."""
    if name == "Ypred":
        return rng.uniform(0.02, 0.98, shape)
    if name == "Y":
        return (rng.random(shape) < 0.5) * 1.0
    if name == "A" and kernel.startswith(("tanh", "sigmoid")):
        return rng.uniform(0.02 if kernel.startswith("sigmoid") else -0.98, 0.98, shape)
    return rng.normal(0, 2, shape)


def arguments(kernel, m, n, b, dtype):
    rng = np.random.default_rng(zlib.crc32(f"{kernel} {m} {n} {b}".encode()))
    return [
        values(kernel, name, shape_of(s, m, n, b), rng).astype(dtype)
        for name, s in KERNELS[kernel][0]
    ]
