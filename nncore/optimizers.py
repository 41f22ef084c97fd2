"""Optimisers: how a step follows from the gradient. g is the gradient of the (penalised) loss, η
the step size, t = 1, 2, ... the step.

`net.fit(..., optimizer=Adam())` or by name, `optimizer="adam"`. An optimiser owns its state, arrays
of the weights' shapes and types, so one object serves one network; `fit` and `partial_fit` continue
from it, and `net.save` stores it with the model. The definitions, and the state that each starts
from, are PyTorch's. The arithmetic is that of nncore.kernels, in the weights' own memory.
"""

import dataclasses
import weakref
from typing import ClassVar

import numpy as np

from nncore import _chain, _checks, modules

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Momentum", "Nesterov", "Optimizer", "RMSprop"]


@dataclasses.dataclass(eq=False)
class Optimizer:
    """Base of the optimisers: `t` counts the steps made, `state` maps (index of the module, name of
    the weight) to its arrays."""

    STATE: ClassVar[tuple[str, ...]] = ()  # names of the arrays that a weight has
    LRATE: ClassVar[float] = 0.1  # the step size where none is given

    _modules: ClassVar[tuple | None] = None  # references to the modules that it has trained

    def __post_init__(self):
        self._check_settings()
        self.reset()

    def reset(self):
        """Forget all steps and the state, as if the optimizer were new; returns it."""
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
    def parameters(self):
        """The numbers it was made with, by name."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: _checks.number(name, getattr(self, name)) for name in names}

    def begin(self, net):
        """ValueError for settings that no step can use, and for a state that belongs to the weights
        of another network."""
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

    def bind(self, net):
        """Belong to a network from now on: net.optimizer is this one."""
        if net.optimizer is not self or self._modules is None:
            net.optimizer = self
            self._modules = tuple(map(_reference, _with_weights(net)))

    def _trained(self):
        return [reference() for reference in self._modules]

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_modules"}

    def prepare(self, weights):
        """Make the state that is not there yet, zeros, for weights {(index, name): array}.
        ValueError when what is there does not fit."""
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
                self.state[key] = tuple(np.zeros(W.shape, W.dtype) for _ in self.STATE)

    def step(self, kernels, key, W, gradient, lrate):
        """Step number t of one weight W, with its state, along its gradient, in place."""
        raise NotImplementedError

    def rule(self):
        """(name, parameters) of the rule as the compiled program knows it."""
        raise NotImplementedError


@dataclasses.dataclass(eq=False)
class SGD(Optimizer):
    """w ← w − η g: gradient descent on a sample or a batch (Robbins and Monro 1951).

    >>> SGD()
    SGD()
    """

    def step(self, kernels, key, W, gradient, lrate):
        kernels.sgd_step(W, gradient, lrate)

    def rule(self):
        return "sgd", {}


@dataclasses.dataclass(eq=False)
class Momentum(Optimizer):
    """v ← beta v + g, w ← w − η v (Polyak 1964; PyTorch's SGD with momentum).

    >>> Momentum(0.8)
    Momentum(beta=0.8)
    """

    beta: float = 0.9
    STATE = ("V",)

    def step(self, kernels, key, W, gradient, lrate):
        kernels.momentum_step(W, gradient, *self.state[key], lrate, self.beta)

    def rule(self):
        return "momentum", {"beta1": self.beta}


@dataclasses.dataclass(eq=False)
class Nesterov(Optimizer):
    """v ← beta v + g, w ← w − η (g + beta v) (Nesterov 1983, in the form of Sutskever et al. 2013;
    PyTorch's SGD with nesterov=True).

    >>> Nesterov()
    Nesterov(beta=0.9)
    """

    beta: float = 0.9
    STATE = ("V",)

    def step(self, kernels, key, W, gradient, lrate):
        kernels.momentum_step(W, gradient, *self.state[key], lrate, self.beta, True)

    def rule(self):
        return "nesterov", {"beta1": self.beta}


@dataclasses.dataclass(eq=False)
class Adagrad(Optimizer):
    """s ← s + g², w ← w − η g / (√s + eps), element by element (Duchi, Hazan, Singer 2011).

    >>> Adagrad()
    Adagrad(eps=1e-10)
    """

    eps: float = 1e-10
    STATE = ("S",)

    def step(self, kernels, key, W, gradient, lrate):
        kernels.adagrad_step(W, gradient, *self.state[key], lrate, self.eps)

    def rule(self):
        return "adagrad", {"eps": self.eps}


@dataclasses.dataclass(eq=False)
class RMSprop(Optimizer):
    """s ← rho s + (1 − rho) g², w ← w − η g / (√s + eps), element by element (Tieleman and Hinton
    2012, lecture 6.5).

    >>> RMSprop(rho=0.9)
    RMSprop(rho=0.9, eps=1e-08)
    """

    rho: float = 0.99
    eps: float = 1e-8
    STATE = ("S",)
    LRATE = 0.001

    def step(self, kernels, key, W, gradient, lrate):
        kernels.rmsprop_step(W, gradient, *self.state[key], lrate, self.rho, self.eps)

    def rule(self):
        return "rmsprop", {"beta2": self.rho, "eps": self.eps}


@dataclasses.dataclass(eq=False)
class Adam(Optimizer):
    """m ← beta1 m + (1 − beta1) g, v ← beta2 v + (1 − beta2) g², w ← w − η m' / (√v' + eps) with m'
    = m / (1 − beta1ᵗ) and v' = v / (1 − beta2ᵗ), element by element (Kingma and Ba 2015).

    >>> Adam()
    Adam(beta1=0.9, beta2=0.999, eps=1e-08)
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    STATE = ("M", "V")
    LRATE = 0.001

    def step(self, kernels, key, W, gradient, lrate):
        decay = getattr(self, "weight_decay", 0.0)
        kernels.adam_step(
            W, gradient, *self.state[key], self.t, lrate, self.beta1, self.beta2, self.eps, decay
        )

    def rule(self):
        return "adam", self.parameters


@dataclasses.dataclass(eq=False)
class AdamW(Adam):
    """w ← (1 − η weight_decay) w, then Adam's step: decay that is no part of the gradient
    (Loshchilov and Hutter 2019).

    As in the paper and in PyTorch it decays every weight, W0 among them; the l2 of `fit` penalises
    W only.

    >>> AdamW(weight_decay=0.1)
    AdamW(beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.1)
    """

    weight_decay: float = 0.01


# ----------------------------------------------------------------------- the weights that it trains


def _with_weights(net):
    """The modules of a network that optimisers train."""
    return [module for module in _chain.modules_of(net) if getattr(module, "gradients", None)]


def _reference(module):
    """A weak reference, or a strong one to an object that allows no other."""
    try:
        return weakref.ref(module)
    except TypeError:
        return lambda: module


def has_own_step(module):
    """Whether a module's own step trains it: one that a user wrote below the class that names its
    gradients, or without any such."""
    names = {"step", "sgd_step"}
    if not names.isdisjoint(getattr(module, "__dict__", ())):
        return True
    for cls in type(module).__mro__:
        if cls is modules.Module or "gradients" in vars(cls):
            return False
        if not names.isdisjoint(vars(cls)):
            return True
    return False


def trained_weights(net, optimizer, l2):
    """{(index of the module, name): array} of all weights that `optimizer` trains, ready to be
    updated in place; the modules of inner Sequentials count one by one.

    TypeError for modules that only their own step can train, unless that is what plain SGD without
    a penalty calls.
    """
    plain = type(optimizer) is SGD and l2 == 0
    weights = {}
    for i, module in enumerate(_chain.modules_of(net)):
        if has_own_step(module):
            if not plain:
                what = type(optimizer).__name__ if type(optimizer) is not SGD else "a penalty (l2)"
                raise TypeError(
                    f"modules[{i}] must name its gradients, as in gradients = {{'W': 'dLdW'}}, or "
                    f"{{}} where it has none, "
                    f"to be trained by {what}, got {type(module).__name__} with a step of its own"
                )
            continue
        for name in getattr(module, "gradients", ()):
            weights[i, name] = getattr(module, name)
    return weights
