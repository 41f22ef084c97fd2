"""Networks of arrays as PyTorch, Keras and scikit-learn hold them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from nncore import _checks, losses, modules, registry
from nncore.exchange import chain
from nncore.sequential import Sequential

__all__ = ["from_arrays"]

LAYOUTS = ("torch", "keras", "sklearn")
# The default eps of a BatchNorm, and nncore's momentum for theirs.
NORMS = {"torch": (1e-5, 0.1), "keras": (1e-3, 0.01), "sklearn": (1e-5, 0.1)}
NOTHING = ("identity", "linear", "none", "")


def from_arrays(
    weights: Any,
    activations: Sequence[Any],
    layout: Literal["torch", "keras", "sklearn"] = "torch",
    *,
    eps: float | None = None,
) -> Sequential:
    """Make a network of arrays as PyTorch, Keras or scikit-learn hold them.

    Parameters
    ----------
    weights : dict or list
        "torch": the `state_dict()` of a Sequential of Linear and BatchNorm1d, or a list. "keras":
        `model.get_weights()`. "sklearn": the pair (`coefs_`, `intercepts_`). A list holds all
        layers in order, flat or layer by layer: W and b of a Linear (b may be missing), or scale,
        shift, mean and variance of a batch normalisation.
    activations : list
        What follows each Linear and each BatchNorm: a name, such as "relu", "logistic" or
        "softmax", a module, such as LeakyReLU(0.2), or None. A last "sigmoid" or "logistic" becomes
        OutputSigmoid.
    layout : {"torch", "keras", "sklearn"}, default "torch"
        "torch": W is (outputs, inputs). "keras" and "sklearn": W is (inputs, outputs).
    eps : float, optional
        That of all BatchNorms; by default 1e-5 for "torch" and 1e-3 for "keras".

    Returns
    -------
    Sequential
        A network on copies of the arrays, float32 if all are, else float64. Its loss is NLL after
        SoftMax and BinaryNLL after OutputSigmoid, else None.

    Raises
    ------
    TypeError
        For arrays that are not real, and activations that are neither names nor modules.
    ValueError
        For shapes that do not fit, unknown names, and another number of activations than layers.

    Examples
    --------
    >>> import numpy as np
    >>> import nncore as nn
    >>> coefs, intercepts = [np.ones((4, 8)), np.ones((8, 3))], [np.zeros(8), np.zeros(3)]
    >>> nn.from_arrays((coefs, intercepts), ["tanh", "softmax"], layout="sklearn").modules
    [Linear(4, 8), Tanh(), Linear(8, 3), SoftMax()]
    """
    _checks.choice("layout", layout, LAYOUTS)
    layers = _layers(weights, layout)
    if isinstance(activations, str) or not isinstance(activations, (list, tuple)):
        raise TypeError(
            f"activations must be a list with what follows each layer, got "
            f"{_checks.shown(activations)}"
        )
    if len(activations) != len(layers):
        raise ValueError(
            f"activations must have one entry for each of the {len(layers)} layers, None if "
            f"nothing follows, got {len(activations)}"
        )
    dtype = np.result_type(*(_checks.computing_dtype(a) for _, parts in layers for a in parts))
    parts, width = [], None
    for (labels, layer), activation in zip(layers, activations, strict=True):
        layer = [np.array(a, dtype) for a in layer]
        if layer[0].ndim == 2:
            parts.append(_linear(labels, layer, layout, width))
            width = parts[-1].n
        else:
            parts.append(_norm(labels, layer, layout, width, eps))
            width = parts[-1].m
        parts += named(activation)
    if type(parts[-1]) is modules.Sigmoid:
        parts[-1] = modules.OutputSigmoid()
    net = Sequential(parts, output_loss(parts[-1]))
    chain.described(net)
    return net


def output_loss(last):
    """Return the loss of an output unit, None after other modules."""
    if isinstance(last, modules.SoftMax):
        return losses.NLL()
    return losses.BinaryNLL() if isinstance(last, modules.OutputSigmoid) else None


def named(activation):
    """Return the module of a name or a module itself, in a list; [] for nothing."""
    if activation is None:
        return []
    if isinstance(activation, modules.Module):
        return [activation]
    if not isinstance(activation, str):
        raise TypeError(
            f"an activation must be a name, a module or None, got {_checks.shown(activation)[:80]}"
        )
    name = re.sub(r"[\s_-]", "", activation.lower())
    if name in NOTHING:
        return []
    for cls, record in registry.ACTIVATIONS.items():
        if name in record.aliases:
            return [cls()]
    known = sorted({record.aliases[0] for record in registry.ACTIVATIONS.values()})
    raise ValueError(
        f"an activation must be one of {', '.join(known)}, identity, or a module; got "
        f"{activation[:80]!r}"
    )


def as_array(label, x):
    """Return an array or a tensor of PyTorch as an array."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.numpy() if "bfloat16" not in str(x.dtype) else x.float().numpy()
    return _checks.real(label, x)


