"""The types that annotations of public functions name."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Array",
    "Callback",
    "Backend",
    "ArrayLike",
    "Float",
    "Init",
    "Layer",
    "LossLike",
    "OptimizerName",
    "Part",
    "Rate",
    "Reduction",
    "Samples",
    "Scaling",
    "Seed",
    "Sparse",
    "StrPath",
]

Array: TypeAlias = NDArray[Any]
Float: TypeAlias = Literal["float32", "float64"]
Backend: TypeAlias = Literal["compiled", "numpy"]
Part: TypeAlias = Literal["all", "train", "test"]
Reduction: TypeAlias = Literal["mean", "sum"]
Scaling: TypeAlias = dict[str, Any]
StrPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
# A step size, or a function of the step t = 1, 2, ...; schedules are such functions.
Rate: TypeAlias = float | Callable[[int], float]
OptimizerName: TypeAlias = Literal[
    "sgd",
    "momentum",
    "nesterov",
    "adagrad",
    "rmsprop",
    "adam",
    "adamw",
    "SGD",
    "Momentum",
    "Nesterov",
    "Adagrad",
    "RMSprop",
    "Adam",
    "AdamW",
]
# Called with (net, history) after each epoch; True ends the training.
Callback: TypeAlias = Callable[[Any, Any], object]
Seed: TypeAlias = (
    int
    | Sequence[int]
    | np.random.Generator
    | np.random.SeedSequence
    | np.random.BitGenerator
    | None
)
# W and W0 of a Linear(m, n): a rule by name, or a function (m, n) -> (W, W0).
Init: TypeAlias = (
    Literal["course", "notes", "he", "glorot", "xavier", "lecun"]
    | Callable[[int, int], tuple[ArrayLike, ArrayLike]]
)


class Layer(Protocol):
    """Whatever works as a module: it also has step(lrate) or sgd_step(lrate)."""

    def forward(self, A: Any, /) -> Any: ...
    def backward(self, delta: Any, /) -> Any: ...


class LossLike(Protocol):
    """Whatever works as a loss."""

    def forward(self, Ypred: Any, Y: Any, /) -> Any: ...
    def backward(self) -> Any: ...


@runtime_checkable
class Sparse(Protocol):
    """A sparse matrix or array of SciPy."""

    @property
    def shape(self) -> Any: ...
    def tocsr(self) -> Any: ...


Samples: TypeAlias = ArrayLike | Sparse
