"""Optimizers: the rules that turn gradients into steps.

g is the gradient of the (penalised) loss, η the step size, t = 1, 2, ... the step. Pass one to
`net.fit(..., optimizer=Adam())`, or its name, `optimizer="adam"`.

An optimizer owns its state, arrays of the weights' shapes and types, so one object serves one
network. `fit` and `partial_fit` continue from the state, and `net.save` stores it with the model.
The definitions and initial states are PyTorch's. The arithmetic is that of nncore.kernels, in place
on the weights.
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np

from nncore import _chain, _checks, _memory, _names, modules
from nncore._types import Array

_T = TypeVar("_T", bound="Optimizer")

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Momentum", "Nesterov", "Optimizer", "RMSprop"]


def __dir__() -> list[str]:
    return _names.shown(globals())


@dataclasses.dataclass(eq=False)
class Optimizer:
    """Base class of the optimizers.

    Attributes
    ----------
    t : int
        The number of steps made.
    state : dict
        Maps (index of the module, name of the weight) to the tuple of its state arrays.

    Examples
    --------
    >>> optimizer = Adam()
    >>> optimizer.t, optimizer.state
    (0, {})
    """

    STATE: ClassVar[tuple[str, ...]] = ()  # names of a weight's state arrays
    LRATE: ClassVar[float] = 0.1  # the default step size

    _modules = cast(Any, None)  # references to the trained modules

    def __post_init__(self) -> None:
        self._check_settings()
        self.t: int = 0
        self.state: dict[tuple[int, str], tuple[Array, ...]] = {}
        self.reset()

    def reset(self) -> Self:
        """Forget all steps and the state, as if the optimizer were new.

        Returns
        -------
        Optimizer
            The optimizer itself.
        """
        self.t, self.state, self._modules = 0, {}, None
        return self

    def _check_settings(self):
        for field in dataclasses.fields(self):
            self._check(field.name, getattr(self, field.name))

    @staticmethod
    def _check(name, x):
        x = _checks.number(name, x)
        if name == "weight_decay" and not 0 <= x < np.inf:
            raise ValueError(f"weight_decay must be finite and at least 0, got {x}")
        if name == "eps" and not 1e-30 <= x < np.inf:
            raise ValueError(f"eps must be finite and at least 1e-30, got {x}")
        if name not in ("weight_decay", "eps") and not 0 <= x < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {x}")

    @property
    def parameters(self) -> dict[str, float]:
        """The settings by name."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: _checks.number(name, getattr(self, name)) for name in names}

    def begin(self, net: Any) -> None:
        """Check the settings and the state before a training of `net`.

        Parameters
        ----------
        net : Sequential
            The network.

        Raises
        ------
        ValueError
            If a setting is invalid, or the state belongs to the weights of another network.
        """
        self._check_settings()
        if (
            net.optimizer is self
            or self._modules is None
            or self.t == 0
            or self._trained() == _with_weights(net)
        ):
            return
        raise ValueError(
            f"optimizer must be new or belong to this network, got {self!r} after {self.t} steps "
            f"on another one; pass a new "
            "one, or call its reset()"
        )

    def bind(self, net: Any) -> None:
        """Attach the optimizer to a network: net.optimizer is this one.

        Parameters
        ----------
        net : Sequential
            The network.
        """
        if net.optimizer is not self or self._modules is None:
            net.optimizer = self
            self._modules = tuple(map(_reference, _with_weights(net)))

    def _trained(self):
        return [reference() for reference in self._modules]

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_modules"}

    def prepare(self, weights: dict[tuple[int, str], Array]) -> None:
        """Create missing state arrays, filled with zeros.

        Parameters
        ----------
        weights : dict
            {(index, name): array}.

        Raises
        ------
        ValueError
            If existing state does not fit the weights.
        """
        for key, array in self.state.items():
            wanted = weights.get(key)
            if wanted is None or any(
                a.shape != wanted.shape or a.dtype != wanted.dtype for a in array
            ):
                given = "no such weight" if wanted is None else f"{wanted.dtype} {wanted.shape}"
                raise ValueError(
                    f"optimizer must be new, or have trained a network of these shapes and types, "
                    f"got one with state of "
                    f"{array[0].dtype} {array[0].shape} for {key[1]} of modules[{key[0]}], which "
                    f"has {given}"
                )
        for key, W in weights.items() if self.STATE else ():
            if key not in self.state:
                self.state[key] = tuple(_memory.zeros(W.shape, W.dtype) for _ in self.STATE)

    def step(
        self, kernels: Any, key: tuple[int, str], W: Array, gradient: Array, lrate: float
    ) -> None:
        """Make step number `t` of one weight and its state, in place.

        Parameters
        ----------
        kernels : module
            The kernels to use.
        key : tuple
            (index of the module, name of the weight).
        W : ndarray
            The weight.
        gradient : ndarray
            Its gradient.
        lrate : float
            The step size.
        """
        name, parameters = self.rule()
        kernels.rule_step(name, W, gradient, self.state.get(key, ()), lrate, parameters)

    def rule(self) -> tuple[str, dict[str, float]]:
        """Return the rule for the compiled program.

        Returns
        -------
        name : str
            The name of the rule.
        parameters : dict
            Its settings, by the program's names.
        """
        raise NotImplementedError


