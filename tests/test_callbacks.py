"""ModelCheckpoint, ReduceOnPlateau, Metrics; EarlyStopping has a file of its own."""

import os
import re

import numpy as np
import pytest

import nncore as nn
from nncore.callbacks import EarlyStopping, Metrics, ModelCheckpoint, ReduceOnPlateau

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 60))
LABELS = (X[0] + 0.3 * X[1] > 0).astype(int)


def net(dtype=np.float64):
    np.random.seed(0)
    layers = [nn.Linear(4, 6, dtype=dtype), nn.Tanh(), nn.Linear(6, 2, dtype=dtype), nn.SoftMax()]
    return nn.Sequential(layers, nn.NLL())


def regression():
    np.random.seed(0)
    return nn.Sequential([nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)], nn.Squared())


class Given:
    """A callback that adds a list of given numbers to the history."""

    def __init__(self, *values, name="given"):
        self.values, self.name = values, name

    def __call__(self, net, history):
        places = history.setdefault(self.name, [])
        places.append(self.values[len(places)])


class Weights:
    """A callback that keeps the first layer's weights of each epoch."""

    def __init__(self):
        self.seen = []

    def __call__(self, net, history):
        self.seen.append(net.modules[0].W.copy())


def refused(call, error=ValueError):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


# ---------------------------------------------------------------------------------- ModelCheckpoint


@pytest.mark.parametrize("data", ["arrays", "blocks", "share"])
def test_the_best_epoch_is_saved(backend, tmp_path, data):
    path, seen = tmp_path / "best.npz", Weights()
    keep = ModelCheckpoint(path, monitor="given")
    trained = net()
    given = Given(3.0, 1.0, np.nan, 2.0, 1.0)
    validation = {"arrays": None, "blocks": (X, LABELS), "share": 0.25}[data]
    where = ([(X, LABELS)] * 2,) if data == "blocks" else (X, LABELS)
    trained.fit(*where, epochs=5, callbacks=[given, seen, keep], validation=validation, seed=0)
    assert (keep.best, keep.best_epoch, keep.saved) == (1.0, 2, str(path))
    assert np.array_equal(nn.load(path).modules[0].W, seen.seen[1])
    assert os.listdir(tmp_path) == ["best.npz"]  # no temporary file is left


def test_a_training_goes_on_from_a_checkpoint_as_if_it_had_not_ended(backend, tmp_path):
    optimizer = nn.optimizers.Adam()
    whole, path = net(), tmp_path / "model-{epoch:02d}.npz"
    whole.fit(
        X,
        LABELS,
        epochs=4,
        shuffle=False,
        optimizer=optimizer,
        callbacks=ModelCheckpoint(path, "loss", best_only=False),
    )
    assert sorted(os.listdir(tmp_path)) == [f"model-0{i}.npz" for i in (1, 2, 3, 4)]
    again = nn.load(tmp_path / "model-02.npz")
    assert again.optimizer.t == optimizer.t / 2
    again.fit(X, LABELS, epochs=2, shuffle=False, optimizer=again.optimizer)
    assert all(np.array_equal(a.W, b.W) for a, b in zip(again[::2], whole[::2], strict=True))


def test_names_of_files(tmp_path):
    keep = ModelCheckpoint(tmp_path / "m-{epoch}-{loss:.2f}-{validation_accuracy:.1f}.npz", "loss")
    history = net().fit(X, LABELS, epochs=1, callbacks=keep, validation=(X, LABELS))
    assert keep.saved.endswith(
        f"m-1-{history['loss'][0]:.2f}-{history['validation_accuracy'][0]:.1f}.npz"
    )
    assert os.path.exists(keep.saved)
    plain = ModelCheckpoint(str(tmp_path / "all.npz"), best_only=False)  # without a monitor
    net().fit(X, LABELS, epochs=2, callbacks=plain)
    assert plain.saved == str(tmp_path / "all.npz") and plain.best_epoch == 0


def test_checkpoints_that_cannot_work_are_refused_before_the_first_epoch(tmp_path):
    class Own(nn.Tanh):
        def forward(self, Z):
            return super().forward(Z)

    foreign = net()
    foreign.modules[1] = Own()
    before = foreign.modules[0].W.copy()
    for trained, keep, error, message in (
        (foreign, ModelCheckpoint(tmp_path / "x.npz", "loss"), TypeError, "to be saved, got Own"),
        (net(), ModelCheckpoint(tmp_path / "x.npz"), ValueError, r"fit\(..., validation=\)"),
        (net(), ModelCheckpoint(tmp_path / "{acc}.npz", "loss"), ValueError, "epoch or loss in"),
        (net(), ModelCheckpoint(tmp_path / "no" / "x", "loss"), OSError, "does not exist; make it"),
    ):
        assert re.search(
            message, refused(lambda t=trained, k=keep: t.fit(X, LABELS, callbacks=k), error)
        )
    assert np.array_equal(foreign.modules[0].W, before) and not os.listdir(tmp_path)
    assert "path must be" in refused(lambda: ModelCheckpoint("a{", "loss"))
    assert "mode must be one of 'auto', 'min', 'max'" in refused(
        lambda: ModelCheckpoint("x", mode="up")
    )


