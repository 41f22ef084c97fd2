"""The check of a network: its modules in order, its loss, and (methods.py) its own methods."""

import inspect

import numpy as np

from nncore import reference
from nncore.checking import losses, methods, modules, roles
from nncore.checking.findings import Fault, Result
from nncore.checking.steps import NAMES
from nncore.checking.trials import call, location, required, seeded
from nncore.foreign.probe import arrays, untouched

CALLED = ("forward", "backward", "dLdA", *NAMES)  # the modules' methods that a network calls

__all__ = ["check", "check_class", "flattened", "is_network", "is_network_class"]


def is_network(thing):
    """Return whether the object has a list of modules."""
    return not inspect.isclass(thing) and isinstance(getattr(thing, "modules", None), (list, tuple))


def is_network_class(thing):
    """Return whether the class is constructed from modules."""
    parameters = required(thing)
    return (
        bool(parameters)
        and parameters[0].name in ("modules", "layers")
        and hasattr(thing, "forward")
    )


def check_class(cls):
    """Return [Result] of a class of networks, instantiated with the library's modules, so that all
    faults are its own.
    """
    seeded()
    # square, so that no shape fails
    chain = [reference.Linear(4, 4), reference.Tanh(), reference.Linear(4, 4), reference.SoftMax()]
    net, failure = call(cls, *[chain, reference.NLL()][: len(required(cls))])
    result = Result("", cls.__name__)
    if failure:
        result.faults.append(
            Fault(
                "__init__",
                f"raised {failure} for {cls.__name__}(modules, loss)",
                where=failure.line,
            )
        )
    elif not is_network(net):
        result.faults.append(
            Fault(
                "__init__",
                "does not keep its list of modules",
                "self.modules = modules",
                where=location(cls.__init__),
            )
        )
    else:
        if getattr(net, "loss", None) is None:
            net.loss = reference.NLL()
        with untouched(net, net.loss, *chain):
            methods.check(result, net, [(f"modules[{i}]", m) for i, m in enumerate(chain)], 4, 4)
    return [result]


def check(net, inputs):
    """Return [Result] of all parts of a network, in order."""
    chain = list(flattened(net.modules))
    if not chain:
        raise ValueError("modules must hold at least one module, got none")
    loss = getattr(net, "loss", None)
    parts = [*chain, *([("loss", loss)] if loss is not None else [])]
    for place, part in parts:
        if not modules.has_methods(part):
            raise TypeError(f"{place} must have forward and backward, got {type(part).__name__}")
    if any(inspect.isclass(part) for _, part in parts):
        return [
            *(_is_class(place, part) for place, part in parts if inspect.isclass(part)),
            Result(
                "network", type(net).__name__, unchecked="it needs objects of its classes first"
            ),
        ]
    with untouched(net, loss, *(module for _, module in chain)):
        features = inputs or _first_features(chain)
        results, known = _modules(chain, features, loss)
        if loss is not None:
            output = known.role if known.role in (*roles.OUTPUTS, "Sigmoid") else ""
            results.append(losses.check(loss, "loss", output, known.outputs, known.backward_kind))
            _pair(results[-2:], chain[-1][1], loss, known)
            _unit(results[-2:], loss, known)
        loss = _accepted(results, net, chain, loss, features, known)
        itself = Result("network", type(net).__name__)
        if known.outputs is None or any(
            f.what in CALLED and f.message.startswith(("raised", "gives None"))
            for r in results
            for f in r.faults
        ):
            itself.unchecked = "its modules must run first"
        else:
            methods.check(itself, net, chain, features, known.outputs, loss)
            reported = {f.where for r in results for f in r.faults}
            # the same failure, reported by the network
            if any(f.where and f.where in reported for f in itself.faults):
                itself.faults.clear()
                itself.unchecked = "its modules must run first"
        results.append(itself)
    return results


def _accepted(results, net, chain, loss, features, known):
    """Return the loss for judging the network's methods: a loss that takes the labels first is
    right if the network gives them first.
    """
    result = results[-1]
    if (
        result.place != "loss"
        or not losses.takes_labels_first(result)
        or not callable(getattr(net, "sgd", None))
        or not known.outputs
    ):
        return loss
    turned = losses.turned_round(loss)
    if not methods.gives_labels_first(net, chain, turned, features, known.outputs):
        return loss
    result.faults.clear()
    result.remarks.append(
        "it takes the labels first, as the network gives them; the course's takes (Ypred, Y)"
    )
    return turned