def _answering(cls: type[_T]) -> type[_T]:
    """Let a class answer settings that it does not have; above all a step size, which is no setting
    of an optimizer here.
    """
    cls.__init__ = _names.answering_with(_misplaced)(cls.__init__)  # type: ignore[method-assign]
    return cls


def _misplaced(optimizer: Optimizer, *given: Any, **_: Any) -> str | None:
    """Return the sentence about settings given without their names, or None."""
    name, settings = type(optimizer).__name__, dataclasses.fields(optimizer)
    positional = [field for field in settings if not field.kw_only]
    if len(given) <= len(positional):
        return None
    shown = ", ".join(f"{field.name}={field.default!r}" for field in settings)
    by_name = f"; settings are given by name, as in {name}({shown})" if settings else ""
    rate = given[len(positional)]
    return (
        f"{name}({', '.join(map(repr, given))}) sets no step size, which is an argument of the "
        f"training: net.fit(X, Y, optimizer={name}(), lrate={rate!r}){by_name}"
    )


@_answering
@dataclasses.dataclass(eq=False)
class SGD(Optimizer):
    """Gradient descent on a sample or a batch: w ← w − η g.

    Notes
    -----
    Robbins and Monro 1951.

    Examples
    --------
    >>> SGD()
    SGD()
    """

    def step(
        self, kernels: Any, key: tuple[int, str], W: Array, gradient: Array, lrate: float
    ) -> None:
        kernels.sgd_step(W, gradient, lrate)

    def rule(self) -> tuple[str, dict[str, float]]:
        return "sgd", {}


@_answering
@dataclasses.dataclass(eq=False)
class Momentum(Optimizer):
    """Momentum: v ← beta v + g, w ← w − η v.

    Parameters
    ----------
    beta : float
        The decay of v, at least 0 and below 1.

    Notes
    -----
    Polyak 1964; PyTorch's SGD with momentum.

    Examples
    --------
    >>> Momentum(0.8)
    Momentum(beta=0.8)
    """

    beta: float = 0.9
    STATE = ("V",)

    def step(
        self, kernels: Any, key: tuple[int, str], W: Array, gradient: Array, lrate: float
    ) -> None:
        kernels.momentum_step(W, gradient, *self.state[key], lrate, self.beta)

    def rule(self) -> tuple[str, dict[str, float]]:
        return "momentum", {"beta1": self.beta}


@_answering
@dataclasses.dataclass(eq=False)
class Nesterov(Optimizer):
    """Nesterov's momentum: v ← beta v + g, w ← w − η (g + beta v).

    Parameters
    ----------
    beta : float
        The decay of v, at least 0 and below 1.

    Notes
    -----
    Nesterov 1983, in the form of Sutskever et al. 2013; PyTorch's SGD with nesterov=True.

    Examples
    --------
    >>> Nesterov()
    Nesterov(beta=0.9)
    """

    beta: float = 0.9
    STATE = ("V",)

    def step(
        self, kernels: Any, key: tuple[int, str], W: Array, gradient: Array, lrate: float
    ) -> None:
        kernels.momentum_step(W, gradient, *self.state[key], lrate, self.beta, True)

    def rule(self) -> tuple[str, dict[str, float]]:
        return "nesterov", {"beta1": self.beta}


@_answering
@dataclasses.dataclass(eq=False, kw_only=True)
class Adagrad(Optimizer):
    """Adagrad: s ← s + g², w ← w − η g / (√s + eps), elementwise.

    Parameters
    ----------
    eps : float
        Added to the divisor, at least 1e-30.

    Notes
    -----
    Duchi, Hazan, Singer 2011.

    Examples
    --------
    >>> Adagrad()
    Adagrad(eps=1e-10)
    """

    eps: float = 1e-10
    STATE = ("S",)

    def step(
        self, kernels: Any, key: tuple[int, str], W: Array, gradient: Array, lrate: float
    ) -> None:
        kernels.adagrad_step(W, gradient, *self.state[key], lrate, self.eps)

    def rule(self) -> tuple[str, dict[str, float]]:
        return "adagrad", {"eps": self.eps}


