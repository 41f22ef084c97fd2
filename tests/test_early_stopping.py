"""EarlyStopping: improvements, refusals and their time, and the weights that are restored."""

import numpy as np
import pytest
from test_training import by_modules, data, make, weights

import nncore as nn
from nncore.callbacks import EarlyStopping


@pytest.fixture(params=["numpy", "compiled"])
def backend(request):
    with nn.use_backend(request.param):
        yield request.param


X, Y = data()
nan, inf = np.nan, np.inf


class Scripted:
    """Add a script's values to the history, one per epoch or None; keep each epoch's weights."""

    def __init__(self, values, name="told"):
        self.values, self.name, self.kept = values, name, []

    def __call__(self, net, history):
        value = self.values[len(self.kept)]
        told = history.setdefault(self.name, [])
        if value is not None:
            told.append(value)
        self.kept.append(weights(net))


def regression():
    np.random.seed(0)
    return nn.Sequential([nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)], nn.Squared())


@pytest.mark.parametrize(
    ("name", "values", "patience", "delta", "epochs", "best"),
    [
        ("told", [nan, 3, 2, nan, nan, 1], 2, 0, 5, 3),
        ("told", [nan, 3, 2, nan, 1, nan, nan], 2, 0, 7, 5),
        ("told", [nan, nan, nan, 1], 3, 0, 3, 0),
        ("told", [nan, inf, 4, 5, nan, 3], 3, 0, 6, 6),
        ("told", [nan, 3, 2.9, 2.8, 1], 2, 0.5, 4, 2),
        ("told", [5, nan, 4.9, 4.4, nan, 4.2], 3, 0.5, 6, 4),
        ("my_accuracy", [nan, 0.5, 0.4, nan, 0.9], 2, 0, 4, 2),
        ("my_accuracy", [-inf, nan, 0.1, 0.1, 0.1], 2, 0, 5, 3),
        ("told", [3, None, None, 2, None, 2, None, 2], 2, 0, 8, 4),
        ("told", [None, 3, 2, 2, 1], 1, 0, 4, 3),
    ],
)
def test_nan_is_never_better(backend, name, values, patience, delta, epochs, best):
    stop = EarlyStopping(name, patience=patience, min_delta=delta)
    for _ in range(2):  # the object serves again
        script, net = Scripted(values, name), make()
        history = net.fit(X, Y, epochs=len(values), batch_size=4, seed=0, callbacks=[script, stop])
        assert (len(history["loss"]), stop.best_epoch) == (epochs, best)
        assert np.array_equal(stop.best, values[best - 1] if best else nan, equal_nan=True)
        assert all(
            map(np.array_equal, weights(net), script.kept[best - 1])
        )  # those of the last epoch if none was better


def fitted(net, monitor=None, others=(), **arguments):
    return net.fit(
        X,
        Y,
        epochs=2,
        batch_size=4,
        seed=0,
        callbacks=[*others, *([EarlyStopping(monitor)] if monitor else [])],
        **arguments,
    )


def state(net):
    arrays = [
        a
        for m in net.modules
        for name in ("W", "W0", "G", "B", "running_mean", "running_var")
        if (a := getattr(m, name, None)) is not None
    ]
    counts = [(m.key, m.count) for m in net.modules if isinstance(m, nn.Dropout)]
    optimizer = net.optimizer and (
        net.optimizer.t,
        [a.copy() for _, arrays in sorted(net.optimizer.state.items()) for a in arrays],
    )
    return [a.copy() for a in arrays], counts, net.optimizer, optimizer


def assert_same_state(one, two):
    assert (
        all(map(np.array_equal, one[0], two[0]))
        and one[1:3] == two[1:3]
        and (one[3] is None) == (two[3] is None)
    )
    if one[3]:
        assert (
            one[3][0] == two[3][0]
            and len(one[3][1]) == len(two[3][1])
            and all(map(np.array_equal, one[3][1], two[3][1]))
        )


class Own(nn.Module):
    """Weights that only its own step trains, replaced by new arrays at each step."""

    def __init__(self):
        self.scale = np.ones((4, 1))

    def forward(self, A):
        self.A = A
        return self.scale * A

    def backward(self, dLdZ):
        self.dLdscale = (dLdZ * self.A).sum(axis=1, keepdims=True)
        return self.scale * dLdZ

    def step(self, lrate):
        self.scale = self.scale - lrate * self.dLdscale


