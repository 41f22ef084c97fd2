"""The compiled kernels: the names and signatures of numpy_kernels, from nncore._core."""

from nncore._core import (
    adagrad_step,
    adam_step,
    batchnorm_apply,
    batchnorm_backward,
    batchnorm_forward,
    binary_nll,
    dropout,
    hinge,
    hinge_loss,
    linear_backward,
    linear_forward,
    momentum_step,
    nll,
    nll_backward,
    relu_backward,
    relu_forward,
    rmsprop_step,
    sgd_step,
    sigmoid_backward,
    sigmoid_forward,
    sigmoid_nll,
    softmax_forward,
    softmax_nll,
    squared,
    squared_loss,
    step_terms,  # noqa: F401  (for nncore.modules)
    tanh_backward,
    tanh_forward,
)

__all__ = [
    "adagrad_step", "adam_step", "batchnorm_apply", "batchnorm_backward", "batchnorm_forward",
    "binary_nll", "dropout", "hinge", "hinge_loss", "linear_backward", "linear_forward",
    "momentum_step", "nll", "nll_backward", "relu_backward", "relu_forward", "rmsprop_step",
    "sgd_step", "sigmoid_backward", "sigmoid_forward", "sigmoid_nll", "softmax_forward",
    "softmax_nll", "squared", "squared_loss", "tanh_backward", "tanh_forward",
]
