"""The order in which a network calls its modules, and the arguments it passes."""

import itertools

import numpy as np

from nncore.checking.causes import same

__all__ = ["way_back", "way_forward", "way_of"]

WAYS = {  # the course's variable, the first module's argument, the mistake
    "forward": (
        "A",
        "the input X",
        "it goes through the modules from the last to the first; it must go from "
        "the first to the last",
    ),
    "backward": (
        "delta",
        "the gradient of the loss",
        "it goes through the modules from the first to the last: a "
        "module's gradient comes back from the one after it, so it must go from the last to the "
        "first, "
        "self.modules[::-1]",
    ),
}


def way_forward(work, calls):
    """Return the mistake in the first forward pass through the modules, or ""."""
    passed = _first_pass(calls, "forward")
    start = passed[0].given[0] if passed and passed[0].given else None
    return way_of(work, passed, start, "forward")


def way_back(work, calls):
    """Return the mistake in the first backward pass through the modules, or ""."""
    passed = _first_pass(calls, "backward")
    start = next((c.result for c in calls if c.index is None and c.method == "backward"), None)
    return way_of(work, passed, start, "backward") if passed else ""


def _first_pass(calls, method):
    """Return the first run of consecutive calls of the modules' method."""
    runs = itertools.groupby(calls, lambda c: c.method == method and c.index is not None)
    return next((list(run) for is_method, run in runs if is_method), [])


def way_of(work, calls, start, method):
    """Return the mistake in consecutive calls of the modules, or ""; the first call should be given
    `start`.
    """
    if not work.recordable:
        return ""
    if not calls:
        return f"it calls no module's {method}"
    order = list(range(len(work.chain)))
    order, way = order[::-1] if method == "backward" else order, [c.index for c in calls]
    if method == "backward" and calls[0].given and np.ndim(calls[0].given[0]) == 0:
        return "it is given the loss itself; it must be given dL/dZ, which is self.loss.backward()"
    if len(order) > 1 and way[0] == order[-1] and way == order[::-1][: len(way)]:
        return WAYS[method][2]
    if _drops_results(calls):
        return _dropped(method)
    twice = next((i for i in order if way.count(i) > 1), None)
    if twice is not None:
        return f"it calls the {method} of {work.places[twice]} {way.count(twice)} times"
    missing = [i for i in order if i not in way]
    if missing and calls[-1].result is not None:  # else the last call has failed
        return f"it does not call the {method} of {' and '.join(work.places[i] for i in missing)}"
    if way != order[: len(way)]:
        return (
            f"it calls the {method} of the modules in the order {', '.join(map(str, way))}; "
            f"it must be {', '.join(map(str, order))}"
        )
    return _wrong_argument(work, calls, start, method)


def _drops_results(calls):
    """Return whether every module is given the same array, though not all return their input."""
    first = calls[0].given[0] if calls[0].given else None
    return (
        len(calls) > 1
        and all(c.given and same(c.given[0], first, 0) for c in calls[1:])
        and any(not same(c.result, first, 0) for c in calls[:-1])
    )


def _dropped(method):
    variable, given, _ = WAYS[method]
    call_ = f"m.{method}({variable})"
    last = ", from the last to the first" if method == "backward" else ""
    return (
        f"every module is given {given}, because what {call_} returns is dropped: each one's "
        f"result must go "
        f"into the next one, {variable} = {call_}{last}"
    )


def _wrong_argument(work, calls, start, method):
    """Return the mistake in the arrays that the modules are given, or ""."""
    for k, c in enumerate(calls):
        wanted = calls[k - 1].result if k else start
        if wanted is not None and c.given and not same(c.given[0], wanted, 1e-12):
            source = (
                f"what the {method} of {work.places[calls[k - 1].index]} returned"
                if k
                else WAYS[method][1]
            )
            return f"{work.places[c.index]} is not given {source}, but something else"
    return ""
