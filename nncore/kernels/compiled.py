"""The compiled kernels: the names and signatures of numpy_kernels, from nncore._core."""

from nncore._core import (
    binary_nll,
    hinge,
    hinge_loss,
    linear_backward,
    linear_forward,
    nll,
    relu_backward,
    relu_forward,
    sgd_step,
    sigmoid_backward,
    sigmoid_forward,
    sigmoid_nll,
    softmax_forward,
    softmax_nll,
    squared,
    squared_loss,
    tanh_backward,
    tanh_forward,
)

__all__ = [
    "binary_nll", "hinge", "hinge_loss", "linear_backward", "linear_forward", "nll", "relu_backward", "relu_forward", "sgd_step",
    "sigmoid_backward", "sigmoid_forward", "sigmoid_nll", "softmax_forward", "softmax_nll", "squared", "squared_loss", "tanh_backward",
    "tanh_forward",
]
