"""Networks to and from live modules of PyTorch, which is imported when a module is made."""

from __future__ import annotations

from typing import Any

import numpy as np

from nncore import _kinds, modules
from nncore._types import Scaling
from nncore.exchange import arrays, chain, extras, table, tensors
from nncore.sequential import Sequential

__all__ = ["from_torch", "to_torch"]

# torch.nn classes that change nothing in prediction on (N, features).
NOTHING = ("Identity", "Flatten")


def to_torch(net: Sequential, *, scaling: Scaling | None = None) -> Any:
    """Return a network as a torch.nn.Sequential on copies of its weights, in evaluation mode.

    Samples are rows there: to_torch(net)(torch.from_numpy(X.T)) are predict_proba(X).T, within
    1e-14 (float64) or 1e-6 (float32).

    Parameters
    ----------
    net : Sequential
        The network, of nncore's own modules.
    scaling : dict, optional
        {"shift", "factor"}, as `datasets.fit_scaling` returns it: becomes a first BatchNorm1d. By
        default that of the network, if any.

    Returns
    -------
    torch.nn.Sequential
        The modules, inner networks as Sequentials.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError
        For networks and modules that are not nncore's own.
    ValueError
        For weights of two types or with NaN, and for layers that do not fit.

    See Also
    --------
    from_torch : The way back.

    Examples
    --------
    >>> import nncore as nn
    >>> net = nn.Sequential([nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2), nn.SoftMax()])
    >>> module = nn.to_torch(net)  # doctest: +SKIP
    >>> nn.from_torch(module).modules  # doctest: +SKIP
    [Linear(2, 3), Tanh(), Linear(3, 2), SoftMax()]
    """
    torch = extras.need("torch", "nncore.to_torch", "torch")
    net, scaling, _ = chain.unprepared(net, "PyTorch", scaling)
    network = chain.described(net, "PyTorch", scaling)
    dtype = {"float32": torch.float32, "float64": torch.float64}[network.dtype.name]
    made = [_made(torch, module, dtype) for module in net.modules]
    if network.scaling is not None:
        made.insert(0, _made(torch, chain.scaling_norm(network), dtype))
    return torch.nn.Sequential(*made).eval()


def _made(torch, module, dtype):
    """Return the module of PyTorch for one of nncore."""
    if hasattr(module, "modules"):
        return torch.nn.Sequential(*(_made(torch, inner, dtype) for inner in module.modules))
    kind = _kinds.kind(module)
    form = table.form_of(chain.Step(module, kind, "the module", 0, 0), "torch")
    weights = tensors.weights_of(module)
    more = {"dtype": dtype} if weights else {}
    made = getattr(torch.nn, form.name)(**form.arguments(module), **more)
    with torch.no_grad():
        for name, other in weights:
            a = np.asarray(getattr(module, name))
            a = np.array(a.T if name == "W" else a.ravel(), order="C")
            getattr(made, other).copy_(torch.from_numpy(a))
    return made


def from_torch(module: Any) -> Sequential:
    """Return a torch.nn.Sequential of known layers as a network on copies of its weights.

    Known are Linear, BatchNorm1d, Dropout, the activations of nncore, Softmax, Identity, Flatten
    and Sequential. A last Sigmoid becomes OutputSigmoid.

    Parameters
    ----------
    module : torch.nn.Module
        A Sequential or a single layer, in float32 or float64.

    Returns
    -------
    Sequential
        The network. Its loss is NLL after SoftMax and BinaryNLL after OutputSigmoid, else None.

    Raises
    ------
    TypeError
        For other layers, which are named, and for modules with methods of their own.
    ValueError
        For settings that nncore does not have, and for layers that do not fit.

    See Also
    --------
    to_torch : The way back.

    Examples
    --------
    >>> import nncore as nn
    >>> from torch.nn import Linear, Sequential, Softmax, Tanh  # doctest: +SKIP
    >>> nn.from_torch(Sequential(Linear(4, 8), Tanh(), Linear(8, 3), Softmax(1)))  # doctest: +SKIP
    Sequential([
      Linear(4, 8, dtype=float32)  # 40 parameters
      Tanh()
      Linear(8, 3, dtype=float32)  # 27 parameters
      SoftMax()
    ], NLL())  # 67 parameters
    """
    parts = _converted(module, "")
    parts = parts if isinstance(parts, list) else [parts]
    last = parts
    while last and isinstance(last[-1], Sequential):
        last = last[-1].modules
    if last and type(last[-1]) is modules.Sigmoid:
        last[-1] = modules.OutputSigmoid()
    net = Sequential(parts, arrays.output_loss(last[-1] if last else None))
    chain.described(net)
    return net


