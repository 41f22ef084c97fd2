"""nncore.accelerate: replace modules of other classes by the library's if both compute the same.

probe.py        runs a user's code and records what it returns, keeps and changes
snapshot.py     the state of objects and generators, restored afterwards
match.py, match_linear.py, match_norm.py, match_loss.py    find the library's class
accelerate.py   assembles the new network
"""

from __future__ import annotations

from nncore import _names
from nncore.foreign.accelerate import Entry, Report, accelerate

__all__ = ["Entry", "Report", "accelerate"]


def __dir__() -> list[str]:
    return _names.shown(globals())