def _layers(weights, layout):
    """Return ([labels], [arrays]) per layer."""
    if isinstance(weights, dict):
        if layout != "torch":
            raise TypeError(f"weights must be a list with layout={layout!r}, got a dict")
        return _of_state(weights)
    if not isinstance(weights, (list, tuple)) or not weights:
        given = "an empty list" if isinstance(weights, (list, tuple)) else type(weights).__name__
        raise TypeError(f"weights must be a list of arrays, or PyTorch's state_dict, got {given}")
    if layout == "sklearn" and len(weights) == 2 and all(isinstance(w, list) for w in weights):
        coefs, intercepts = weights
        if len(coefs) != len(intercepts):
            raise ValueError(
                f"coefs_ and intercepts_ must have the same length, got {len(coefs)} and "
                f"{len(intercepts)}"
            )
        weights = list(zip(coefs, intercepts, strict=True))
    flat = []
    for i, entry in enumerate(weights):
        if isinstance(entry, (list, tuple)) and any(np.ndim(a) for a in map(_plain, entry)):
            flat += [
                (f"weights[{i}][{k}]", as_array(f"weights[{i}][{k}]", a))
                for k, a in enumerate(entry)
            ]
        else:
            flat.append((f"weights[{i}]", as_array(f"weights[{i}]", entry)))
    return _grouped(flat)


def _plain(a):
    return a.detach().cpu().numpy() if hasattr(a, "detach") else a


def _grouped(flat):
    """Divide arrays in order into layers: a matrix and its bias, or four vectors."""
    layers, at = [], 0
    while at < len(flat):
        label, a = flat[at]
        if a.ndim not in (1, 2):
            raise ValueError(f"{label} must be a matrix or a vector, got shape {a.shape}")
        vectors = at + (a.ndim == 2)
        end = vectors
        while end < len(flat) and flat[end][1].ndim == 1:
            end += 1
        count = (end - vectors) % 4
        if a.ndim == 2 and count > 1 or a.ndim == 1 and count:
            raise ValueError(
                f"{end - vectors} vectors follow {'a matrix' if a.ndim == 2 else 'the start'} at "
                f"{label}; a Linear has at most one, a batch normalisation four"
            )
        if a.ndim == 2:
            layers.append(flat[at : vectors + count])
            vectors += count
        layers += [flat[k : k + 4] for k in range(vectors, end, 4)]
        at = end
    return [tuple(zip(*layer, strict=True)) for layer in layers]


def _of_state(state):
    """Return the layers of a state_dict in the order of their numbers."""
    found = {}
    for name, value in state.items():
        prefix, _, part = str(name).rpartition(".")
        if part != "num_batches_tracked":
            found.setdefault(prefix, {})[part] = (str(name), as_array(str(name), value))
    if all(re.fullmatch(r"\d+(\.\d+)*", prefix) for prefix in found):
        found = dict(sorted(found.items(), key=lambda item: [*map(int, item[0].split("."))]))
    layers = []
    for prefix, parts in found.items():
        names = set(parts)
        norm = {"weight", "bias", "running_mean", "running_var"}
        if names not in ({"weight"}, {"weight", "bias"}, norm):
            raise ValueError(
                f"the layer {prefix!r} must have weight and bias, and running_mean and running_var "
                f"if it is a BatchNorm1d, got {', '.join(sorted(names))}"
            )
        wanted = ("weight", "bias", "running_mean", "running_var")
        layers.append(tuple(zip(*(parts[n] for n in wanted if n in parts), strict=True)))
    if not layers:
        raise ValueError("weights must hold at least one layer, got an empty dict")
    return layers


def _linear(labels, layer, layout, width):
    W = layer[0].T if layout == "torch" else layer[0]
    axes = "(outputs, inputs)" if layout == "torch" else "(inputs, outputs)"
    other = "keras" if layout == "torch" else "torch"
    if 0 in W.shape or width is not None and W.shape[0] != width:
        hint = f"; layout={other!r} would fit" if width == W.shape[1] else ""
        raise ValueError(
            f"{labels[0]} must have shape {axes} with layout={layout!r}"
            f"{'' if width is None else f' and take the {width} outputs before it'}, got "
            f"{layer[0].shape}{hint}"
        )
    if len(layer) == 1:
        return chain.linear(W)
    b = layer[1]
    if b.shape != (W.shape[1],):
        hint = f"; layout={other!r} would fit" if b.shape == (W.shape[0],) else ""
        raise ValueError(
            f"{labels[1]} must have shape ({W.shape[1]},), one bias per output of {labels[0]} "
            f"{layer[0].shape}, got {b.shape}{hint}"
        )
    return chain.linear(W, b)


def _norm(labels, layer, layout, width, eps):
    width = layer[0].size if width is None else width
    for label, a in zip(labels, layer, strict=True):
        if a.shape != (width,):
            raise ValueError(f"{label} must have shape ({width},), got {a.shape}")
    scale, shift, mean, var = layer
    norm = chain.affine_norm(mean, scale, shift)
    norm.running_var = var.reshape(-1, 1)
    default, momentum = NORMS[layout]
    norm._configure("running", momentum, default if eps is None else eps)
    return norm
