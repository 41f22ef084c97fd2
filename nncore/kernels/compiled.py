"""The compiled kernels: the names and signatures of numpy_kernels, from nncore._core."""

from nncore._core import *  # noqa: F403
