"""Runs of elementwise operators as affine steps and activations, recognised by their values."""

from functools import cache
from typing import NamedTuple

import numpy as np

from nncore import modules, registry
from nncore.exchange.operators import Refused, evaluate, listed

__all__ = ["Affine", "partition"]

# Dense around 0; far out, activations are linear or constant.
PROBES = np.concatenate([np.linspace(-6, 6, 97), [-30.0, -15.0, -9.0, -7.0, 7.0, 9.0, 15.0, 30.0]])
# Constants rounded to float32 are off by 6e-8; the forms of GELU differ by 5e-4.
LOOSE, STRICT = 4e-6, 1e-9
MOST_SEGMENTS = 200
MOST_WORK = 200_000  # operators evaluated per file, 2 s or so; a layer with GELU takes 150
MATCHING = 20  # the cost of comparing values with all activations, in operators


class Affine(NamedTuple):
    """(x − mean) ⊙ factor + offset, each one number or one per feature."""

    mean: np.ndarray
    factor: np.ndarray
    offset: np.ndarray

    @property
    def arrays(self):
        """The three arrays, flat."""
        return tuple(np.ravel(a) for a in self)

    @property
    def size(self):
        """The number of features, 1 if any will do."""
        return max(a.size for a in self)


def partition(run, reader):
    """Return affine steps and activations whose composition is the run of segments.

    run: (nodes, base, output) of consecutive segments. Of all ways to divide it, the one with the
    longest first part is taken. Refused, naming the operators, if there is none.
    """
    if not run:
        return []
    if len(run) > MOST_SEGMENTS:
        raise Refused(f"{len(run)} elementwise operators in a row are no activation of nncore")

    @cache
    def parts_from(at):
        if at == len(run):
            return ()
        values = _values(run[at:], reader)
        for end in range(at + max(len(values), 1), at, -1):
            reader.work += MATCHING
            if reader.work > MOST_WORK:
                raise Refused(f"the operators {listed(_nodes(run))} are too many to recognise")
            found = _matching(*values[end - at - 1]) if values else None
            if found is None and end == at + 1:
                found = _affine(run[at], reader)
            rest = None if found is None else parts_from(end)
            if rest is not None:
                return (found, *rest)
        return None

    found = parts_from(0)
    if found is None:
        raise Refused(f"the operators {listed(_nodes(run))} compute no activation of nncore")
    return _merged(found)


def _nodes(run):
    return [node for nodes, *_ in run for node in nodes]


def _values(run, reader):
    """Return [(values at PROBES after a segment, tolerance)] of segments from the first on, up to
    one that is no function of one number.
    """
    values, loose, found = {run[0][1]: PROBES}, False, []
    for nodes, _, output in run:
        for node in nodes:
            arrays = []
            for name in node.input:
                a = values.get(name)
                if a is None:
                    a = reader.constant(name)
                    if a is None or a.size != 1:
                        return found
                    loose |= a.dtype == np.float32
                    a = a.reshape(()).astype(np.float64)
                arrays.append(a)
            loose |= any(attribute.type == attribute.FLOAT for attribute in node.attribute)
            reader.work += 1
            values[node.output[0]] = evaluate(node, arrays)
        if values[output].shape != PROBES.shape:
            return found
        found.append((values[output], LOOSE if loose else STRICT))
    return found


def _matching(A, tolerance):
    """Return the module whose values at PROBES are A, or None."""
    if not np.isfinite(A).all():
        return None
    for record in registry.ACTIVATIONS.values():
        if record.is_output:
            continue
        for module in record.matching(PROBES, A):
            if isinstance(module, modules.LeakyReLU) and tolerance == LOOSE:
                module = modules.LeakyReLU(float(str(np.float32(module.slope))))
            got = module.predict_forward(PROBES.reshape(-1, 1)).ravel()
            if (np.abs(got - A) <= tolerance * (1 + np.abs(A))).all():
                return module
    return None


def _affine(segment, reader):
    """Return the Affine of one operator with a constant, or None."""
    nodes, base, _ = segment
    node = nodes[0]
    zero, one = np.zeros(1), np.ones(1)
    if len(nodes) != 1:
        return None
    if node.op_type in ("Identity", "Cast"):
        evaluate(node, [zero])  # refuses a cast to integers
        return Affine(zero, one, zero)
    if node.op_type == "Neg":
        return Affine(zero, -one, zero)
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.input) != 2:
        return None
    place = list(node.input).index(base)
    c = reader.constant(node.input[1 - place])
    if c is None or c.shape[:-1] not in ((), (1,)):
        return None
    c = c.astype(np.float64).ravel()
    if node.op_type == "Mul":
        return Affine(zero, c, zero)
    if node.op_type == "Div" and place == 0 and c.all():
        return Affine(zero, 1 / c, zero)
    if node.op_type == "Add":
        return Affine(zero, one, c)
    if node.op_type == "Sub":
        return Affine(c, one, zero) if place == 0 else Affine(zero, -one, c)
    return None


def _merged(parts):
    """Merge consecutive affine steps; (x − mean) stays as it is, which keeps digits."""
    found = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, Affine) and isinstance(last, Affine):
            found[-1] = _composed(last, part)
        else:
            found.append(part)
    return found


def _composed(first, then):
    """Return the affine step x → then(first(x))."""
    if {first.size, then.size} - {1, max(first.size, then.size)}:
        raise Refused(f"scalings of {first.size} and {then.size} features follow each other")
    mean, factor, offset = first
    if not offset.any() and (factor == 1).all():
        return Affine(mean + then.mean, then.factor, then.offset)
    return Affine(mean, factor * then.factor, (offset - then.mean) * then.factor + then.offset)