def network(own=False):
    np.random.seed(0)
    return nn.Sequential(
        [
            nn.Linear(5, 4),
            nn.BatchNorm(4, statistics="running"),
            Own() if own else nn.Tanh(),
            nn.Dropout(0.25),
            nn.Linear(4, 3),
            nn.SoftMax(),
        ],
        nn.NLL(),
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("trained", [False, True])
def test_a_monitor_that_nobody_computes_is_refused_before_the_training(backend, optimizer, trained):
    net, calls = network(), []
    if trained:
        fitted(net, optimizer=optimizer)
    before = state(net)
    given = {"optimizer": net.optimizer if trained else optimizer}
    with pytest.raises(
        ValueError,
        match="one of 'loss' in this training, got 'validation_loss'; validation data are",
    ):
        fitted(net, "validation_loss", **given)
    assert_same_state(state(net), before)
    with pytest.raises(
        ValueError,
        match="one of 'loss' in this training, got 'told'; a callback that adds it must",
    ):
        fitted(net, "told", [EarlyStopping("loss")], **given)  # another EarlyStopping adds nothing
    assert_same_state(state(net), before)
    # another callback might add it, so an epoch is needed to know; one that comes later is too late
    for others in ([lambda n, h: calls.append(1)], [Scripted([1, 2], "something else")]):
        with pytest.raises(ValueError, match="got 'told'"):
            fitted(net, "told", others, **given)
        assert_same_state(state(net), before)
    with pytest.raises(ValueError, match="a callback that adds it must come before this one"):
        net.fit(
            X, Y, epochs=2, callbacks=[EarlyStopping("told"), Scripted([1, 2])], seed=0, **given
        )
    assert_same_state(state(net), before)
    assert calls == [1]
    twin = network()
    if trained:
        fitted(twin, optimizer=optimizer)
        given = {"optimizer": twin.optimizer}
    fitted(net, optimizer=net.optimizer if trained else optimizer)
    fitted(twin, **given)
    assert all(
        map(np.array_equal, state(net)[0], state(twin)[0])
    )  # the next training is that of a network never refused


def test_weights_that_only_their_own_step_trains_are_put_back_and_restored(backend):
    net = network(own=True)
    before = net.modules[2].scale.copy()
    with pytest.raises(ValueError, match="got 'told'"):
        fitted(net, "told", [lambda n, h: None])
    assert np.array_equal(net.modules[2].scale, before)
    scales = []
    net.fit(
        X,
        Y,
        epochs=5,
        batch_size=4,
        seed=0,
        callbacks=[
            Scripted([3, 2, 1, 4, 5]),
            lambda n, h: scales.append(n.modules[2].scale.copy()),
            EarlyStopping("told", patience=2),
        ],
    )
    assert (
        len(scales) == 5
        and np.array_equal(net.modules[2].scale, scales[2])
        and not np.array_equal(scales[2], scales[4])
    )


@pytest.mark.parametrize("chain", [lambda net: net, by_modules], ids=["program", "modules"])
def test_a_monitor_that_can_only_be_nan_is_refused(backend, chain):
    net, Y1 = chain(regression()), Y[:1].astype(float)
    before = weights(net)
    for others in ([], [lambda n, h: None]):
        with pytest.raises(
            ValueError,
            match="got 'validation_accuracy': Squared has no classes; monitor='validation_r2'",
        ):
            net.fit(
                X,
                Y1,
                epochs=9,
                validation=(X, Y1),
                callbacks=[*others, EarlyStopping("validation_accuracy", patience=2)],
            )
    assert all(map(np.array_equal, weights(net), before))
    stop = EarlyStopping("validation_accuracy", patience=2)
    assert (
        len(make().fit(X, Y, epochs=2, validation=(X, Y), callbacks=stop)["loss"]) == 2
        and stop.best_epoch
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, FloatingPointError, KeyError])
def test_an_interrupted_training_leaves_nothing_in_the_object(backend, error):
    def fail(net, history):
        if len(history["loss"]) == 3:
            if error is FloatingPointError:
                net.modules[0].W0[:] = 9
                net.modules[-2].W[:] = 1e308
            else:
                raise error

    stop, net, other = EarlyStopping("loss", patience=9), make(), make(seed=5)
    with pytest.raises(error):
        net.fit(X, Y, epochs=9, batch_size=4, seed=0, callbacks=[stop, fail])
    assert stop.best_epoch == 3
    left, untouched = weights(net), weights(other)
    net.fit(X, Y, epochs=0, callbacks=stop)
    other.fit(X, Y, epochs=0, callbacks=stop)
    assert all(map(np.array_equal, weights(net), left)) and all(
        map(np.array_equal, weights(other), untouched)
    )
    other.fit(X, Y, epochs=2, batch_size=4, seed=0, callbacks=stop)
    twin = make(seed=5)
    twin.fit(X, Y, epochs=2, batch_size=4, seed=0, callbacks=EarlyStopping("loss"))
    assert all(map(np.array_equal, weights(other), weights(twin)))


def test_one_object_serves_one_training_at_a_time(backend):
    stop, net, inner = EarlyStopping("loss", patience=9), make(), make(seed=5)
    untouched = weights(inner)

    def train_another(n, history):
        with pytest.raises(
            RuntimeError,
            match="EarlyStopping must serve one training at a time, .* make an object for each",
        ):
            inner.fit(X, Y, callbacks=stop)
        assert all(map(np.array_equal, weights(inner), untouched))

    script = Scripted([None] * 3)
    history = net.fit(X, Y, epochs=3, batch_size=4, seed=0, callbacks=[stop, train_another, script])
    assert stop.best == min(history["loss"]) and all(
        map(np.array_equal, weights(net), script.kept[stop.best_epoch - 1])
    )
    inner.fit(X, Y, callbacks=stop)


def test_it_can_be_called_by_a_loop_of_ones_own(backend):
    stop, net = EarlyStopping("mine", patience=2), make()
    for _ in range(2):
        values, kept = [], []
        for value in (3.0, 1.0, nan, 2.0, 0.0):
            net.sgd(X, Y, 5, 0.1)
            values.append(value)
            kept.append(weights(net))
            if stop(net, {"mine": values}):
                break
        stop.finish(net, {"mine": values})
        assert (
            len(values) == 4
            and stop.best_epoch == 2
            and all(map(np.array_equal, weights(net), kept[1]))
        )
    with pytest.raises(TypeError, match=r"history\['mine'\] must be a real number, got str"):
        stop(net, {"mine": ["low"]})
