"""Random numbers: who draws the weights, and one seed for weights and training."""

from __future__ import annotations

import _thread
from typing import Any

import numpy as np

from nncore import _checks, _threads
from nncore._types import Seed

_root: np.random.Generator | None = None  # of trainings without a seed, after set_seed
_spawning = _thread.allocate_lock()  # NumPy counts a generator's children without one


def _unlock() -> None:
    """Make a new lock in a forked child, as another thread of the parent may hold the old one."""
    global _spawning
    _spawning = _thread.allocate_lock()


_threads.in_forked_children(_unlock)


def set_seed(seed: int | None) -> None:
    """Make everything random that follows repeatable, in this process.

    It seeds NumPy's global generator, as np.random.seed does, from which the weights of new layers,
    the masks of Dropout and the samples of `sgd` come, and the shuffling of `fit`, which
    np.random.seed does not reach.

    Parameters
    ----------
    seed : int or None
        From 0 to 2³² − 1; None returns to unpredictable numbers.

    Raises
    ------
    TypeError, ValueError
        If `seed` is anything else.

    See Also
    --------
    Linear : Takes a generator of its own, `rng`.
    Sequential.fit : Takes a `seed` of its own, which then decides.

    Examples
    --------
    >>> import numpy as np
    >>> import nncore as nn
    >>> def trained():
    ...     nn.set_seed(0)
    ...     net = nn.Sequential([nn.Linear(2, 1)], nn.Squared())
    ...     return net.fit(np.eye(2), np.ones(2), epochs=3)["loss"]
    >>> trained() == trained()
    True
    """
    global _root
    if seed is not None:
        seed = _checks.count("seed", seed, most=2**32 - 1)
    np.random.seed(seed)
    _root = None if seed is None else np.random.default_rng(seed)


def generator(name: str, seed: Seed) -> np.random.Generator:
    """Return np.random.default_rng(seed). Without a seed, the next generator after set_seed."""
    if seed is None and (root := _root) is not None:
        with _spawning:
            return root.spawn(1)[0]
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name} must be None, an integer of at least 0, or anything else that "
            f"np.random.default_rng takes, got {_checks.shown(seed)}"
        ) from None


def of_weights(rng: Seed) -> Any:
    """Return what draws the weights: NumPy's global generator for None, as in the course."""
    return np.random if rng is None else generator("rng", rng)
