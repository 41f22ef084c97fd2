"""fit beyond its arithmetic: labels, validation, callbacks, early stopping, progress, partial_fit,
score, the learning curve."""

import re
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
from support import assert_close
from test_training import by_modules, data, make, same, weights

import nncore as nn
from nncore import registry
from nncore.callbacks import EarlyStopping

X, Y = data()
LABELS = Y.argmax(0)


def one_output(output, loss, seed=0):
    np.random.seed(seed)
    return nn.Sequential(
        [nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)] + ([output()] if output else []), loss()
    )


# ------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS.astype(np.int8), LABELS.astype(np.float32), LABELS.tolist()],
    ids=["int", "int8", "float32", "list"],
)
def test_classes_are_one_hot_columns(backend, labels):
    one, two = make(), make()
    assert one.fit(X, labels, epochs=2, batch_size=4, seed=0) == two.fit(
        X, Y, epochs=2, batch_size=4, seed=0
    )
    assert all(map(np.array_equal, weights(one), weights(two)))
    assert one.evaluate(X, labels) == two.evaluate(X, Y) and one.score(X, labels) == two.score(X, Y)
    assert one.log_likelihood(X, labels) == two.log_likelihood(X, Y)


@pytest.mark.parametrize(
    ("output", "loss", "labels"),
    [
        (nn.OutputSigmoid, nn.BinaryNLL, LABELS % 2),
        (None, nn.Hinge, 2 * (LABELS % 2) - 1),
        (None, nn.Squared, X[0] + 0.5),
    ],
)
def test_one_output_takes_one_label_a_sample(backend, output, loss, labels):
    one, two = one_output(output, loss), one_output(output, loss)
    one.fit(X, labels, epochs=2, seed=0)
    two.fit(X, labels[None, :], epochs=2, seed=0)
    assert all(map(np.array_equal, weights(one), weights(two)))


