"""Signatures of the compiled core. Formulas, shapes and types: nncore.kernels.numpy_kernels."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[Any]
Rate = float | Callable[[int], float]
Out = TypeVar("Out", bound=Array)

TUNING: dict[str, int]
CLIPPING_EPS: float

def linear_forward(
    A: ArrayLike, W: ArrayLike, W0: ArrayLike, out: Array | None = None
) -> Array: ...
def linear_backward(
    dLdZ: ArrayLike, A: ArrayLike, W: ArrayLike, out: tuple[Array, Array, Array] | None = None
) -> tuple[Array, Array, Array]: ...
def tanh_forward(Z: ArrayLike, out: Array | None = None) -> Array: ...
def tanh_backward(dLdA: ArrayLike, A: ArrayLike, out: Array | None = None) -> Array: ...
def leaky_relu_forward(Z: ArrayLike, slope: float, out: Array | None = None) -> Array: ...
def leaky_relu_backward(
    dLdA: ArrayLike, A: ArrayLike, slope: float, out: Array | None = None
) -> Array: ...
def gelu_forward(Z: ArrayLike, out: Array | None = None) -> Array: ...
def gelu_backward(dLdA: ArrayLike, Z: ArrayLike, out: Array | None = None) -> Array: ...
def gelu_tanh_forward(Z: ArrayLike, out: Array | None = None) -> Array: ...
def gelu_tanh_backward(dLdA: ArrayLike, Z: ArrayLike, out: Array | None = None) -> Array: ...
def silu_forward(Z: ArrayLike, out: Array | None = None) -> Array: ...
def silu_backward(dLdA: ArrayLike, Z: ArrayLike, out: Array | None = None) -> Array: ...
def relu_forward(Z: ArrayLike, out: Array | None = None) -> Array: ...
def relu_backward(dLdA: ArrayLike, A: ArrayLike, out: Array | None = None) -> Array: ...
def sigmoid_forward(Z: ArrayLike, out: Array | None = None) -> Array: ...
def sigmoid_backward(dLdA: ArrayLike, A: ArrayLike, out: Array | None = None) -> Array: ...
def softmax_forward(Z: ArrayLike, out: Array | None = None) -> Array: ...
def softmax_nll(Z: ArrayLike, Y: ArrayLike, out: Array | None = None) -> tuple[float, Array]: ...
def sigmoid_nll(Z: ArrayLike, Y: ArrayLike, out: Array | None = None) -> tuple[float, Array]: ...
def squared_loss(Z: ArrayLike, Y: ArrayLike, out: Array | None = None) -> tuple[float, Array]: ...
def hinge_loss(Z: ArrayLike, Y: ArrayLike, out: Array | None = None) -> tuple[float, Array]: ...
def nll(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array: ...
def nll_backward(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array: ...
def binary_nll(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array: ...
def squared(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array: ...
def hinge(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array: ...
def absolute_loss(Z: ArrayLike, Y: ArrayLike, out: Array | None = None) -> tuple[float, Array]: ...
def absolute(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array: ...
def huber_loss(
    Z: ArrayLike, Y: ArrayLike, delta: float, out: Array | None = None
) -> tuple[float, Array]: ...
def huber(Ypred: ArrayLike, Y: ArrayLike, delta: float, out: Array | None = None) -> Array: ...
def adjusted_labels(
    Y: ArrayLike,
    smoothing: float,
    class_weight: ArrayLike | None = None,
    out: Array | None = None,
) -> Array: ...
def batchnorm_forward(
    A: ArrayLike, G: ArrayLike, B: ArrayLike, eps: float = 1e-20
) -> tuple[Array, Array, Array, Array]: ...
def batchnorm_apply(
    A: ArrayLike, G: ArrayLike, B: ArrayLike, mus: ArrayLike, vars: ArrayLike, eps: float = 1e-20
) -> Array: ...
def batchnorm_backward(
    dLdZ: ArrayLike, norm: ArrayLike, vars: ArrayLike, G: ArrayLike, eps: float = 1e-20
) -> tuple[Array, Array, Array]: ...
def dropout(A: ArrayLike, p: float, key: int, count: int) -> Array: ...
def sgd_step(W: Array, dLdW: ArrayLike, lrate: float) -> None: ...
def step_terms(W: Array, dLdW: ArrayLike, lrate: float) -> tuple[Array, Array, float]: ...
def take_steps(terms: list[tuple[Array, Array, float]]) -> None: ...
def momentum_step(
    W: Array, dLdW: ArrayLike, V: Array, lrate: float, beta: float, nesterov: bool = False
) -> None: ...
def adagrad_step(W: Array, dLdW: ArrayLike, S: Array, lrate: float, eps: float) -> None: ...
def rmsprop_step(
    W: Array, dLdW: ArrayLike, S: Array, lrate: float, rho: float, eps: float
) -> None: ...
def rule_step(
    name: str,
    W: Array,
    dLdW: ArrayLike,
    states: Sequence[Array],
    lrate: float,
    parameters: dict[str, float],
) -> None: ...
def adam_step(
    W: Array,
    dLdW: ArrayLike,
    M: Array,
    V: Array,
    t: int,
    lrate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
) -> None: ...
def set_live(compiled: bool) -> None: ...
def forward_chain(
    modules: Any, X: Any, known: dict[type, tuple[Callable[..., Array], int]]
) -> Array: ...
def backward_chain(
    modules: list[Any],
    delta: Any,
    plain: PlainModules,
    other: Callable[[Any, Any], Any],
    wanted: bool,
) -> Any: ...
def step_chain(modules: list[Any], lrate: Any, plain: PlainModules) -> bool: ...
def argmax_columns(x: Any) -> NDArray[np.int64] | None: ...
def randint(n: int, size: int | None = None) -> Any: ...
def fit_passes(
    program: Program,
    X: Any,
    Y: Any,
    samples: NDArray[np.int64],
    rng: np.random.Generator | None,
    most: int,
    batch_size: int,
    rate: float,
    t0: int,
    mean: bool,
    weights: NDArray[np.float64] | None,
) -> list[float]: ...
def shuffled(rng: np.random.Generator, values: NDArray[np.int64]) -> NDArray[np.int64]: ...
def sum_pairwise(x: Any) -> float | None: ...
def set_kinds(
    library: dict[type, type], names: frozenset[str], inherited: Callable[[type], type | None]
) -> None: ...
def set_sessions(training: dict[int, object]) -> None: ...
def end_session(key: int, claimant: object) -> None: ...
def kind(thing: Any) -> type | None: ...
def byte_bounds(a: Array) -> tuple[int, int]: ...
def has_nan(x: Array) -> bool: ...

ACTIVATIONS: dict[str, int]
SPECIAL_KINDS: dict[str, int]

def apply(function: str, X: ArrayLike) -> Array: ...
def isa_levels() -> tuple[str, ...]: ...
def get_isa() -> str: ...
def set_isa(name: str) -> None: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def pool() -> tuple[int, int]: ...
def only_helpers(on: bool) -> None: ...
def config() -> dict[str, Any]: ...

class Rows:
    shape: tuple[int, int]
    def __init__(
        self,
        data: Array,
        columns: NDArray[np.int32],
        row_starts: NDArray[np.int64],
        features: int,
    ) -> None: ...

class Classes:
    numbers: NDArray[np.int32]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    ndim: int
    size: int
    def __init__(self, numbers: ArrayLike, n: int, dtype: DTypeLike) -> None: ...
    def __getitem__(self, key: Any) -> Array: ...

def set_copies(most: int | None = None, window: int | None = None) -> None: ...
def are_layers(coefs: list[Array], intercepts: list[Array]) -> bool: ...
def is_plain(X: Any, features: int) -> bool: ...
def is_plain_vector(Y: Any, n: int) -> bool: ...
def all_finite(arrays: list[Array]) -> bool: ...
def are_chained(objects: list[Any], lists: tuple[list[Any], ...]) -> bool: ...

class Compiled:
    last_plan: dict[str, Any]
    live: bool
    nbytes: int
    resident_bytes: int
    def __init__(
        self,
        stages: list[tuple[Any, str]],
        loss: str | None,
        dtype: DTypeLike,
        inputs: int,
        plain: bool = False,
        parameter: float = 0,
        smoothing: float = 0,
        class_weight: ArrayLike | None = None,
    ) -> None: ...
    def set_objective(
        self,
        loss_factor: float = 1,
        gradient_factor: float = 1,
        loss_parameter: float = 0,
        clips: bool = False,
        l2_per_weight: float = -1,
        plain_root: bool = False,
        continues: bool = False,
        short_calls: bool = False,
    ) -> None: ...
    def use(
        self,
        rule: str,
        parameters: dict[str, float],
        states: list[tuple[tuple[Array, ...], tuple[Array, ...]]],
        l2: float,
        clip_value: float = 1e999,
        clip_norm: float = 1e999,
    ) -> None: ...
    def freeze(self) -> None: ...
    def run(
        self, X: Array | Rows, Y: Array | None = None
    ) -> tuple[Array, NDArray[np.float64] | None]: ...
    def outputs_of_plain(
        self, X: Any, arrays: list[Any], lists: tuple[list[Any], ...]
    ) -> Array | None: ...
    def forget(self) -> None: ...

class Program(Compiled):
    steps: int
    steps_by_function: int
    total: float
    optimizer: Any
    def sgd(
        self,
        X: Array,
        Y: Array,
        iters: int,
        rate: Rate,
        on_nonfinite: Callable[[int], None],
        t0: int = 0,
    ) -> None: ...
    def fit(
        self,
        X: Array | Rows,
        Y: Array,
        order: NDArray[np.int64],
        batch_size: int,
        rate: Rate,
        t0: int,
        mean: bool,
        checks_data: bool = False,
        weights: NDArray[np.float64] | None = None,
    ) -> float: ...
    def gradient(
        self,
        X: Array | Rows,
        Y: Array,
        order: NDArray[np.int64],
        batch_size: int,
        weights: NDArray[np.float64] | None = None,
    ) -> float: ...
    def plan(
        self,
        call: str,
        X: Array,
        Y: Array | None = None,
        batch_size: int = 1,
        rate: Rate = 0.0,
        weights: NDArray[np.float64] | None = None,
    ) -> dict[str, Any]: ...

class Epochs:
    best: float
    bad: float
    def __init__(
        self,
        program: Program,
        X: Array | Rows,
        Y: Array,
        order: NDArray[np.int64],
        batch_size: int,
        generator: np.random.RandomState | None,
        weights: NDArray[np.float64] | None,
        tol: float,
        patience: float,
        single: bool,
    ) -> None: ...
    def hold_out(
        self,
        kind: str,
        X: Array | Rows,
        targets: Array,
        weights: NDArray[np.float64] | None,
        best: list[Array],
        threshold: float = 0,
        spreads: NDArray[np.float64] | None = None,
        exponential: bool = False,
    ) -> None: ...
    def run(
        self,
        etas: NDArray[np.float64],
        losses: NDArray[np.float64],
        scores: NDArray[np.float64],
    ) -> tuple[int, bool]: ...

class PlainModules:
    def __init__(self, numbers: dict[type, int], unpatched: Callable[[type], bool]) -> None: ...

class Snapshot:
    def watch(
        self,
        owner: Any,
        things: list[tuple[Any, tuple[str, ...] | None]],
        lists: list[Any],
        arrays: list[Any],
        valid: bool = True,
    ) -> None: ...
    def holds(self, owner: Any) -> bool: ...
    def compare(self, owner: Any) -> bool: ...
    def renew(self, owner: Any) -> None: ...
    def is_disjoint(self, data: Array) -> bool: ...

class WatchedRate:
    def __init__(
        self,
        rate: Callable[[int], float],
        changed: Callable[[float], Exception],
        snapshot: Snapshot | None,
        owner: Any,
        unchanged: Callable[[], bool] | None,
    ) -> None: ...
    def __call__(self, t: int) -> float: ...

class Ready:
    program: Program | None
    fingerprint: Any
    settings: Any
    optimizer: Any
    plain: bool
    l2: float
    calls: int
    def __init__(
        self,
        program: Program | None,
        fingerprint: Snapshot,
        settings: Snapshot | None,
        optimizer: Any,
        name: str | None,
        plain: bool,
        l2: float,
        labels: str | None,
        sizes: tuple[int, int, DTypeLike],
        clipping: Any = None,
    ) -> None: ...
    def holds(self, net: Any) -> bool: ...
    def data(self, net: Any, X: Any, Y: Any) -> tuple[Array, Array] | None: ...
    def outputs(
        self, net: Any, X: Any, Y: Any = None
    ) -> tuple[Array, NDArray[np.float64] | None, Array | None] | None: ...
    def partial_fit(
        self,
        net: Any,
        X: ArrayLike,
        Y: ArrayLike,
        batch_size: int,
        lrate: Rate | None,
        optimizer: Any,
        l2: float,
        reduction: str,
        clipping: Any = None,
        claimant: Any = None,
        order: NDArray[np.int64] | None = None,
        t0: int | None = None,
    ) -> float | None: ...

class Learner:
    net: Any
    optimizer: Any
    closed: bool
    fast_calls: int
    def __init__(self, net: Any, optimizer: Any, rate: Rate, general: Any) -> None: ...
    def open(self, token: Any) -> None: ...
    def __call__(self, x: Any, y: ArrayLike) -> float: ...
    def predict(self, x: Any) -> Array: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...

class Copies:
    def __init__(self, arrays: Iterable[Array]) -> None: ...
    def put_back(self) -> int: ...

class Predictor:
    def __init__(
        self, stages: list[tuple[Any, str]], dtype: DTypeLike, inputs: int, description: str
    ) -> None: ...
    @overload
    def __call__(self, x: ArrayLike, out: None = None) -> Array: ...
    @overload
    def __call__(self, x: ArrayLike, out: Out) -> Out: ...

class Frozen:
    W: Array
    W0: Array
    def __init__(self, W: Array, W0: Array) -> None: ...
