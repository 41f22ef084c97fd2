"""A network: its modules in order, its loss beside the output unit, and its own forward, backward, sgd_step and sgd."""

import inspect
from types import SimpleNamespace

import numpy as np

from nncore import reference
from nncore._probe import arrays, untouched
from nncore.checking import losses, modules, roles
from nncore.checking.findings import Fault, Result, raised
from nncore.checking.mistakes import same
from nncore.checking.steps import NAMES
from nncore.checking.trials import call, location, required, reseeder, seeded, set_weights

__all__ = ["check", "check_class", "flattened", "is_network", "is_network_class"]

RATE = 0.0625
SEEDS = 6  # single steps of sgd whose draw is found out
MANY = 60  # steps in which every one of three samples is drawn, but for a chance of 1e-10


def is_network(thing):
    """True for an object with a list of modules."""
    return not inspect.isclass(thing) and isinstance(getattr(thing, "modules", None), (list, tuple))


def is_network_class(thing):
    """True for a class that is made from modules."""
    parameters = required(thing)
    return bool(parameters) and parameters[0].name in ("modules", "layers") and hasattr(thing, "forward")


def check_class(cls):
    """[Result] of a class of networks, made around the library's modules, so that what is wrong is its own."""
    seeded()
    chain = [reference.Linear(4, 4), reference.Tanh(), reference.Linear(4, 4), reference.SoftMax()]  # square: no shape fails
    net, failure = call(cls, *[chain, reference.NLL()][:len(required(cls))])
    result = Result("", cls.__name__)
    if failure:
        result.faults.append(Fault("__init__", f"raised {failure} for {cls.__name__}(modules, loss)", where=failure.line))
    elif not is_network(net):
        result.faults.append(Fault("__init__", "does not keep its list of modules", "self.modules = modules", where=location(cls.__init__)))
    else:
        if getattr(net, "loss", None) is None:
            net.loss = reference.NLL()
        with untouched(net, net.loss, *chain):
            _network_itself(result, net, [(f"modules[{i}]", m) for i, m in enumerate(chain)], 4, 4)
    return [result]


def check(net, inputs):
    """[Result] of all parts of a network, in order."""
    chain = list(flattened(net.modules))
    if not chain:
        raise ValueError("modules must hold at least one module, got none")
    loss = getattr(net, "loss", None)
    parts = [*chain, *([("loss", loss)] if loss is not None else [])]
    for place, part in parts:
        if not modules.has_methods(part):
            raise TypeError(f"{place} must have forward and backward, got {type(part).__name__}")
    if any(inspect.isclass(part) for _, part in parts):
        return [*(_is_class(place, part) for place, part in parts if inspect.isclass(part)),
                Result("network", type(net).__name__, unchecked="it needs objects of its classes first")]
    with untouched(net, loss, *(module for _, module in chain)):
        features = inputs or _first_features(chain)
        results, known = _modules(chain, features, loss)
        if loss is not None:
            output = known.role if known.role in (*roles.OUTPUTS, "Sigmoid") else ""
            results.append(losses.check(loss, "loss", output, known.outputs, known.hands))
            _pair(results[-2:], chain[-1][1], loss, known)
            _unit(results[-2:], loss, known)
        itself = Result("network", type(net).__name__)
        if known.outputs is None or any(f.what in ("forward", "backward", "dLdA") and f.message.startswith(("raised", "gives None"))
                                        for r in results for f in r.faults):
            itself.unchecked = "its modules must run first"
        else:
            _network_itself(itself, net, chain, features, known.outputs)
            told = {f.where for r in results for f in r.faults}
            if any(f.where and f.where in told for f in itself.faults):  # the same failure, seen from further off
                itself.faults.clear()
                itself.unchecked = "its modules must run first"
        results.append(itself)
    return results


def _is_class(place, cls):
    """The Result of a class that stands where one of its objects must."""
    return Result(place, cls.__name__, faults=[Fault("it", "is the class, must be an object of it",
                                                            f"the parentheses are missing: {cls.__name__}()")])


def flattened(chain, place="modules"):
    """(place, module) of all modules, those of a network within the network too."""
    for i, module in enumerate(chain):
        if is_network(module):
            yield from flattened(module.modules, f"{place}[{i}].modules")
        else:
            yield f"{place}[{i}]", module


