"""The types that annotations of public functions name."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Array",
    "Callback",
    "Backend",
    "ArrayLike",
    "ClassWeight",
    "Init",
    "Integer",
    "Layer",
    "Learner",
    "LossLike",
    "OptimizerName",
    "Part",
    "Predictor",
    "Rate",
    "Reduction",
    "Samples",
    "Scaling",
    "Seed",
    "Sparse",
    "StrPath",
    "Task",
]

Array: TypeAlias = NDArray[Any]
Integer: TypeAlias = int | np.integer[Any]
Backend: TypeAlias = Literal["compiled", "numpy"]
Part: TypeAlias = Literal["all", "train", "test"]
# {class: weight}, one weight per class, or weights that balance the classes.
ClassWeight: TypeAlias = Mapping[Any, float] | Literal["balanced"] | ArrayLike
Task: TypeAlias = Literal["classification", "regression"]
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
# A string, as np.random is a tenth of the time that importing nncore takes.
Seed: TypeAlias = (
    "Integer | Sequence[int] | np.random.Generator | np.random.SeedSequence"
    " | np.random.BitGenerator | None"
)
# W and W0 of a Linear(m, n): a rule by name, or a function (m, n) -> (W, W0).
Init: TypeAlias = (
    Literal["course", "notes", "he", "glorot", "xavier", "lecun"]
    | Callable[[int, int], tuple[ArrayLike, ArrayLike]]
)


if TYPE_CHECKING:
    Out = TypeVar("Out", bound=Array)

    class Layer(Protocol):
        """Any object that works as a module; it also has step(lrate) or sgd_step(lrate)."""

        def forward(self, A: Any, /) -> Any: ...
        def backward(self, delta: Any, /) -> Any: ...

    class LossLike(Protocol):
        """Any object that works as a loss."""

        def forward(self, Ypred: Any, Y: Any, /) -> Any: ...
        def backward(self) -> Any: ...

    class Sparse(Protocol):
        """A sparse matrix or array of SciPy."""

        @property
        def shape(self) -> Any: ...
        def tocsr(self) -> Any: ...

    Samples: TypeAlias = ArrayLike | Sparse

    class Predictor(Protocol):
        """What `Sequential.predictor` returns: the compiled one, or one that scales around it."""

        @overload
        def __call__(self, x: ArrayLike, out: None = None) -> Array: ...
        @overload
        def __call__(self, x: ArrayLike, out: Out) -> Out: ...

    class Learner(Protocol):
        """What `Sequential.learner` returns: the compiled one, or one that prepares its data."""

        net: Any
        optimizer: Any

        @property
        def closed(self) -> bool: ...
        def __call__(self, x: Samples, y: ArrayLike) -> float: ...
        def predict(self, x: Samples) -> Array: ...
        def sync(self) -> None: ...
        def close(self) -> None: ...
        def __enter__(self) -> Self: ...
        def __exit__(self, *exc_info: object) -> bool | None: ...

else:  # made at run time, these classes would take a tenth of the time that importing nncore takes
    Layer = Learner = LossLike = Predictor = Sparse = Any
    Samples = ArrayLike | Any
