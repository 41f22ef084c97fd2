"""The modules of a network, through the Sequentials inside it, and their modes."""

from nncore import _kinds, modules


def check_list(modules, loss):
    """Raise TypeError unless modules is a list, and its elements and the loss are objects, not
    classes.
    """
    if not isinstance(modules, (list, tuple)):
        raise TypeError(f"modules must be a list of modules, got {type(modules).__name__}")
    for i, x in enumerate((*modules, loss)):
        if isinstance(x, type):
            raise TypeError(
                f"{_place(i, modules)} must be an object, got the class {x.__name__}; "
                f"make one by calling it, as in {x.__name__}(...)"
            )


def check_methods(modules, loss):
    """Raise TypeError unless modules and loss, if any, have a forward."""
    if (
        type(modules) is list
        and all([hasattr(x, "forward") and not isinstance(x, type) for x in modules])
        and (loss is None or hasattr(loss, "forward") and not isinstance(loss, type))
    ):
        return  # the fast path, taken by each call of partial_fit
    check_list(modules, loss)
    for i, x in enumerate(modules if loss is None else (*modules, loss)):
        if not hasattr(x, "forward"):
            raise TypeError(
                f"{_place(i, modules)} must have the methods forward and backward, "
                f"got {type(x).__name__}"
            )


def _place(i, modules):
    return f"modules[{i}]" if i < len(modules) else "loss"


def modules_of(net):
    """Return the modules of a network in order; library Sequentials inside it are replaced by their
    modules.
    """
    flat = []
    for module in net.modules:
        if hasattr(module, "modules") and _kinds.kind(module) is not None:
            flat += modules_of(module)
        else:
            flat.append(module)
    return flat


def trained(module):
    """Return the names of the weights that optimisers update: a module's gradients name them, and
    the W0 of a Linear without bias is none.
    """
    if isinstance(module, modules.Linear) and module.bias is False:
        return tuple(name for name in module.gradients if name != "W0")
    return getattr(module, "gradients", ())


def steps_by_library(module):
    """Return whether a module's step is the library's own."""
    cls = type(module)
    return (
        isinstance(module, modules.Module)
        and cls.step is modules.Module.step
        and cls.sgd_step is modules.Module.sgd_step
        and cls._either is modules.Module._either
        and cls._update is modules.Module._update
        and _STEP.isdisjoint(module.__dict__)
    )


_STEP = {"step", "sgd_step"}


def every_module(net):
    """Yield all modules of a network, including those of inner networks."""
    for module in net.modules:
        yield module
        if isinstance(getattr(module, "modules", None), (list, tuple)):
            yield from every_module(module)


def depends_on_batch(net):
    """Return whether a prediction for one sample depends on the others, as with a BatchNorm's batch
    statistics.
    """
    return any(
        isinstance(module, modules.BatchNorm) and module.statistics == "batch"
        for module in every_module(net)
    )


class in_training_mode:
    """Context manager: all modules in training mode, restored afterwards."""

    def __init__(self, net):
        self.predicting = [
            module for module in (net, *every_module(net)) if not getattr(module, "training", True)
        ]

    def __enter__(self):
        for module in self.predicting:
            module.training = True

    def __exit__(self, *exc_info):
        at = len(self.predicting)
        while at:  # `for` would allocate an iterator
            at -= 1
            self.predicting[at].training = False


def predicted(parts, X):
    """Return the output of modules in prediction mode, whatever their flags.

    The library's modules keep nothing: a training in another thread may be between its forward and
    its backward.
    """
    for module in parts:
        X = module.forward(X) if has_own_forward(module) else module.predict_forward(X)
    return X


def has_own_forward(module):
    """Return whether forward overrides the class's predict_forward: the class that defines the
    module's forward, or the object itself, has none.
    """
    for names in (getattr(module, "__dict__", ()), *map(vars, type(module).__mro__)):
        if "predict_forward" in names:
            return False
        if "forward" in names:
            break
    return True
