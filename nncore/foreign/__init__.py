"""nncore.accelerate: run the classes of somebody else, compare them with the library's, and use the
library's where the two agree.

    probe.py        runs a user's code and records what it returns, keeps and changes
    snapshot.py     the state of the objects and generators, restored afterwards
    match.py, match_linear.py, match_norm.py, match_loss.py    which class of the library one is
    accelerate.py   the same for a whole network
"""

from nncore.foreign.accelerate import Entry, Report, accelerate

__all__ = ["Entry", "Report", "accelerate"]