def _first_features(chain):
    """The number of inputs of the first module that tells it; those before it keep the number."""
    for _, module in chain:
        has_matrix = any(v.ndim == 2 for v in arrays(module).values())
        if has_matrix or isinstance(getattr(module, "m", None), int):
            return roles.features_of(module)
    return 4


def _modules(chain, features, loss):
    """([Result], what is known of the last one) of the modules, each with as many inputs as the one before it has outputs."""
    results, known, sure = [], None, True
    for i, (place, module) in enumerate(chain):
        faults, before = [], chain[i - 1][0] if i else "X"
        W = getattr(module, "W", None)
        is_linear = roles.name_of(module) == "Linear" and np.ndim(W) == 2
        if is_linear and not sure:
            features, sure = None, True
        elif is_linear and features not in np.shape(W):
            faults.append(Fault("W", f"takes {len(W)} inputs, but {before} gives {features}",
                                f"the sizes do not fit: W must be ({features}, n)", shape=W.shape))
            features = len(W)
        earlier = next((p for p, m in chain[:i] if m is module), None)
        result, known = modules.check(module, place, features, loss is not None and i == len(chain) - 1, True)
        if earlier is not None and known.keeps:
            faults.append(Fault("it", f"is the same object as {earlier}", "what its forward keeps for backward is overwritten in its other "
                                f"place; make two, with {type(module).__name__}(...) twice"))
        result.faults[:0] = faults
        results.append(result)
        features, sure = known.outputs, sure and known.outputs is not None
        if features is None and is_linear:
            features, sure = np.shape(W)[1], True
    return results, known


def _pair(results, last, loss, known):
    """Where the last module multiplies by its derivative and the loss gives dL/dZ already, the module is at fault, not the loss."""
    output, own = results
    if known.role in roles.OUTPUTS or known.role == "Sigmoid":
        hands_through = losses.check(loss, "loss", known.role, known.outputs, "through")
        if known.hands == "derivative" and not own.ok and hands_through.ok and output.ok:
            own.faults[:] = []
            output.faults.append(Fault("backward", f"multiplies by its derivative, but {type(loss).__name__}.backward gives dL/dZ already",
                                       "the derivative is applied twice; the output unit's backward must return dLdZ itself", "return dLdZ",
                                       location(last.backward)))


def _unit(results, loss, known):
    """Where an NLL stands beside a module that gives no probabilities of classes, that module is at fault, not the loss."""
    output, own = results
    if roles.name_of(loss) != "NLL" or not output.ok:
        return
    is_nll = any(losses.check(loss, "loss", "SoftMax", known.outputs, hands).ok for hands in ("through", "derivative"))
    if known.role in ("Linear", "Tanh", "ReLU") and (is_nll or own.unchecked):
        output.faults.append(Fault("it", "is the last module, but gives no probabilities, of which NLL takes the logarithm",
                                   "SoftMax is missing: it must come last, after this one", "modules = [..., SoftMax()]"))
    elif known.role in ("Sigmoid", "OutputSigmoid") and (known.outputs or 1) > 1 and is_nll and not own.ok:
        output.faults.append(Fault("it", "is a sigmoid before a loss of several classes, whose probabilities must add up to 1",
                                   "the output unit of NLL is SoftMax", "modules = [..., SoftMax()]"))
    else:
        return
    if is_nll:
        own.faults[:] = []


# ---------------------------------------------------------------------------------------------- the network's own methods


def _network_itself(result, net, chain, features, outputs):
    """Compare the network's methods with its modules' own, called one after the other."""
    labels = np.arange(3) % max(2, outputs)
    work = SimpleNamespace(net=net, chain=[m for _, m in chain], places=[p for p, _ in chain], loss=getattr(net, "loss", None),
                           X=np.random.default_rng(5).normal(size=(features, 3)), Y=np.eye(max(2, outputs))[:outputs, labels])
    if roles.name_of(work.loss) == "Hinge":
        work.Y = 2 * work.Y - 1
    if callable(getattr(net, "forward", None)) and not _forward(result, work):
        if result.ok:
            result.unchecked = "its modules must run first"
        return
    if work.loss is None:
        return
    work.movers = _movers(work)
    stepping = next((name for name in NAMES if callable(getattr(net, name, None))), None)
    if callable(getattr(net, "backward", None)) and stepping and not _backward_and_step(result, work, stepping):
        if result.ok:
            result.unchecked = "its modules and its loss must run first"
        return
    if callable(getattr(net, "sgd", None)) and not type(net).__module__.startswith("nncore.") and not _is_random(work):
        _sgd(result, work)


