"""Checks before a call starts: networks, data, weights, optimizers."""

import itertools

import numpy as np

from nncore import _chain, _checks, _core, _sparse, losses, modules, registry
from nncore._kinds import kind
from nncore.training import objects


def _is_library(module):
    """Return whether a module computes as the library's does, so that its shapes are known."""
    return kind(module) is not None


def check_network(net):
    """Return the modules; ValueError for a network that cannot train: no modules, no loss, or a
    library loss after the wrong output.
    """
    objects.check_methods(net.modules, net.loss)
    if not net.modules:
        raise ValueError("modules must hold at least one module, got none")
    if net.loss is None:
        raise ValueError("loss must be given to train or evaluate a network, got None")
    modules_ = _chain.modules_of(net)
    if not modules_:
        raise ValueError("modules must hold at least one module, got Sequentials without any")
    last = modules_[-1]
    wanted = getattr(net.loss, "output", None) if isinstance(net.loss, losses.Loss) else None
    if wanted is not None and _is_library(last) and not isinstance(last, wanted):
        through = "of that Linear" if wanted is modules.Linear else "through that unit"
        raise ValueError(
            f"{type(net.loss).__name__} requires a final {wanted.__name__}, because its backward "
            f"is dL/dZ {through}; the last module is {type(last).__name__}"
        )
    return modules_


def check_inputs(parts, X, name="X"):
    """Return X as an array (D, N) that fits the first Linear of these modules, or as Columns if it
    is sparse; TypeError or ValueError otherwise.
    """
    check_sizes(parts)
    check_widths(parts)
    first = _end_linear(parts)
    if _sparse.is_sparse(X):
        dtype = _checks.computing_dtype(X if first is None else first.W)
        X = _sparse.columns(name, X, dtype)
        _check_features(name, X, first)
        return X
    given, X = X, _checks.real(name, X)
    _check_features(name, X, first, given)
    if first is not None and first is not parts[0]:
        # A leading activation on its own would compute in the type of X instead of the network's.
        X = _checks.as_real(name, X, _checks.computing_dtype(first.W))
    return X


def _check_features(name, X, first, given=None):
    """Raise ValueError unless X is (D, N) as the first Linear wants it; rows have an answer of
    their own. given: X as the caller gave it.
    """
    m, shape = np.shape(first.W)[0] if first is not None else "D", X.shape
    if len(shape) == 2 and shape[0] != m == shape[1]:
        how = f"{name}.T"
        if _checks.is_table(given):
            how = f"{name}.to_numpy().T"
        elif isinstance(given, (list, tuple)):
            how = f"np.array({name}).T"
        raise ValueError(
            f"{name} must have shape ({m}, N), got {shape}; samples are columns: pass the "
            f"transpose, {how if name == 'X' else 'as in X.T'}, or train the estimators of "
            f"nncore.sklearn, which take rows"
        )
    _checks.shape(name, X, (m, "N"))


def check_data(net, X, Y, of=""):
    """Return X (D, N) and Y (n, N) as arrays that fit each other and the network. of: follows X and
    Y in error messages.
    """
    parts = check_network(net)
    X, name = check_inputs(parts, X, f"X{of}"), f"Y{of}"
    if type(Y) is not _core.Classes:
        Y = _checks.real(name, Y)
    last = _end_linear(reversed(parts))
    n, N = np.shape(last.W)[1] if last is not None else "n", X.shape[1]
    hint = ""
    if n == 1 and Y.ndim == 1:
        hint = "; one label per sample is one row, as in Y[None, :]"
    elif Y.shape == (N, n):
        hint = "; samples are columns: pass the transpose"
    elif Y.size == N:
        record = registry.record_of(net.loss, registry.LOSSES)
        if record is None:
            hint = f"; classes go in as one-hot columns: nncore.datasets.one_hot(labels, {n})"
        elif record.labels == "classes":
            hint = "; one label per sample is an array (N,), as in Y.ravel()"
    _checks.shape(name, Y, (n, N), hint)
    if N == 0:
        raise ValueError(f"X{of} must hold at least one sample, got 0 columns")
    loss = registry.of_class(type(net.loss), registry.LOSSES)
    by_class = getattr(net.loss, "class_weight", None) if loss is not None else None
    if by_class is not None and len(by_class) != Y.shape[0]:
        raise ValueError(
            f"class_weight of {loss.cls.__name__} must hold one weight per class, {Y.shape[0]}, "
            f"got {len(by_class)}"
        )
    labels = None if loss is None else loss.labels
    if labels == "signs" and (at := _checks.first_wrong(Y, lambda y: abs(y) != 1)) is not None:
        raise ValueError(
            f"{name} must hold -1 and +1 for {loss.cls.__name__}, got {Y[at]}; "
            "labels of 0 and 1 become 2 * Y - 1"
        )
    if (
        labels == "binary"
        and (at := _checks.first_wrong(Y, lambda y: (y < 0) | (y > 1))) is not None
    ):
        raise ValueError(
            f"{name} must lie between 0 and 1 for {loss.cls.__name__}, got "
            f"{Y[at]}; labels of -1 and +1 become (Y + 1) / 2"
        )
    return X, Y