@_answering
@dataclasses.dataclass(eq=False, kw_only=True)
class RMSprop(Optimizer):
    """RMSprop: s ← rho s + (1 − rho) g², w ← w − η g / (√s + eps), elementwise.

    Parameters
    ----------
    rho : float
        The decay of s, at least 0 and below 1.
    eps : float
        Added to the divisor, at least 1e-30.

    Notes
    -----
    Tieleman and Hinton 2012, lecture 6.5.

    Examples
    --------
    >>> RMSprop(rho=0.9)
    RMSprop(rho=0.9, eps=1e-08)
    """

    rho: float = 0.99
    eps: float = 1e-8
    STATE = ("S",)
    LRATE = 0.001

    def step(
        self, kernels: Any, key: tuple[int, str], W: Array, gradient: Array, lrate: float
    ) -> None:
        kernels.rmsprop_step(W, gradient, *self.state[key], lrate, self.rho, self.eps)

    def rule(self) -> tuple[str, dict[str, float]]:
        return "rmsprop", {"beta2": self.rho, "eps": self.eps}


@_answering
@dataclasses.dataclass(eq=False, kw_only=True)
class Adam(Optimizer):
    """Adam: steps scaled by moving averages of the gradient and its square, elementwise.

    m ← beta1 m + (1 − beta1) g, v ← beta2 v + (1 − beta2) g², w ← w − η m' / (√v' + eps) with m' =
    m / (1 − beta1ᵗ) and v' = v / (1 − beta2ᵗ).

    Parameters
    ----------
    beta1 : float
        The decay of m, at least 0 and below 1.
    beta2 : float
        The decay of v, at least 0 and below 1.
    eps : float
        Added to the divisor, at least 1e-30.

    Notes
    -----
    Kingma and Ba 2015.

    Examples
    --------
    >>> Adam()
    Adam(beta1=0.9, beta2=0.999, eps=1e-08)
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    STATE = ("M", "V")
    LRATE = 0.001

    def step(
        self, kernels: Any, key: tuple[int, str], W: Array, gradient: Array, lrate: float
    ) -> None:
        decay = getattr(self, "weight_decay", 0.0)
        kernels.adam_step(
            W, gradient, *self.state[key], self.t, lrate, self.beta1, self.beta2, self.eps, decay
        )

    def rule(self) -> tuple[str, dict[str, float]]:
        return "adam", self.parameters


@_answering
@dataclasses.dataclass(eq=False, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: w ← (1 − η weight_decay) w, then Adam's step.

    Parameters
    ----------
    beta1 : float
        The decay of m, at least 0 and below 1.
    beta2 : float
        The decay of v, at least 0 and below 1.
    eps : float
        Added to the divisor, at least 1e-30.
    weight_decay : float
        The decay of the weights, at least 0. It is not part of the gradient.

    Notes
    -----
    Loshchilov and Hutter 2019. As in the paper and in PyTorch it decays every weight, W0 too; the
    l2 of `fit` penalises W only.

    Examples
    --------
    >>> AdamW(weight_decay=0.1)
    AdamW(beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.1)
    """

    weight_decay: float = 0.01


# ----------------------------------------------------------------------- the weights that it trains


def _with_weights(net):
    """Return the modules of a network that optimizers train."""
    return [module for module in _chain.modules_of(net) if getattr(module, "gradients", None)]


def _reference(module):
    """Return a weak reference, or a strong one to an object without weak references."""
    try:
        return weakref.ref(module)
    except TypeError:
        return lambda: module


def has_own_step(module):
    """Return whether a user's step trains the module: one defined below the class that names its
    gradients, or without any.
    """
    names = {"step", "sgd_step"}
    if not names.isdisjoint(getattr(module, "__dict__", ())):
        return True
    for cls in type(module).__mro__:
        if cls is modules.Module or "gradients" in vars(cls):
            return False
        if not names.isdisjoint(vars(cls)):
            return True
    return False


def trained_weights(net, optimizer, l2, clipping=None):
    """Return {(index of the module, name): array} of all weights that `optimizer` trains, ready for
    updates in place; the modules of inner Sequentials count one by one.

    TypeError for modules that only their own step can train, except for plain SGD without a
    penalty or clipping, which calls it.
    """
    plain = type(optimizer) is SGD and l2 == 0 and clipping is None
    weights = {}
    for i, module in enumerate(_chain.modules_of(net)):
        if has_own_step(module):
            if not plain:
                what = "a penalty (l2)" if l2 else "clipped gradients"
                what = what if type(optimizer) is SGD else type(optimizer).__name__
                raise TypeError(
                    f"modules[{i}] must name its gradients, as in gradients = {{'W': 'dLdW'}}, or "
                    f"{{}} where it has none, "
                    f"to be trained by {what}, got {type(module).__name__} with a step of its own"
                )
            continue
        for name in _chain.trained(module):
            weights[i, name] = getattr(module, name)
    return weights


# {name: class}, the names being those that `fit` and the command take
NAMES = {name.lower(): globals()[name] for name in __all__ if name != "Optimizer"}