def _forward(result, work):
    """True where net.forward is its modules' forward in order."""
    with untouched(work.net, *work.chain):
        reset = reseeder(*work.chain)
        reset()
        A = work.X.copy()
        for module in work.chain:
            A, failure = call(module.forward, A)
            if failure:
                return False
        reset()
        given, failure = call(work.net.forward, work.X.copy())
    if failure:
        result.faults.append(raised(work.net, "forward", failure))
    elif given is None:
        result.faults.append(Fault("forward", "gives None", "its return is missing", where=location(work.net.forward)))
    elif not same(given, A):
        cause = "it returns its input: each module's output must go into the next one" if same(given, work.X) else ""
        result.faults.append(Fault("forward", "is not its modules' forward, one after the other", cause, where=location(work.net.forward)))
    return result.ok


def _is_random(work):
    """True where the outputs depend on the random generators, as with dropout."""
    with untouched(work.net, *work.chain):
        outputs = []
        for seed in (0, 1):
            A = work.X
            seeded(seed)
            for module in work.chain:
                A, _ = call(module.forward, A.copy())
            outputs.append(A)
    return not same(*outputs, 0)


def _forward_backward(work, X, Y, delta=None):
    """The modules' forward and backward by hand; a Failure where one fails."""
    A, failure = X.copy(), None
    for module in work.chain:
        A, failure = call(module.forward, A)
        if failure:
            return failure
    _, failure = call(work.loss.forward, A, Y.copy())
    delta, other = call(work.loss.backward)
    for module in work.chain[::-1]:
        failure = failure or other
        if failure:
            return failure
        delta, failure = call(module.backward, delta)
    return failure


def _movers(work):
    """For each module the name of the step that changes anything, or None."""
    with untouched(work.net, work.loss, *work.chain):
        seeded()
        _forward_backward(work, work.X[:, :1], work.Y[:, :1])
        names = []
        for module in work.chain:
            mover = None
            for name in NAMES:
                if mover is None and callable(getattr(module, name, None)):
                    with untouched(module):
                        before = _arrays([module])
                        call(getattr(module, name), RATE)
                        mover = name if _changed(before, _arrays([module])) else None
            names.append(mover)
    return names


def _arrays(chain):
    """{(index of the module, attribute): array} of all arrays that the modules keep."""
    return {(i, k): v.copy() for i, module in enumerate(chain) for k, v in arrays(module).items()}


def _changed(before, after):
    return {key for key, v in after.items() if key not in before or not same(v, before[key], 0)}


def _by_hand(work, samples, sign=1.0):
    """The modules' arrays after one step by hand on each of the samples, lists of (columns of X, columns of Y); None where it fails."""
    with untouched(work.net, work.loss, *work.chain):
        seeded()
        for i, j in samples:
            if _forward_backward(work, work.X[:, i], work.Y[:, j]):
                return None
            for module, name in zip(work.chain, work.movers, strict=True):
                if name and call(getattr(module, name), sign * RATE)[1]:
                    return None
        return _weights(work)


def _weights(work):
    """The arrays that a step changes, as they are now."""
    return {key: v for key, v in _arrays(work.chain).items() if key in work.trained} if hasattr(work, "trained") else _arrays(work.chain)


def _all_finite(weights):
    return weights is not None and all(np.isfinite(w).all() for w in weights.values())


def _agree(x, y):
    return x is not None and y is not None and x.keys() == y.keys() and all(same(x[key], y[key], 1e-7) for key in x)


