"""The way through a network: in which order its modules are called, and with what."""

import itertools

import numpy as np

from nncore.checking.mistakes import same

__all__ = ["way_back", "way_forward", "way_of"]

WAYS = {  # the variable of the course's loop, what the first module is given, the order
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
    """What is wrong with the first pass forward through the modules, as far as it goes; or ""."""
    passed = _first_pass(calls, "forward")
    start = passed[0].given[0] if passed and passed[0].given else None
    return way_of(work, passed, start, "forward")


def way_back(work, calls):
    """What is wrong with the first pass back through the modules, as far as it goes; or ""."""
    passed = _first_pass(calls, "backward")
    start = next((c.result for c in calls if c.index is None and c.method == "backward"), None)
    return way_of(work, passed, start, "backward") if passed else ""


def _first_pass(calls, method):
    """The first run of calls of the modules' method, one after the other."""
    runs = itertools.groupby(calls, lambda c: c.method == method and c.index is not None)
    return next((list(run) for is_method, run in runs if is_method), [])


def way_of(work, calls, start, method):
    """What is wrong with calls of the modules in a row, the first of which is to be given `start`;
    or ""."""
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
    return _handing(work, calls, start, method)


def _drops_results(calls):
    """True if every module is given the same, though not every one hands on what it is given."""
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


def _handing(work, calls, start, method):
    """What is wrong with what each module is given; or ""."""
    for k, c in enumerate(calls):
        wanted = calls[k - 1].result if k else start
        if wanted is not None and c.given and not same(c.given[0], wanted, 1e-12):
            whence = (
                f"what the {method} of {work.places[calls[k - 1].index]} returned"
                if k
                else WAYS[method][1]
            )
            return f"{work.places[c.index]} is not given {whence}, but something else"
    return ""