# ---------------------------------------------------------------------------------- ReduceOnPlateau


RATES = {
    "number": 0.1,
    "schedule": nn.schedules.InverseTime(0.1, 0.01),
    "function": lambda t: 0.1 / (1 + 0.01 * (t - 1)),
}


@pytest.mark.parametrize("data", ["arrays", "blocks"])
@pytest.mark.parametrize("optimizer", [None, "adam"])
@pytest.mark.parametrize("rate", RATES)
def test_reduced_rates_are_those_of_a_training_in_parts(backend, data, optimizer, rate):
    """Training in parts with the rate given anew is the same as one training that reduces it."""
    rate = RATES[rate]
    slow = ReduceOnPlateau("given", factor=0.5, patience=2)
    given = Given(2.0, 3.0, 3.0, 1.0, 1.0, 1.0, 0.5)
    one = net()
    blocks = ([(X, LABELS)],) if data == "blocks" else (X, LABELS)
    settings = {"shuffle": False, "batch_size": 10}
    one.fit(*blocks, epochs=7, lrate=rate, optimizer=optimizer, callbacks=[given, slow], **settings)
    assert slow.reductions == [3, 6]

    two = net()
    rule = nn.optimizers.Adam() if optimizer else nn.optimizers.SGD()
    for first, count, factor in ((0, 3, 1), (3, 3, 0.5), (6, 1, 0.25)):

        def at(t, first=first, factor=factor):
            return factor * (rate(t + 6 * first) if callable(rate) else rate)

        two.fit(X, LABELS, epochs=count, lrate=at, optimizer=rule, **settings)
    for a, b in zip(one[::2], two[::2], strict=True):
        assert np.allclose(a.W, b.W, rtol=1e-12, atol=1e-14)


def test_the_default_rate_and_the_least_one(backend):
    given = Given(*[1.0] * 6)
    slow = ReduceOnPlateau("given", factor=0.1, patience=1, min_lrate=0.03)
    one, two = net(), net()
    one.fit(X, LABELS, epochs=6, shuffle=False, callbacks=[given, slow])
    two.fit(X, LABELS, epochs=2, shuffle=False)  # the first value is the best
    two.fit(X, LABELS, epochs=4, shuffle=False, lrate=0.03)
    assert np.allclose(one[0].W, two[0].W, rtol=1e-12)
    small = nn.schedules.reduced(0.01, 0.1, 0.03)
    assert small == 0.01  # a smaller rate stays
    reduced = nn.schedules.reduced(nn.schedules.Cosine(0.1, 10), 0.5, 0.02)
    base = nn.schedules.Cosine(0.1, 10).values(1, 10)
    assert np.array_equal(reduced.values(1, 10), np.maximum(0.5 * base, np.minimum(base, 0.02)))


def test_cooldown_and_a_second_training(backend):
    values = [1.0] * 8
    slow = ReduceOnPlateau("given", patience=1, cooldown=2)
    for _ in range(2):
        net().fit(X, LABELS, epochs=8, callbacks=[Given(*values), slow])
        assert slow.reductions == [2, 5, 8]
    assert "must be among the callbacks of fit" in refused(
        lambda: slow(net(), {"given": [1.0]}), RuntimeError
    )
    for wrong, message in (
        ({"factor": 1}, "factor must be above 0 and below 1"),
        ({"factor": 0.0}, "factor must be above 0"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"cooldown": -1}, "cooldown must be at least 0"),
        ({"min_lrate": np.inf}, "min_lrate must be finite"),
    ):
        assert message in refused(lambda wrong=wrong: ReduceOnPlateau("loss", **wrong))


def test_names_that_improve_upwards(backend):
    for name, mode, best in (
        ("my_score", "auto", 3),
        ("r2", "auto", 3),
        ("given", "auto", 1),
        ("given", "max", 3),
        ("r2", "min", 1),
    ):
        stop = EarlyStopping(name, patience=9, mode=mode)
        net().fit(X, LABELS, epochs=3, callbacks=[Given(1.0, 2.0, 3.0, name=name), stop])
        assert stop.best_epoch == best


# ------------------------------------------------------------------------------------------ Metrics


def wrong_ones(y_true, y_pred):
    return float((y_true != y_pred).sum())