def _converted(module, place):
    """Return a module, a list of modules for a Sequential, None for nothing."""
    name = type(module).__name__
    label = f"module {place!r}" if place else "the module"
    if not type(module).__module__.startswith("torch.nn.modules."):
        raise TypeError(
            f"{label} must be a layer of torch.nn that nncore has, got "
            f"{type(module).__module__}.{name}; its forward may do anything, so build the network "
            f"as a torch.nn.Sequential"
        )
    parameters = list(module.parameters(recurse=False))
    if any(p.is_meta or type(p).__name__.startswith("Uninit") for p in parameters):
        raise ValueError(f"{label}, a {name}, must have weights; run or load the module first")
    hooks = ("_forward_hooks", "_forward_pre_hooks")
    if any(getattr(module, hook, None) for hook in hooks):
        raise TypeError(f"{label}, a {name}, must have no hooks; remove them first")
    if name == "Sequential":
        inner = {
            key: _converted(child, f"{place}.{key}" if place else key)
            for key, child in module.named_children()
        }
        return [
            Sequential(m) if isinstance(m, list) else m for m in inner.values() if m is not None
        ]
    if name == "Linear":
        W = arrays.as_array(f"weight of {label}", module.weight)
        W = np.array(W.T, order="C")
        if module.bias is None:
            return chain.linear(W)
        return chain.linear(W, np.array(arrays.as_array(f"bias of {label}", module.bias)))
    if name == "BatchNorm1d":
        return _norm(module, label)
    if name == "Softmax":
        return table.FORMS[modules.SoftMax].torch.back(module)
    if name in NOTHING and getattr(module, "start_dim", 1) == 1:
        return None
    rows = [row.torch for row in table.FORMS.values() if isinstance(row.torch, table.Torch)]
    row = next((row for row in rows if row.name == name and row.back is not None), None)
    if row is None:
        known = sorted({row.name for row in rows} | {*NOTHING, "Sequential"})
        hint = "; use Softmax(dim=1), and NLL as the loss" if name == "LogSoftmax" else ""
        raise TypeError(f"{label} must be one of {', '.join(known)}, got {name}{hint}")
    return row.back(module)


def _norm(module, label):
    """Return the BatchNorm of a BatchNorm1d."""
    if module.momentum is None:
        raise ValueError(
            f"{label}, a BatchNorm1d, must have a momentum, got None (cumulative averages), which "
            f"nncore does not have; set .momentum to a number"
        )
    dtype = np.float32
    found = {}
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = getattr(module, name)
        if value is not None:
            found[name] = np.array(arrays.as_array(f"{name} of {label}", value))
            dtype = found[name].dtype
    m = module.num_features
    ones, zeros = np.ones(m, dtype), np.zeros(m, dtype)
    mean = found.get("running_mean")
    norm = chain.affine_norm(
        zeros if mean is None else mean, found.get("weight", ones), found.get("bias", zeros)
    )
    norm.running_var = found.get("running_var", ones).reshape(-1, 1)
    norm._configure("batch" if mean is None else "running", module.momentum, module.eps)
    if mean is None:
        del norm.running_mean, norm.running_var
    return norm
