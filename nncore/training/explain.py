"""Report which path a call would take, and why; the answer comes from the functions that choose."""

from __future__ import annotations

from typing import Any

import numpy as np

from nncore import _chain, _checks, _sparse, modules, optimizers, registry
from nncore._kinds import kind
from nncore._types import ArrayLike, Samples
from nncore.training import (
    clipping,
    compile,
    labels,
    predict,
    preparation,
    progress,
    validate,
)

__all__ = ["explain"]

CALLS = (
    "sgd",
    "mini_gd",
    "fit",
    "partial_fit",
    "learner",
    "predict",
    "predict_proba",
    "evaluate",
)


class Explanation(dict):
    """The path of a call and the reasons for it; prints as text. `explain` lists the keys."""

    def __str__(self) -> str:
        lines = [f"{self['call']}: {'compiled, ' if self['compiled'] else ''}path {self['path']}"]
        if self["compiled"]:
            threads = f"{self['threads']} thread{'s' if self['threads'] > 1 else ''}"
            lines.append(
                f"  {threads}, {self['level']}, {self['dtype']}, parameters {self['parameters']}, "
                f"inputs {self['inputs']}"
            )
        lines += [f"  because {reason}" for reason in self["reasons"]]
        lines += [f"  {i}: {name}" for i, name in enumerate(self["modules"])]
        return "\n".join(lines)


def explain(
    net: Any,
    X: Samples | None = None,
    Y: ArrayLike | None = None,
    *,
    call: str = "fit",
    **arguments: Any,
) -> Explanation:
    """Report which path `net.fit(X, Y, ...)`, or another call, would take, and why.

    Nothing is trained, drawn or changed.

    Parameters
    ----------
    net : Sequential
        The network.
    X : array_like of shape (D, N), optional
        The data of the call; by default 1,000 dense samples.
    Y : array_like of shape (n, N) or (N,), optional
        The labels of the call.
    call : str
        The method: "fit", "partial_fit", "learner" (a sample of it), "sgd", "mini_gd", "predict",
        "predict_proba" or "evaluate".
    **arguments
        The method's own arguments: iters, lrate, K, batch_size, optimizer, l2, sample_weight,
        class_weight, clip_value, clip_norm.

    Returns
    -------
    Explanation
        A dict that prints as text. "compiled": whether the call runs as one compiled program;
        "path": its name, or "modules"; "reasons": why it takes no faster path; "modules": what runs
        each module; and, if compiled, "threads", "level", "dtype", "parameters" ("packed" or "in
        place") and "inputs" ("dense", "non-zeros" or "csr").

    Raises
    ------
    ValueError, TypeError
        If the call itself would refuse its data.

    Examples
    --------
    >>> import nncore as nn
    >>> layers = [nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2), nn.SoftMax()]
    >>> net = nn.Sequential(layers, nn.NLL())
    >>> nn.explain(net, call="sgd")["path"]
    'fused-sgd'
    >>> nn.explain(net, batch_size=32, optimizer="adam")["path"]
    'column-minibatch'
    """
    _checks.choice("call", call, CALLS)
    X, Y = _data(net, X, Y)
    trains = call in ("sgd", "mini_gd", "fit", "partial_fit", "learner")
    found = Explanation(
        call=call, compiled=False, path="modules", reasons=[], modules=_modules(net)
    )
    reason = _not_compiled(net, call, arguments, X) or compile.refusal(net, trains, (X, Y))
    if reason is not None:
        found["reasons"].append(reason)
        return found
    program = compile.as_program(net, (X, Y), trains)
    found["compiled"] = True
    found.update(_plan(program, call, arguments, X, Y))
    return found


def _data(net, X, Y):
    """Return the call's data, checked as the call would, or dense samples."""
    if X is None:
        first = next((m for m in _chain.modules_of(net) if isinstance(m, modules.Linear)), None)
        X = np.random.default_rng(0).normal(
            size=(1 if first is None else np.shape(first.W)[0], 1000)
        )
    X = preparation.inputs(net, X)
    if Y is not None:
        Y = preparation.targets(net, Y)
        return validate.check_data(net, X, labels.columns(net, Y))
    last = next(
        (m for m in reversed(_chain.modules_of(net)) if isinstance(m, modules.Linear)), None
    )
    Y = np.ones((1 if last is None else np.shape(last.W)[1], X.shape[1]))
    loss = registry.of_class(kind(net.loss), registry.LOSSES)
    return X, Y / len(Y) if loss is not None and loss.labels == "classes" else Y


def _not_compiled(net, call, arguments, X):
    """Return the reason why a call does not request a program, or None."""
    steps = arguments.get("iters", 100)
    if call in ("sgd", "mini_gd") and steps <= compile.MIN_COMPILED_STEPS:
        return f"{steps} steps take less time module by module than a program takes to set up"
    if call == "sgd" and progress.overrides_progress(net):
        return "print_accuracy is overridden and sees every step"
    if (
        call in ("predict", "predict_proba")
        and X.shape[1] == 1
        and predict.takes_one_sample(net, X)
    ):
        return (
            "one sample goes through the kernels, module by module, faster than a program is set up"
        )
    return None


def _modules(net):
    """Describe what runs each module."""

    def runs(module):
        if kind(module) is not None:
            return f"{module!r}: the library's"
        names = compile.overridden(module)
        return f"{module!r}: {'overrides ' + ', '.join(names) if names else 'a class of its own'}"

    return [runs(module) for module in _chain.modules_of(net)]


def _plan(program, call, arguments, X, Y):
    """Return the program's plan of the call."""
    is_sparse = isinstance(X, _sparse.Columns)
    X, rate = _sparse.for_engine(X), arguments.get("lrate", 0.1)
    if call == "sgd":
        return program.plan("sgd", X, Y, 1, rate)
    if call == "mini_gd":
        return program.plan("fit", X, Y, arguments.get("K", 10), rate)
    if call not in ("fit", "partial_fit", "learner"):
        return program.plan("predict", X, Y if call == "evaluate" else None)
    optimizer = validate.as_optimizer(arguments.get("optimizer"))
    l2 = arguments.get("l2", 0.0)
    bounds = clipping.checked(arguments.get("clip_value"), arguments.get("clip_norm"))
    if type(optimizer) is not optimizers.SGD or l2 or bounds:
        program.use(*optimizer.rule(), [((), ())], l2, *(bounds or ()))
    names = ("sample_weight", "class_weight")
    weighted = any(arguments.get(name) is not None for name in names)
    if call == "learner" and not is_sparse:
        return program.plan("learner", X[:, :1], Y[:, :1], 1, rate)
    batch_size = 1 if call == "learner" else arguments.get("batch_size", 32)
    weights = np.ones(X.shape[1]) if weighted and call != "learner" else None
    return program.plan("fit", X, Y, batch_size, rate, weights)
