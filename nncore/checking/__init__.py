"""nncore.check: find mistakes in modules, losses and networks, and name them.

Every module runs on small random batches of several samples and of one, with random weights. Its
results are compared with the library's module of the same job, which its name, attributes or
behaviour identify, and with finite differences of its own forward. For a wrong number, `check`
searches the tables of known mistakes for a formula that gives exactly that number.

    mistakes.py, output_mistakes.py    the known mistakes, as formulas and words
    causes.py       the search for the mistake that explains wrong numbers
    trials.py       running a user's code; finite differences
    findings.py     Fault, Result, Report; the comparison that makes a fault
"""

from __future__ import annotations

import inspect
from typing import Any

from nncore import _checks, _names
from nncore.checking import losses, modules, networks
from nncore.checking.findings import Fault, Report, Result
from nncore.checking.trials import required
from nncore.foreign.probe import untouched

__all__ = ["Fault", "Report", "Result", "check"]


def __dir__() -> list[str]:
    return _names.shown(globals())


def check(module_or_net: Any, inputs: int | None = None) -> Report:
    """Compare a module, a loss or a network with finite differences and with the library.

    Checked are each module's forward, backward, gradients (dLdW for a weight W) and step, the loss
    together with its output unit, class_fun, and the network's own forward, backward, sgd_step and
    sgd.

    Parameters
    ----------
    module_or_net : object or type
        A network (an object with `modules`, and `loss` or None), a module (an object with forward
        and backward), a loss (its backward takes no argument), or a class of these, which `check`
        instantiates with small sizes.
    inputs : int, optional
        The number of input features, if it cannot be inferred from the weights.

    Returns
    -------
    nncore.checking.Report
        True if nothing is wrong. `check` prints nothing: print the report.

    Raises
    ------
    TypeError
        If `module_or_net` is anything else, or a class whose constructor takes more than two sizes.
    ValueError
        If the network has no modules, or `inputs` is below 1.

    See Also
    --------
    nncore.accelerate : Train networks of such modules with the compiled core.

    Notes
    -----
    The checks run on the object itself, with probes as inputs. Its attributes and the random
    generators are restored afterwards.

    Examples
    --------
    >>> import numpy as np
    >>> import nncore
    >>> class Tanh:
    ...     def forward(self, Z):
    ...         self.Z = Z
    ...         return np.tanh(Z)
    ...     def backward(self, dLdA):
    ...         return dLdA * (1 - self.Z ** 2)
    >>> report = nncore.check(Tanh)
    >>> bool(report)
    False
    >>> report.first.faults[0].cause
    'the derivative is evaluated at Z instead of A: it is 1 - A**2, A being tanh(Z)'
    """
    if inputs is not None:
        inputs = _checks.count("inputs", inputs, 1)
    thing, is_class = module_or_net, inspect.isclass(module_or_net)
    if is_class and networks.is_network_class(thing):
        return Report(networks.check_class(thing))
    if networks.is_network(thing):
        return Report(networks.check(thing, inputs))
    if not modules.has_methods(thing):
        raise TypeError(
            "module_or_net must be a network (with modules and loss), or a module or loss with "
            "forward and backward, or a "
            f"class of them, got {thing.__name__ if is_class else type(thing).__name__}"
        )
    if is_class:
        return Report([_check_class(thing, inputs)])
    with untouched(thing):
        return Report(
            [losses.check(thing) if is_loss(thing) else modules.check(thing, inputs=inputs)[0]]
        )


def is_loss(thing):
    """Return whether the object or class is a loss: its backward takes no argument."""
    parameters = required(thing.backward)
    return parameters is not None and len(parameters) == (1 if inspect.isclass(thing) else 0)


def _check_class(cls, inputs):
    """Return the Result of a class, instantiated with a few sizes: the first wrong one, else the
    last.
    """
    parameters = required(cls) or []
    if len(parameters) > 2:
        raise TypeError(
            f"{cls.__name__} must be given as an object, because it takes more than two sizes to "
            f"make one, got the class"
        )
    result = None
    for sizes in ((inputs or 3, 2), (inputs or 2, 5)):
        made, fault = modules.make(cls, parameters, sizes)
        if fault:
            return Result("", cls.__name__, faults=[fault])
        if is_loss(cls):
            return losses.check(made)
        result = modules.check(made, inputs=sizes[0] if parameters or inputs else None, made=True)[
            0
        ]
        if not result.ok or not parameters:
            break
    return result