BAD = {
    "too large": (LABELS + 1, "Y must hold integers from 0 to 2, .* got 3 at"),
    "negative": (-LABELS, "got -[12] at"),
    "not whole": (LABELS + 0.5, r"integers from 0 to 2, .* got [012]\.5 at 0"),
    "NaN": (np.full(23, np.nan), "got nan at 0"),
    "too few": (LABELS[:-1], r"Y must have shape \(3, 23\), got \(3, 22\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_labels_that_do_not_fit(backend, case):
    net, (labels, message) = make(), BAD[case]
    before = weights(net)
    for call in (net.fit, net.partial_fit, net.evaluate):
        with pytest.raises(ValueError, match=message):
            call(X, labels)
    with pytest.raises(ValueError, match=re.sub("^Y ", "Y of validation ", message)):
        net.fit(X, Y, validation=(X, labels))
    assert all(map(np.array_equal, weights(net), before)) and net.optimizer is None


def test_labels_of_the_wrong_kind(backend):
    for call in (
        lambda: one_output(None, nn.Hinge).fit(X, LABELS % 2),
        lambda: one_output(nn.OutputSigmoid, nn.BinaryNLL).fit(X, LABELS),
    ):
        with pytest.raises(ValueError, match="Y must hold"):
            call()
    with pytest.raises(TypeError, match="Y must be a real array"):
        make().fit(X, LABELS.astype(str))
    with pytest.raises(ValueError, match=r"Y must have shape \(1, 23\), got \(3, 23\)"):
        one_output(None, nn.Squared).fit(X, Y)


# --------------------------------------------------------------------------------------- validation


def test_validation_data_are_evaluated_after_each_epoch(backend):
    net, twin = make(), make()
    other = data(seed=5)
    history = net.fit(X, Y, epochs=3, batch_size=8, seed=2, validation=other)
    assert list(history) == ["loss", "validation_loss", "validation_accuracy"] and all(
        len(v) == 3 for v in history.values()
    )
    values = []
    twin.fit(
        X,
        Y,
        epochs=3,
        batch_size=8,
        seed=2,
        callbacks=[lambda n, h: values.append(n.evaluate(*other))],
    )
    assert all(map(np.array_equal, weights(net), weights(twin)))
    assert values == list(
        zip(history["validation_loss"], history["validation_accuracy"], strict=True)
    )


@pytest.mark.parametrize("chain", [make, lambda: by_modules(make())], ids=["program", "modules"])
def test_a_fraction_is_taken_out_by_the_seed(backend, chain):
    net, twin = chain(), chain()
    history = net.fit(X, LABELS, epochs=2, batch_size=4, seed=3, validation=0.3)
    rng = np.random.default_rng(3)
    order = rng.permutation(23)
    held, rest = order[:7], np.sort(order[7:])
    losses = []
    for _ in range(2):
        epoch = rng.permutation(rest)
        losses.append(twin.partial_fit(X[:, epoch], Y[:, epoch], batch_size=4))
    same(weights(net), weights(twin))
    assert history["loss"] == pytest.approx(losses, rel=1e-12)
    assert history["validation_loss"][-1] == pytest.approx(
        twin.evaluate(X[:, held], Y[:, held])[0], rel=1e-12
    )


@pytest.mark.parametrize("layout", ["F", "C"])
@pytest.mark.parametrize("normalises", [False, True])
def test_held_out_samples_are_evaluated_as_a_copy_of_them_is(backend, layout, normalises):
    rng = np.random.default_rng(0)
    many = np.asarray(rng.standard_normal((5, 4000)), order=layout)  # more than one slice of 1024
    labels = rng.integers(0, 3, 4000)
    pairs = []
    for whole in (False, True):
        np.random.seed(0)
        first = [nn.BatchNorm(5, statistics="batch")] if normalises else []
        net = nn.Sequential([*first, nn.Linear(5, 3), nn.SoftMax()], nn.NLL())
        if whole:  # a method of the user's own is given arrays
            evaluate = net.evaluate
            net.evaluate = lambda X, Y, evaluate=evaluate: evaluate(X.copy(), Y.copy())
        history = net.fit(many, labels, epochs=2, validation=0.6, seed=4)
        pairs.append((history, weights(net)))
    assert pairs[0][0] == pairs[1][0]
    assert all(map(np.array_equal, pairs[0][1], pairs[1][1]))


def test_held_out_samples_are_not_copied_at_once():
    many = np.zeros((40, 60_000), np.float32, order="F")
    net = nn.Sequential([nn.Linear(40, 1, dtype=np.float32)], nn.Squared())
    net.fit(many[:, :100], many[0, :100])
    tracemalloc.start()
    net.fit(many, many[0], validation=0.9, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < many.nbytes / 2


@pytest.mark.parametrize(
    ("validation", "error", "message"),
    [
        (0.0, ValueError, "leaves samples to train and to validate on, got 0.0 of 23"),
        (0.99, ValueError, "leaves samples"),
        (-1, ValueError, "leaves samples"),
        ("some", TypeError, "validation must be a real number"),
        ((X,), ValueError, "a pair .X, Y."),
        ((X[:4], Y), ValueError, "X of validation must have shape"),
        ((X, Y[:2]), ValueError, "Y of validation must have shape"),
    ],
)
def test_validation_is_refused(backend, validation, error, message):
    net = make()
    before = weights(net)
    with pytest.raises(error, match=message):
        net.fit(X, Y, validation=validation)
    assert all(map(np.array_equal, weights(net), before))


# ---------------------------------------------------------------------------------------- callbacks


def test_callbacks_see_each_epoch_and_end_the_training(backend):
    seen, net = [], make()

    def look(n, history):
        assert n is net
        seen.append(len(history["loss"]))
        with pytest.raises(RuntimeError, match="two calls at once"):
            n.fit(X, Y)

    history = net.fit(
        X, Y, epochs=10, callbacks=[lambda n, h: len(h["loss"]) == 4, look, lambda n, h: 1]
    )
    assert seen == [1, 2, 3, 4] and len(history["loss"]) == 4
    assert len(net.fit(X, Y, epochs=3, callbacks=lambda n, h: np.True_)["loss"]) == 1
    with pytest.raises(TypeError, match="callbacks must hold functions of .net, history., got str"):
        net.fit(X, Y, callbacks=["stop"])


def test_a_callback_that_fails_leaves_whole_epochs(backend):
    net, twin = make(), make()

    def fail(n, history):
        raise KeyError("no more")

    with pytest.raises(KeyError):
        net.fit(X, Y, epochs=5, seed=0, callbacks=[fail])
    twin.fit(X, Y, epochs=1, seed=0)
    assert all(map(np.array_equal, weights(net), weights(twin)))
    net.fit(X, Y)


class Scripted:
    """Put the losses of a script in place of the real ones, and keep the weights of every epoch."""

    def __init__(self, name, values):
        self.name, self.values, self.kept = name, values, []

    def __call__(self, net, history):
        self.kept.append(weights(net))
        history[self.name][-1] = self.values[len(history[self.name]) - 1]


@pytest.mark.parametrize(
    ("name", "values", "delta", "epochs", "best"),
    [
        ("validation_loss", [5, 4, 3, 3.5, 3.2, 3.1, 1], 0, 6, 3),
        ("validation_loss", [5, 4, 3.9, 3.8, 3.7, 1], 0.5, 5, 2),
        ("validation_accuracy", [0.1, 0.5, 0.4, 0.5, 0.5, 0.9], 0, 5, 2),
        ("loss", [np.nan, np.nan, 2, np.nan, 3, 2.5, 1], 0, 6, 3),
        ("loss", [3, 2, 1], 0, 3, 3),
        ("loss", [1, 2, 3], 0, 3, 1),
    ],
)
def test_early_stopping_restores_the_best_weights(backend, name, values, delta, epochs, best):
    stop, script = EarlyStopping(name, patience=3, min_delta=delta), Scripted(name, values)
    for _ in range(2):  # the object serves again
        net = make()
        kept = [m.W for m in net.modules if isinstance(m, nn.Linear)]
        script.kept = []
        history = net.fit(
            X,
            Y,
            epochs=len(values),
            batch_size=4,
            seed=0,
            validation=(X, Y),
            optimizer="adam",
            callbacks=[script, stop],
        )
        assert len(history["loss"]) == epochs and stop.best_epoch == best
        assert all(map(np.array_equal, weights(net), script.kept[best - 1]))
        assert all(m.W is W for m, W in zip(net.modules[::2], kept, strict=True))
    last = EarlyStopping(name, patience=3, min_delta=delta, restore_best=False)
    net, script.kept = make(), []
    net.fit(
        X, Y, epochs=len(values), batch_size=4, seed=0, validation=(X, Y), callbacks=[script, last]
    )
    assert all(map(np.array_equal, weights(net), script.kept[-1]))


def test_early_stopping_refuses():
    for arguments in (
        {"patience": 0},
        {"patience": 1.5},
        {"min_delta": -1},
        {"min_delta": np.inf},
        {"monitor": 3},
    ):
        with pytest.raises((TypeError, ValueError), match="must be"):
            EarlyStopping(**arguments)
    with pytest.raises(
        ValueError, match="monitor must be one of 'loss' in this training, got 'validation_loss'"
    ):
        make().fit(X, Y, callbacks=EarlyStopping())


# ------------------------------------------------------------------ progress and the learning curve


def test_progress_is_silent_unless_asked_and_shows_lines_without_tqdm(backend, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    net = make()
    net.fit(X, Y, epochs=2)
    net.fit(X, Y, epochs=2, progress=False)
    assert capsys.readouterr() == ("", "")
    history = net.fit(X, Y, epochs=10, validation=(X, Y), progress=True)
    lines = capsys.readouterr().out.splitlines()
    first = {name: f"{values[0]:.4f}" for name, values in history.items()}
    assert len(lines) == 10 and lines[0] == (
        f"epoch  1/10  loss {first['loss']}  validation loss {first['validation_loss']}  "
        f"validation accuracy {first['validation_accuracy']}"
    )
    net.fit(X, Y, epochs=2, progress="lines")
    assert capsys.readouterr().out.startswith("epoch 1/2  loss ")
    with pytest.raises(ImportError, match=r"progress='bar' needs tqdm; .* progress='lines'"):
        net.fit(X, Y, progress="bar")
    with pytest.raises(ValueError, match="progress must be one of 'bar', 'lines', got 'line'; did"):
        net.fit(X, Y, progress="line")
    with pytest.raises(TypeError, match="progress must be True, False, None, .* got 2"):
        net.fit(X, Y, progress=2)


def test_progress_by_tqdm(capsys):
    pytest.importorskip("tqdm")
    make().fit(X, Y, epochs=3, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "3/3" in err and "loss=" in err


def test_the_learning_curve(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    history = make().fit(X, Y, epochs=4, validation=(X, Y))
    ax = nn.plot_history(history)
    drawn = {
        line.get_label(): line.get_ydata().tolist() for a in ax.figure.axes for line in a.lines
    }
    assert drawn == {name.replace("_", " "): values for name, values in history.items()}
    ax.figure.savefig(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert nn.plot_history({"loss": [1.0]}, ax=ax) is ax
    assert "matplotlib.pyplot" not in sys.modules or matplotlib.get_backend().lower() == "agg"


def test_the_learning_curve_without_matplotlib_and_without_epochs(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install nncore\[plot\]"):
        nn.plot_history({"loss": [1.0]})
    with pytest.raises(ValueError, match="at least one epoch"):
        nn.plot_history({"loss": []})


# ---------------------------------------------------------------------------- partial_fit and score


@pytest.mark.parametrize("chain", [make, lambda: by_modules(make())], ids=["program", "modules"])
def test_partial_fit_goes_on_with_the_schedule(backend, chain):
    schedule, asked = nn.schedules.InverseTime(0.3, 0.2), []
    net, twin = chain(), chain()

    def rate(t):
        asked.append(t)
        return schedule(t)

    for j in range(0, 20, 4):
        net.partial_fit(X[:, j : j + 4], LABELS[j : j + 4], batch_size=2, lrate=rate)
    twin.fit(X[:, :20], Y[:, :20], batch_size=2, shuffle=False, lrate=schedule)
    same(weights(net), weights(twin))
    assert asked == list(range(1, 11)) and net.optimizer.t == 10


@pytest.mark.parametrize("optimizer", [None, "adam"])
@pytest.mark.parametrize("call", ["partial_fit", "fit"])
def test_calls_see_every_change_between_them(call, optimizer):
    """One sample at a time, with weights, types, modules, loss, optimizer and arrays replaced in
    between, as by modules."""
    nets = [make((5, 5, 5)), by_modules(make((5, 5, 5)))]
    results = []
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(5, 40)), np.eye(5)[:, rng.integers(5, size=40)]
    for net in nets:
        values = []
        for j in range(40):
            if j == 5:
                net.modules[0].W = np.asfortranarray(net.modules[0].W) * 0.5
            if j == 10:
                net.modules[2].W[...] += 0.25
            if j == 15:
                net.modules[2] = make((5, 5, 5), seed=4).modules[2]
            if j == 20 and optimizer:
                net.optimizer.beta1 = 0.5
            if j == 22 and optimizer:
                net.optimizer.state[0, "W"] = tuple(a + 0.1 for a in net.optimizer.state[0, "W"])
            if j == 25:
                net.loss = nn.NLL()
            if j == 28:
                net.modules[0].forward = lambda A, m=net.modules[0]: 2 * type(m).forward(m, A)
            if j == 30:
                del net.modules[0].forward
            value = getattr(net, call)(
                xs[:, j : j + 1],
                ys[:, j : j + 1],
                lrate=0.05,
                optimizer=optimizer,
                l2=0.1 if j > 32 else 0.0,
            )
            values.append(value if call == "partial_fit" else value["loss"][0])
        results.append((np.array(values), weights(net)))
    same([results[0][0]], [results[1][0]], 1e-10)
    same(results[0][1], results[1][1], 1e-10)


def test_fit_leaves_a_small_program_for_the_next_call_and_no_large_one():
    from nncore.training import fit

    net = make()
    net.fit(X, Y)
    program = fit._engine_cache.get(net).program
    before = weights(net)
    net.fit(X, Y, lrate=0.5)
    assert fit._engine_cache.get(net).program is program and not np.array_equal(
        weights(net)[0], before[0]
    )
    twins = [make(), by_modules(make())]
    for twin in twins:  # nothing of a call's rate, order, batch and data is left in the program
        for seed, batch in enumerate((1, 4, 23, 7)):
            twin.fit(X[:, seed:], Y[:, seed:], 2, batch, lrate=0.1 * seed, seed=seed)
    same(*map(weights, twins))
    taken = np.asfortranarray(X)
    net.fit(taken, Y)
    reference = weakref.ref(taken)
    del taken
    assert reference() is None
    bad, asked, before = X.copy(), [], weights(net)
    bad[0, -1] = np.nan
    with pytest.raises(
        ValueError, match="X must be finite"
    ):  # a rate function might look at the weights in between
        net.fit(bad, Y, shuffle=False, batch_size=1, lrate=lambda t: asked.append(t) or 0.1)
    assert not asked and all(map(np.array_equal, weights(net), before))
    large = make((5, 1 << 13, 3))
    large.fit(X, Y)
    assert fit._engine_cache.get(large) is None
    large.partial_fit(X, Y)
    assert fit._engine_cache.get(large).program.nbytes > fit.FIT_KEPT_BYTES


def test_partial_fit_between_calls_refuses_what_has_become_wrong():
    net = make()
    for _ in range(2):
        net.partial_fit(X[:, :1], Y[:, :1])
    net.modules[0].W.flags.writeable = False
    with pytest.raises(ValueError, match="W must be writeable"):
        net.partial_fit(X[:, :1], Y[:, :1])
    net.modules[0].W.flags.writeable = True
    with pytest.raises(ValueError, match="X must be finite"):
        net.partial_fit(X[:, :1] * np.nan, Y[:, :1])
    with pytest.raises(ValueError, match="X must have shape"):
        net.partial_fit(X[:4, :1], Y[:, :1])
    before = weights(net)
    with pytest.raises(FloatingPointError, match="diverged at step 3"):
        net.partial_fit(X[:, [0] * 9], Y[:, [0] * 9], lrate=1e308, reduction="sum")
    assert all(map(np.array_equal, weights(net), before))
    net.modules[0].W = np.ones((4, 7))
    with pytest.raises(ValueError, match="X must have shape"):
        net.partial_fit(X[:, :1], Y[:, :1])


def test_partial_fit_on_data_that_are_part_of_the_weights():
    """Such data change with every update, so these go module by module, also where a program was
    kept."""
    results = []
    for net in (make(), by_modules(make())):
        net.partial_fit(X, Y)
        W = net.modules[0].W
        net.partial_fit(W[:, :6], Y[:, :6], batch_size=1, lrate=0.5)
        net.partial_fit(X[:, :7], Y[:, :7])
        np.abs(net.modules[2].W, out=net.modules[2].W)
        labels = net.modules[2].W[:4].T
        net.partial_fit(X[:, :4], labels, batch_size=1, lrate=0.5)
        results.append(weights(net))
    same(*results)


def test_score(backend):
    net = make()
    assert net.score(X, Y) == net.evaluate(X, Y)[1] == np.mean(net.predict(X) == LABELS)
    np.random.seed(0)
    net, targets = (
        nn.Sequential([nn.Linear(5, 2)], nn.Squared()),
        np.stack([X[0] + 0.1 * X[1], np.full(23, 2.0)]),
    )
    P = net.predict(X)
    r2 = 1 - ((targets[0] - P[0]) ** 2).sum() / ((targets[0] - targets[0].mean()) ** 2).sum()
    assert net.score(X, targets) == pytest.approx(r2 / 2, rel=1e-12)
    net.modules[0].W[...], net.modules[0].W0[...] = (
        [[1, 0], [0.1, 0], [0, 0], [0, 0], [0, 0]],
        [[0], [2]],
    )
    assert net.score(X, targets) == pytest.approx(1, rel=1e-12)
    sklearn = pytest.importorskip("sklearn.metrics")
    assert net.score(X, targets + X[:2]) == pytest.approx(
        sklearn.r2_score((targets + X[:2]).T, net.predict(X).T), rel=1e-12
    )


def test_the_learning_curve_goes_down(backend):
    for name in registry.OPTIMIZERS:
        history = make().fit(X, Y, epochs=60, batch_size=8, optimizer=name, lrate=0.02, seed=0)[
            "loss"
        ]
        assert len(history) == 60 and history[-1] < 0.9 * history[0]


@pytest.mark.parametrize("name, place", [("X", 0), ("Y", 1)])
def test_validation_data_that_are_not_finite_are_refused(backend, name, place):
    net = make()
    pair, before = [X.copy(), Y.copy()], weights(net)
    pair[place][0, 3] = np.nan
    with pytest.raises(
        ValueError, match=f"{name} of validation must be finite, got NaN or infinity in column 3"
    ):
        net.fit(X, Y, validation=tuple(pair))
    same(weights(net), before, 0)


@pytest.mark.parametrize("train", ["fit", "partial_fit"])
def test_negative_weights_of_classes_are_refused(backend, train):
    net = make()
    with pytest.raises(ValueError, match="not negative, for NLL, got -1"):
        getattr(net, train)(X, Y - 1)


@pytest.mark.parametrize("train", ["fit", "partial_fit", "sgd", "mini_gd"])
def test_labels_of_independent_classes_lie_between_0_and_1(backend, train):
    net, labels = one_output(nn.OutputSigmoid, nn.BinaryNLL), 2.0 * (X[:1] > 0) - 1
    before = weights(net)
    for wrong, given in ((labels, "-1"), (labels + 2, "3")):
        with pytest.raises(
            ValueError, match=f"Y must lie between 0 and 1 for BinaryNLL, got {given}"
        ):
            getattr(net, train)(X, wrong, *((3, 0.1) if train in ("sgd", "mini_gd") else ()))
    same(weights(net), before, 0)


@pytest.mark.parametrize("train", ["fit", "partial_fit", "sgd", "mini_gd"])
def test_a_module_without_a_step_is_refused_before_anything_changes(backend, train):
    class Through:
        def forward(self, A):
            return A

        def backward(self, dLdA):
            return dLdA

    net = make()
    net.modules.insert(1, Through())
    before, state = weights(net), np.random.get_state()[2]
    with pytest.raises(
        TypeError,
        match=(
            r"modules\[1\] must have sgd_step\(lrate\) or step\(lrate\), .* got Through "
            r"with neither"
        ),
    ):
        getattr(net, train)(
            X, Y, *((3, 0.1) if train == "sgd" else (3, 0.1, None, 5) if train == "mini_gd" else ())
        )
    same(weights(net), before, 0)
    assert train == "mini_gd" or np.random.get_state()[2] == state


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.Sigmoid])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("batch", [1, 8, 70])
def test_small_networks_refuse_data_that_are_not_finite(activation, bad, batch, isa, dtype):
    """In the last sample and feature, where infinity may leave tanh 1 and the loss finite; nothing
    has changed then."""
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        [nn.Linear(7, 5, dtype=dtype), activation(), nn.Linear(5, 3, dtype=dtype), nn.SoftMax()],
        nn.NLL(),
    )
    before = weights(net)
    for source, name in ((dtype, "X"), (np.float64, "X"), (dtype, "Y"), (np.float64, "Y")):
        data_ = {
            "X": np.asfortranarray(rng.normal(size=(7, 140)).astype(source)),
            "Y": np.eye(3, dtype=source)[:, np.arange(140) % 3],
        }
        with np.errstate(over="ignore"):
            data_[name][-1, -1] = bad
            there, here = (
                np.isfinite(data_[name]).all(),
                np.isfinite(data_[name].astype(dtype)).all(),
            )
        if here or name == "Y" and bad < 0:
            continue
        wanted = (
            "a number beyond its range"
            if there
            else f"{name} must be finite, got NaN or infinity in column 139"
        )
        with pytest.raises(ValueError, match=wanted):
            net.fit(data_["X"], data_["Y"], shuffle=False, batch_size=batch, lrate=0.1)
        same(weights(net), before)


def test_lanes_beyond_a_layer_of_a_small_network_do_not_train(isa, dtype):
    """Units that are off do not move, however large the inputs. A sigmoid of the 0 in a lane beyond
    them is on; its weights would grow beyond the type."""
    X, y = np.full((1, 32), np.finfo(dtype).max / 10, dtype), np.arange(32) // 8 % 2

    def fitted(backend):
        with nn.use_backend(backend):
            np.random.seed(0)
            modules = [nn.Linear(1, 3, dtype=dtype), nn.Sigmoid(), nn.Linear(3, 2, dtype=dtype)]
            net = nn.Sequential([*modules, nn.SoftMax()], nn.NLL())
            modules[0].W[:] = -1
            losses = net.fit(X, y, 3, 8, lrate=20, shuffle=False)["loss"]
        return [modules[0].W, modules[2].W, modules[2].W0, np.array(losses, dtype)]

    for compiled, reference in zip(fitted("compiled"), fitted("numpy"), strict=True):
        assert_close(compiled, reference)


@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.Sigmoid])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_infinity_is_refused_before_an_activation_that_bounds_it(
    backend, optimizer, activation, batch, dtype
):
    """The first module makes a number of it, so that no loss or weight would show it."""
    np.random.seed(0)
    net = nn.Sequential([activation(), nn.Linear(5, 2, dtype=dtype)], nn.Squared())
    before = [net.modules[1].W.copy(), net.modules[1].W0.copy()]
    X, Y = np.ones((5, 8), dtype, order="F"), np.ones((2, 8), dtype, order="F")
    X[3, 6] = -np.inf
    message = "X must be finite, got NaN or infinity in column"
    for call in (net.fit, net.partial_fit):
        with pytest.raises(ValueError, match=message):
            call(X, Y, batch_size=batch, optimizer=optimizer)
    with net.learner() as learn, pytest.raises(ValueError, match=message):
        learn(X[:, 6:7], Y[:, 6:7])
    assert all(map(np.array_equal, before, (net.modules[1].W, net.modules[1].W0)))
