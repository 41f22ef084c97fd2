"""Every kernel compared with the NumPy reference of its name, on the shapes of P4: batch 128, 784
inputs, 256 units, 10 classes."""

import inspect

import numpy as np
import pytest
import workloads

from nncore.kernels import compiled, numpy_kernels

BATCH, INPUTS, UNITS, CLASSES = 128, 784, 256, 10
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


def arguments(kernel, dtype):
    """The arrays that a kernel takes, columns being samples as `fit` hands them over.

    >>> [array.shape for array in arguments("tanh_backward", "float32")]
    [(256, 128), (256, 128)]
    """
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(0, 1, shape).astype(dtype)

    def columns(features):
        return normal(BATCH, features).T

    W, W0 = normal(INPUTS, UNITS) / 28, normal(UNITS, 1)
    Y = workloads.one_hot(rng.integers(0, CLASSES, BATCH), CLASSES, dtype).T
    P = numpy_kernels.softmax_forward(columns(CLASSES))
    return {
        "linear_forward": lambda: (columns(INPUTS), W, W0),
        "linear_backward": lambda: (columns(UNITS), columns(INPUTS), W),
        "softmax_forward": lambda: (columns(CLASSES),),
        "softmax_nll": lambda: (columns(CLASSES), Y),
        "sigmoid_nll": lambda: (columns(CLASSES), Y),
        "nll": lambda: (P, Y),
        "binary_nll": lambda: (P, Y),
        "squared": lambda: (P, Y),
        "huber": lambda: (P, Y, 1.0),
        "huber_loss": lambda: (columns(CLASSES), Y, 1.0),
        "adjusted_labels": lambda: (Y, 0.1),
        "hinge": lambda: (columns(CLASSES), 2 * Y - 1),
        "squared_loss": lambda: (columns(CLASSES), Y),
        "hinge_loss": lambda: (columns(CLASSES), 2 * Y - 1),
        "leaky_relu_forward": lambda: (columns(UNITS), 0.1),
        "leaky_relu_backward": lambda: (columns(UNITS), columns(UNITS), 0.1),
        "batchnorm_forward": lambda: (columns(UNITS), W0 + 1, W0),
        "batchnorm_backward": lambda: (columns(UNITS), columns(UNITS), W0**2 + 1, W0 + 1),
        "batchnorm_apply": lambda: (columns(UNITS), W0 + 1, W0, W0, W0**2 + 1),
        "dropout": lambda: (columns(UNITS), 0.5, 1, 2),
        "sgd_step": lambda: (W, normal(INPUTS, UNITS), 0.25),
        "momentum_step": lambda: (W, normal(INPUTS, UNITS), normal(INPUTS, UNITS), 0.25, 0.9),
        "adagrad_step": lambda: (W, normal(INPUTS, UNITS), normal(INPUTS, UNITS) ** 2, 0.25, 1e-10),
        "rmsprop_step": lambda: (
            W,
            normal(INPUTS, UNITS),
            normal(INPUTS, UNITS) ** 2,
            0.25,
            0.99,
            1e-8,
        ),
        "adam_step": lambda: (
            W,
            normal(INPUTS, UNITS),
            normal(INPUTS, UNITS),
            normal(INPUTS, UNITS) ** 2,
            3,
            0.25,
            0.9,
            0.999,
            1e-8,
        ),
    }.get(
        kernel,
        lambda: tuple(columns(UNITS) for _ in range(required(getattr(numpy_kernels, kernel)))),
    )()


def required(function):
    """The number of arguments without a default.

    >>> required(numpy_kernels.tanh_backward)
    2
    """
    return sum(p.default is p.empty for p in inspect.signature(function).parameters.values())


def result(module, kernel, given):
    """What a kernel returns, or of a step, which returns nothing, its arrays afterwards.

    >>> float(result(numpy_kernels, "sgd_step", (np.ones(1), np.ones(1), 0.25))[0][0])
    0.75
    """
    if not kernel.endswith("_step"):
        return getattr(module, kernel)(*given)
    given = [value.copy() if isinstance(value, np.ndarray) else value for value in given]
    getattr(module, kernel)(*given)
    return [value for value in given if isinstance(value, np.ndarray)]


@pytest.mark.benchmark(max_time=0.2)
@pytest.mark.parametrize("backend", [compiled, numpy_kernels], ids=["nncore", "numpy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", numpy_kernels.__all__)
def test_kernel(benchmark, kernel, dtype, backend):
    given = arguments(kernel, dtype)
    wanted, got = (result(module, kernel, given) for module in (numpy_kernels, backend))
    assert workloads.deviation(got, wanted) <= TOLERANCE[dtype]
    benchmark.group = f"{kernel}, batch {BATCH}, {dtype}"
    benchmark(getattr(backend, kernel), *given)
