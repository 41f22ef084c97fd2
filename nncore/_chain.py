"""The modules of a network, through the Sequentials inside it, and their modes."""

from nncore import _kinds, modules


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
    """Return the names of the weights that optimizers update: a module's gradients name them, and
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