def _backward_and_step(result, work, stepping):
    """True where net.backward and its step train every module that can be trained."""
    all_columns = [(slice(None), slice(None))]
    with untouched(work.net, work.loss, *work.chain):
        seeded()
        if _forward_backward(work, work.X, work.Y):
            return False
        before = _arrays(work.chain)
        for module, name in zip(work.chain, work.movers, strict=True):
            if name:
                call(getattr(module, name), RATE)
        work.trained = _changed(before, _arrays(work.chain))
    wanted = _by_hand(work, all_columns)
    with untouched(work.net, work.loss, *work.chain):
        start, reset = _weights(work), reseeder(*work.chain)
        reset()
        _forward_backward(work, work.X, work.Y)
        for module in work.chain:  # gradients that are not those of this pass, so that a backward that does nothing shows
            set_weights(module, {k: np.zeros_like(v) for k, v in arrays(module).items() if k.startswith("dLd") and k.isidentifier()})
        reset()
        A, _ = call(work.net.forward, work.X.copy()) if hasattr(work.net, "forward") else (None, None)
        call(work.loss.forward, A, work.Y.copy())
        _, failure = call(work.net.backward, call(work.loss.backward)[0])
        if failure:
            result.faults.append(raised(work.net, "backward", failure))
            return False
        _, failure = call(getattr(work.net, stepping), RATE)
        if failure:
            fault = raised(work.net, stepping, failure)
            name, culprit = (failure.missing or ("", ""))[0], getattr(failure.error, "obj", None)
            if name in NAMES and culprit in work.chain:
                other = NAMES[1 - NAMES.index(name)]
                fault.cause = f"{type(culprit).__name__} has no {name}" + (f", but {other}: one name must serve in both" if hasattr(
                    culprit, other) else "; modules without weights need one that does nothing, which a base class may give them")
            result.faults.append(fault)
            return False
        after = _weights(work)
    if _agree(after, wanted):
        return True
    left = sorted({i for i, k in work.trained if same(after.get((i, k)), start.get((i, k)), 0)})
    where = location(getattr(work.net, stepping))
    if left and all(work.movers[i] for i in left):
        called = [_called(work, stepping, i) for i in left]
        names = " and ".join(f"{work.places[i]} ({type(work.chain[i]).__name__})" for i in left)
        mover = work.movers[left[0]]
        cause = f"{stepping} does not call its {mover}"
        if all(mover in c for c, mover in zip(called, (work.movers[i] for i in left), strict=True)):
            cause = "the network's backward does not reach it"
        elif called[0]:
            cause = (f"the network calls {called[0][0]}, which does nothing there; the update is called {mover}: give both one name, or "
                     f"let one call the other")
        result.faults.append(Fault(stepping, f"never trains {names}", cause, "for m in self.modules: m.sgd_step(lrate)", where))
    else:
        result.faults.append(Fault("backward or " + stepping, "does not do what the modules' own do, called one after the other",
                                   "backward must go through the modules from the last to the first, each with what the one after it "
                                   "returned",
                                   "for m in self.modules[::-1]: delta = m.backward(delta)", location(work.net.backward)))
    return False


def _called(work, stepping, i):
    """The names of the steps of that module that the network's step calls."""
    module, called = work.chain[i], []
    with untouched(work.net, work.loss, *work.chain):
        seeded()
        if _forward_backward(work, work.X, work.Y):
            return []
        for name in NAMES:
            if callable(getattr(module, name, None)):
                setattr(module, name, lambda lrate, name=name: called.append(name))
        call(getattr(work.net, stepping), RATE)
    return called


# ---------------------------------------------------------------------------------------------- sgd


def _sgd(result, work):
    """Judge the network's own sgd: single steps on one sample and on three, draws, number of steps."""
    if not hasattr(work, "trained"):
        work.trained = _changed(_arrays(work.chain), _by_hand(work, [(slice(0, 1), slice(0, 1))]) or {})
    if not work.trained:
        return
    one = slice(0, 1)
    with untouched(work.net, work.loss, *work.chain):
        start = _weights(work)
    fault = Fault("sgd", "", "", "", location(work.net.sgd))
    if not _takes_the_course_s_arguments(result, work.net.sgd):
        return
    single, failure = _trained(work, [0], 1)
    if failure:
        result.faults.append(raised(work.net, "sgd", failure))
        return
    steps = [_by_hand(work, [(one, one)] * k) for k in range(6)]
    if not _agree(single, steps[1]):
        fault.message = "with one sample and iters=1 is not one forward, loss, backward and step"
        if _agree(single, start):
            fault.message, fault.cause = "does not train: no weight changes", "it must call sgd_step in every iteration"
        elif _agree(single, _by_hand(work, [(one, one)], -1.0)):
            fault.cause = "it goes uphill: the sign of lrate is wrong"
        elif any(_agree(single, s) for s in steps[2:]):
            fault.cause = f"it makes {next(k for k, s in enumerate(steps) if k > 1 and _agree(single, s))} steps instead of one"
        result.faults.append(fault)
        return
    three, failure = _trained(work, [0], 3)
    if failure:
        result.faults.append(raised(work.net, "sgd", failure, only=" with iters=3"))
        return
    if not _agree(three, steps[3]):
        made = next((k for k, s in enumerate(steps) if _agree(three, s)), None)
        fault.message = "with iters=3 does not make three steps"
        if made is not None:
            fault.message = f"with iters=3 makes {made} step{'s' if made != 1 else ''}"
            fault.cause = "a return or break inside the loop, or a loop that counts otherwise"
        result.faults.append(fault)
        return
    _draws(result, work, fault)


