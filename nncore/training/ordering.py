"""The order of the samples of an epoch."""

import numpy as np

from nncore import _checks, _core


def checked_window(window, shuffle):
    """Return shuffle_window as an int or None; ValueError if there is nothing to shuffle."""
    if window is None:
        return None
    if not shuffle:
        raise ValueError(
            f"shuffle must be True for shuffle_window={_checks.shown(window)}, got {shuffle!r}"
        )
    return _checks.count("shuffle_window", window, 1, most=None)


def of_epoch(rng, samples, shuffle, window):
    """Return the samples in the order of an epoch: as they are, in a random order, or with
    `window`, in windows of so many neighbours, which come and are ordered at random.
    """
    if not shuffle:
        return samples
    count = len(samples)
    if window is None or window >= count:
        return _core.shuffled(rng, samples)
    order, at = np.empty_like(samples), 0
    for start in rng.permutation(-(-count // window)) * window:
        part = samples[start : start + window]
        order[at : at + len(part)] = _core.shuffled(rng, part)
        at += len(part)
    return order