def _is_class(place, cls):
    """Return the Result of a class found in the place of an object."""
    return Result(
        place,
        cls.__name__,
        faults=[
            Fault(
                "it",
                "is the class, must be an object of it",
                f"the parentheses are missing: {cls.__name__}()",
            )
        ],
    )


def flattened(chain, place="modules"):
    """Return (place, module) of all modules, including those of inner networks."""
    for i, module in enumerate(chain):
        if is_network(module):
            yield from flattened(module.modules, f"{place}[{i}].modules")
        else:
            yield f"{place}[{i}]", module


def _first_features(chain):
    """Return the number of inputs of the first module with known sizes; modules before it keep the
    number.
    """
    for _, module in chain:
        has_matrix = any(v.ndim == 2 for v in arrays(module).values())
        if has_matrix or isinstance(getattr(module, "m", None), int):
            return roles.features_of(module)
    return 4


def _modules(chain, features, loss):
    """Return ([Result], facts about the last module); each module gets as many inputs as the
    one before has outputs.
    """
    results, known, sure = [], None, True
    for i, (place, module) in enumerate(chain):
        faults, before = [], chain[i - 1][0] if i else "X"
        W = getattr(module, "W", None)
        is_linear = roles.name_of(module) == "Linear" and np.ndim(W) == 2
        if is_linear and not sure:
            features, sure = None, True
        elif is_linear and features not in np.shape(W):
            faults.append(
                Fault(
                    "W",
                    f"takes {len(W)} inputs, but {before} gives {features}",
                    f"the sizes do not fit: W must be ({features}, n)",
                    shape=W.shape,
                )
            )
            features = len(W)
        earlier = next((p for p, m in chain[:i] if m is module), None)
        result, known = modules.check(
            module, place, features, loss is not None and i == len(chain) - 1, True
        )
        if earlier is not None and known.keeps:
            faults.append(
                Fault(
                    "it",
                    f"is the same object as {earlier}",
                    "what its forward keeps for backward is overwritten in its other "
                    f"place; make two, with {type(module).__name__}(...) twice",
                )
            )
        result.faults[:0] = faults
        results.append(result)
        features, sure = known.outputs, sure and known.outputs is not None
        if features is None and is_linear:
            features, sure = np.shape(W)[1], True
    return results, known


def _pair(results, last, loss, known):
    """Blame the last module, not the loss, if both apply the output unit's derivative."""
    output, own = results
    if known.role in roles.OUTPUTS or known.role == "Sigmoid":
        as_identity = losses.check(loss, "loss", known.role, known.outputs, "identity")
        if known.backward_kind == "derivative" and not own.ok and as_identity.ok and output.ok:
            own.faults[:] = []
            output.faults.append(
                Fault(
                    "backward",
                    f"multiplies by its derivative, but {type(loss).__name__}.backward gives dL/dZ "
                    f"already",
                    "the derivative is applied twice; the output unit's backward must return dLdZ "
                    "itself",
                    "return dLdZ",
                    location(last.backward),
                )
            )


def _unit(results, loss, known):
    """Blame the last module, not the loss, if an NLL follows a module whose outputs are not class
    probabilities.
    """
    output, own = results
    if roles.name_of(loss) != "NLL" or any(f.what != "it" for f in output.faults):
        return
    is_nll = any(
        losses.check(loss, "loss", "SoftMax", known.outputs, backward_kind).ok
        for backward_kind in ("identity", "derivative")
    )
    if known.role in ("Linear", "Tanh", "ReLU") and (is_nll or own.unchecked):
        output.faults.append(
            Fault(
                "it",
                "is the last module, but gives no probabilities, of which NLL takes the logarithm",
                "SoftMax is missing: it must come last, after this one",
                "modules = [..., SoftMax()]",
            )
        )
    elif (
        known.role in ("Sigmoid", "OutputSigmoid")
        and (known.outputs or 1) > 1
        and is_nll
        and not own.ok
    ):
        output.faults.append(
            Fault(
                "it",
                "is a sigmoid before a loss of several classes, whose probabilities must add up to "
                "1",
                "the output unit of NLL is SoftMax",
                "modules = [..., SoftMax()]",
            )
        )
    else:
        return
    if is_nll:
        own.faults[:] = []