def check_sizes(parts):
    """Refuse layers without inputs or outputs: the compiled loops assume sizes of at least 1."""
    for i, module in enumerate(parts):
        if isinstance(module, modules.Linear) and type(module).forward is modules.Linear.forward:
            _checks.not_empty(f"W of modules[{i}]", module.W)


def _end_linear(chain):
    """Return the first Linear of a chain if only activations of the library, which keep the number
    of features, precede it.
    """
    for module in chain:
        if not _is_library(module):
            return None
        if isinstance(module, modules.Linear):
            return module if np.ndim(module.W) == 2 else None
    return None


def prepare_weights(net, rng=None):
    """Check that all weights can be updated in place, replace those that a step would replace, and
    draw the Dropout keys from rng or np.random. Raises before changing anything.
    """
    parts = _chain.modules_of(net)
    ready = []
    for i, module in enumerate(parts):
        names = tuple(getattr(module, "gradients", ()))
        if not (names or hasattr(module, "sgd_step") or hasattr(module, "step")):
            raise TypeError(
                f"modules[{i}] must have sgd_step(lrate) or step(lrate), which may do nothing "
                f"if there is nothing to train, got {type(module).__name__} with neither"
            )
        if isinstance(module, (modules.Linear, modules.BatchNorm)):
            if _chain.steps_by_library(module):
                ready += zip(itertools.repeat(module), names, module.checked_weights())
        else:
            ready += (
                (
                    module,
                    name,
                    _checks.trainable(name, getattr(module, name), np.shape(getattr(module, name))),
                )
                for name in names
            )
    check_widths(parts)
    for module, name, array in ready:
        setattr(module, name, array)
    for module in _chain.every_module(net):
        if isinstance(module, modules.Dropout):
            module.draw_key(rng)


def check_widths(parts):
    """Raise ValueError if a module of the library does not take as many inputs as the module before
    it has outputs.
    """
    before, width = -1, None
    for i, module in enumerate(parts):
        if not _is_library(module):
            width = None
            continue
        sizes = _sizes(module)
        if sizes is not None:
            if width not in (None, sizes[0]):
                raise _misfit(parts, before, i, width, sizes[0])
            before, width = i, sizes[1]


def _sizes(module):
    """Return (inputs, outputs) of a library module with weights that are matrices, else None."""
    if isinstance(module, modules.Linear):
        return np.shape(module.W) if np.ndim(module.W) == 2 else None
    return (module.m, module.m) if isinstance(module, modules.BatchNorm) else None


def about_failed(net, X):
    """Return the error about modules that are none, or do not fit each other or X, if a call has
    failed for that; else None.
    """
    try:
        objects.check_methods(net.modules, None)
    except TypeError as error:
        return error
    if _sparse.is_sparse(X):
        return TypeError(
            f"X must be a dense array for forward, got a sparse {type(X).__name__} {X.shape}; pass "
            f"X.toarray(), or call predict_proba, which takes it as it is"
        )
    parts = _chain.modules_of(net)
    first = _end_linear(parts)
    try:
        check_widths(parts)
        if first is not None:
            _check_features("X", X if hasattr(X, "shape") else _checks.real("X", X), first, X)
    except TypeError as error:
        return error
    except ValueError as error:
        return error
    return None


def _misfit(parts, i, j, outputs, inputs):
    """Return the error for module j, which does not take the outputs of module i."""
    return ValueError(
        f"modules[{j}] {parts[j]!r} must take the {outputs} outputs of modules[{i}] {parts[i]!r}, "
        f"got {inputs} inputs"
    )


def as_optimizer(optimizer):
    """Return an optimizer from an object, a name in any case (a new one), or None (SGD)."""
    from nncore import optimizers

    if optimizer is None:
        return optimizers.SGD()
    if isinstance(optimizer, optimizers.Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        name = _checks.choice("optimizer", optimizer.lower(), tuple(registry.OPTIMIZERS), optimizer)
        return registry.OPTIMIZERS[name].cls()
    given, hint = type(optimizer).__name__, ""
    if isinstance(optimizer, type):
        given, hint = f"the class {optimizer.__name__}", f"; write {optimizer.__name__}()"
    raise TypeError(f"optimizer must be one of nncore.optimizers or its name, got {given}{hint}")