def _takes_the_course_s_arguments(result, sgd):
    """True for sgd(X, Y, iters, lrate); notes what else it takes."""
    try:
        names = list(inspect.signature(sgd).parameters)
    except (TypeError, ValueError):
        return False
    rates = [any(part in name.lower() for part in ("rate", "lr", "eta", "alpha", "step_size")) for name in names]
    if len(names) >= 4 and rates[3] and not rates[2]:
        return True
    result.remarks.append(f"sgd was not checked: it takes ({', '.join(names)}), where the course's takes (X, Y, iters, lrate), in that "
                          "order")
    return False


def _trained(work, columns, iters, seed=0):
    """(arrays after net.sgd on those columns, Failure or None)."""
    with untouched(work.net, work.loss, *work.chain):
        seeded(seed)
        _, failure = call(work.net.sgd, work.X[:, columns], work.Y[:, columns], iters, RATE)
        return (None, failure) if failure else (_weights(work), None)


def _draws(result, work, fault):
    """Judge which sample a step of sgd takes."""
    N = work.X.shape[1]
    columns = [slice(i, i + 1) for i in range(N)]
    alone = [_by_hand(work, [(c, c)]) for c in columns]
    if any(_agree(alone[i], alone[i - 1]) for i in range(N)):  # of units that are all off, say: the draws cannot be told
        return
    drawn, expected = [], []
    for seed in range(SEEDS):
        given, failure = _trained(work, list(range(N)), 1, seed)
        if failure:
            result.faults.append(raised(work.net, "sgd", failure, only=" with three samples"))
            return
        found = next((i for i, a in enumerate(alone) if _agree(given, a)), None)
        if found is None:
            fault.message = "with three samples does not step along the gradient of one of them"
            if _agree(given, _by_hand(work, [(slice(None), slice(None))])):
                fault.cause = "every step takes all samples; it must draw one at random, i = np.random.randint(N)"
            elif any(_agree(given, _by_hand(work, [(columns[i], columns[j])])) for i in range(N) for j in range(N) if i != j):
                fault.cause = "X and Y are drawn separately: one i must choose the columns of both, X[:, i:i+1] and Y[:, i:i+1]"
            result.faults.append(fault)
            return
        drawn.append(found)
        seeded(seed)
        expected.append(np.random.randint(N))
    never = []
    for j in range(N):
        marked = SimpleNamespace(**vars(work))
        marked.X = work.X.copy()
        marked.X[:, j] = np.nan  # shows in the weights as soon as the sample is drawn
        if _all_finite(_by_hand(marked, [(columns[j], columns[j])])):
            continue  # but not where a loss takes NaN for right and no unit is on
        weights, failure = _trained(marked, list(range(N)), MANY)
        if failure is None and _all_finite(weights):
            never.append(j)
    if never:
        fault.message = f"never draws {'sample' if len(never) == 1 else 'samples'} {', '.join(map(str, never))} of 0, 1, 2 in {MANY} steps"
        fault.cause = "the random index must run over all columns: np.random.randint(N) gives 0 to N-1"
        result.faults.append(fault)
    elif len(set(drawn)) == 1 and drawn != expected:
        result.remarks.append("sgd draws the same samples in every call: it seeds the generator itself, or takes them in turn")
    elif drawn != expected:
        result.remarks.append("sgd draws otherwise than by one np.random.randint(N) a step; its numbers differ from the course's")
