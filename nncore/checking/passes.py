"""Forward and backward passes of a module on probes, and the correct results to compare with."""

from types import SimpleNamespace

import numpy as np

from nncore import reference, registry
from nncore.checking import roles
from nncore.checking.causes import TOLERANCE, same
from nncore.checking.roles import ACTIVATIONS, BATCH, OUTPUTS
from nncore.checking.trials import (
    attributes,
    call,
    copied,
    differences,
    reseeder,
    seeded,
    set_weights,
)
from nncore.foreign.probe import untouched

__all__ = ["activation", "library_results", "numeric_results", "probes", "run"]


def probes(module, role, weights, features):
    """Return inputs away from kinks: two batches of several samples, which expose state left over
    from the first, then single samples.
    """
    rng = np.random.default_rng(2)
    sizes = {features, *(s for w in weights.values() for s in w.shape)}
    b = next(b for b in range(BATCH, BATCH + 9) if b not in sizes)
    if role.name == "BatchNorm":
        return [SimpleNamespace(x=roles.spread(rng, features, b), b=b, g=None) for _ in range(2)]
    found = [
        SimpleNamespace(
            x=rng.uniform(0.2, 1.6, (features, batch)) * rng.choice([-1, 1], (features, batch)),
            b=batch,
            g=None,
        )
        for batch in (b, b, 1, 1)
    ]
    if role.name is not None or roles.name_of(module) not in (None, "BatchNorm"):
        return found
    with untouched(module):
        set_weights(module, weights)
        reset = reseeder(module)
        reset()
        several, failure = call(module.forward, found[0].x.copy())
        reset()
        single, other = call(module.forward, found[0].x[:, :1].copy())
    if failure is None and (
        other is not None or not same(np.asarray(several)[..., :1], single, 1e-6)
    ):
        # the samples of a batch depend on each other, as in BatchNorm: single ones show nothing
        return found[:2]
    return found


def upstream(shape, seed):
    """Return a random dL/dOutput with entries of both signs, none near 0."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.3, 1.5, shape) * rng.choice([-1, 1], shape)


def run(module, role, weights, probes):
    """Run forward and backward on each probe without a step; return outputs, gradients, changes and
    failures.
    """
    trial = SimpleNamespace(
        out=[], back=[], gradients=[], wrote=set(), failures={}, at=None, keeps=False
    )
    with untouched(module):
        set_weights(module, weights)
        reset = reseeder(module)
        for seed, p in enumerate(probes):
            x, before = p.x.copy(), dict(attributes(module))
            reset()
            Z, failure = call(module.forward, x)
            trial.keeps |= any(before.get(k) is not v for k, v in attributes(module).items())
            if failure:
                trial.failures["forward"], trial.at = failure, p
                return trial
            if not same(x, p.x, 0):
                trial.wrote.add("forward")
            trial.out.append(copied(Z))
            if not isinstance(Z, np.ndarray) or "backward" in trial.failures:
                continue
            p.g = upstream(Z.shape, seed)
            g = p.g.copy()
            back, failure = call(module.backward, g)
            if failure:
                trial.failures["backward"], trial.at = failure, p
                continue
            if not same(g, p.g, 0):
                trial.wrote.add("backward")
            trial.back.append(copied(back))
            role.look_for_gradients(module, weights)
            trial.gradients.append(
                {
                    k: copied(getattr(module, role.gradient(k)))
                    for k in weights
                    if hasattr(module, role.gradient(k))
                }
            )
    return trial


def activation(name, probes, trial):
    """Return the library's activation of that name, with the settings that come nearest to the
    module's results if it has any.
    """
    record = next(a for a in registry.ACTIVATIONS.values() if a.cls.__name__ == name)
    made, Z, A = [record.cls()], probes[0].x, trial.out[0] if trial.out else None
    if isinstance(A, np.ndarray) and A.shape == Z.shape and A.dtype.kind in "fiu":
        with np.errstate(all="ignore"):
            made = record.matching(Z, np.asarray(A, np.float64))
    twins = [getattr(reference, name)(*(getattr(m, s) for s in record.settings)) for m in made]
    if len(twins) == 1:
        return twins[0]
    return min(twins, key=lambda t: np.abs(t.forward(Z) - A).max())


def library_results(role, weights, probes, trial):
    """Return the results of the library's module of that role on the probes, or None. Adds the
    arrays' names to the probes.
    """
    if role.name not in (*ACTIVATIONS, *OUTPUTS, "Linear", "BatchNorm"):
        return None
    values = {
        role.weights[k]: role.to_library(k, w) for k, w in weights.items() if k in role.weights
    }
    if values:
        sizes = values["W"].shape if "W" in values else values["G"].shape[:1]
        twin = getattr(reference, role.name)(*sizes)
    else:
        twin = activation(role.name, probes, trial)
    set_weights(twin, values)
    wanted = SimpleNamespace(out=[], back=[], gradients=[], tolerance=TOLERANCE)
    for p in probes:
        Z = twin.forward(p.x)
        g = p.g if np.shape(p.g) == Z.shape else upstream(Z.shape, 0)
        wanted.out.append(Z)
        wanted.back.append(np.array(twin.backward(g)))
        wanted.gradients.append(
            {
                k: role.to_own(k, np.array(getattr(twin, "dLd" + role.weights[k])))
                for k in role.weights
            }
        )
        # The tables of mistakes use the course's names.
        vars(p).update(values)
        if role.outputs_first:
            p.W = p.W.T
        if values:
            p.A, p.Z, p.dLdZ = p.x, Z, g
        else:
            p.Z, p.A, p.dLdA, p.dLdZ = p.x, Z, g, g
        if role.name == "BatchNorm":
            vars(p).update(roles.statistics(p.A))
    return wanted


def numeric_results(module, role, weights, probes, trial):
    """Return finite differences of sum(g * forward(x)); used if the library has no such module."""
    single = any(Z.dtype == np.float32 for Z in trial.out)
    far = roles.SPREAD if role.name == "BatchNorm" else 1
    step, tolerance = (1e-2, 2e-2) if single else (1e-5, 1e-6)
    wanted = SimpleNamespace(out=None, back=[], gradients=[], tolerance=tolerance, own=None)
    with untouched(module) as snapshot:
        for p in probes:
            x, moved = p.x.copy(), {k: w.copy() for k, w in weights.items()}

            def value(p=p, x=x, moved=moved):
                snapshot.restore()  # it may count its calls or keep running means
                set_weights(module, moved)
                seeded()
                Z, failure = call(module.forward, x.copy())
                return np.nan if failure else float(np.sum(p.g * Z, dtype=np.float64))

            wanted.back.append(differences(value, x, step * far))
            wanted.gradients.append({k: differences(value, w, step) for k, w in moved.items()})
    return wanted