@pytest.mark.parametrize("data", ["arrays", "blocks", "share"])
def test_metrics_of_validation_data(backend, data):
    seen = []

    def metric(y_true, y_pred):
        seen.append((y_true, y_pred))
        return wrong_ones(y_true, y_pred)

    validation = 0.25 if data == "share" else (X, LABELS)
    where = ([(X, LABELS)] * 2,) if data == "blocks" else (X, LABELS)
    trained = net()
    history = trained.fit(
        *where,
        epochs=3,
        validation=validation,
        callbacks=Metrics({"errors": metric, "nll": "loss"}),
    )
    assert history["validation_nll"] == history["validation_loss"]
    accuracy = [1 - errors / len(seen[0][0]) for errors in history["validation_errors"]]
    assert accuracy == pytest.approx(history["validation_accuracy"])
    for truth, answers in seen:
        assert truth.shape == answers.shape == (15 if data == "share" else 60,)
        assert truth.dtype == np.int64
    if data != "share":
        assert np.array_equal(seen[0][0], LABELS)


@pytest.mark.parametrize(
    "Y", [LABELS, np.eye(2)[:, LABELS], LABELS.tolist()], ids=["classes", "one-hot", "list"]
)
def test_metrics_of_data_of_their_own(backend, Y):
    watch = Metrics(["accuracy", wrong_ones], data=(X, Y))
    stop = EarlyStopping("accuracy", patience=2)
    history = net().fit(X, LABELS, epochs=3, callbacks=[watch, stop])
    assert list(history) == ["loss", "accuracy", "wrong_ones"]
    assert stop.best == max(history["accuracy"])
    assert [1 - n / 60 for n in history["wrong_ones"]] == pytest.approx(history["accuracy"])


def test_metrics_of_numbers(backend):
    shapes = []

    def largest(y_true, y_pred):
        shapes.append((y_true.shape, y_pred.shape))
        return np.abs(y_true - y_pred).max()

    trained = regression()
    trained.fit(
        X, X[0], epochs=2, validation=(X, X[0]), callbacks=Metrics([largest, "r2"], (X, X[0]))
    )
    trained.fit(X, X[:1], epochs=1, callbacks=Metrics(largest, (X, X[:1])))
    assert shapes == [((60,), (60,))] * 2 + [((1, 60), (1, 60))]


def test_progress_shows_metrics(backend, capsys):
    watch = Metrics("accuracy", (X, LABELS))
    history = net().fit(X, LABELS, epochs=2, callbacks=watch, progress="lines")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and f"accuracy {history['accuracy'][1]:.4f}" in lines[1]


def test_metrics_that_cannot_be_computed_are_refused_before_the_first_epoch(backend):
    trained = net()
    before = trained[0].W.copy()
    for watch, fit, error, message in (
        (Metrics("accuracy"), {}, ValueError, "write Metrics(metrics, data=(X, Y))"),
        (Metrics("r2", (X, LABELS)), {}, ValueError, "of NLL must be 'accuracy', got 'r2'"),
        (Metrics("loss"), {"validation": 0.2}, ValueError, "name it otherwise by prefix="),
        (Metrics("accuracy", (X.T, LABELS)), {}, ValueError, "X of data must have shape (4, N)"),
        (Metrics("accuracy", (X, LABELS + 1)), {}, ValueError, "Y of data must hold integers"),
    ):
        assert message in refused(
            lambda w=watch, f=fit: trained.fit(X, LABELS, callbacks=w, **f), error
        )
    late = [EarlyStopping("accuracy"), Metrics("accuracy", (X, LABELS))]
    assert "must come before this one" in refused(lambda: trained.fit(X, LABELS, callbacks=late))
    assert np.array_equal(trained[0].W, before) and trained.optimizer is None
    assert "the metric accuraccy must be one of" in refused(lambda: Metrics("accuraccy"))
    assert "function of (y_true, y_pred) or one of 'loss', 'accuracy', 'r2', got int" in refused(
        lambda: Metrics({"x": 3}), TypeError
    )
    assert "in a dict: {'name': metric}" in refused(lambda: Metrics([Given()]), TypeError)
    assert "data must be a pair (X, Y)" in refused(lambda: Metrics("loss", X), TypeError)
    assert "the metric none must be a real number, got NoneType" in refused(
        lambda: net().fit(X, LABELS, callbacks=Metrics({"none": lambda t, p: None}, (X, LABELS))),
        TypeError,
    )


def test_metrics_in_a_loop_of_the_users_own(backend):
    trained, history, watch = net(), {}, Metrics("accuracy", (X, LABELS))
    for _ in range(2):
        trained.partial_fit(X, LABELS)
        watch(trained, history)
    assert history["accuracy"][-1] == trained.score(X, LABELS)
