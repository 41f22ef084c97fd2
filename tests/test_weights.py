"""Weights of samples and classes."""

import numpy as np
import pytest
from objectives import LOSSES, close, data, linears, network, sample_weights

import nncore as nn


def test_weights_of_one_change_no_bit():
    X, given, _ = data("wide", nn.NLL())
    results = []
    for extra in ({}, {"sample_weight": np.ones(45)}, {"class_weight": {0: 1.0}}):
        net = network("wide", nn.NLL())
        results.append((net.fit(X, given, epochs=2, seed=0, **extra), net.modules[0].W))
    for history, W in results[1:]:
        assert history == results[0][0]
        assert (W == results[0][1]).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_follow_their_samples(seed, backend):
    """Shuffled, held out, in windows: as if a sample occurred as often as its weight says."""
    X, given, _ = data("narrow", nn.NLL(), N=60)
    w = np.random.default_rng(seed).integers(0, 3, 60)
    for extra in ({}, {"shuffle_window": 16}):
        net, twin = network("narrow", nn.NLL()), network("narrow", nn.NLL())
        rng = np.random.default_rng(7)
        net.fit(X, given, sample_weight=w, batch_size=60, epochs=3, seed=rng, **extra)
        many = np.repeat(np.arange(60), w)
        for _ in range(3):
            twin.partial_fit(
                X[:, many], given[many], batch_size=len(many), lrate=0.1 / 60, reduction="sum"
            )
        for a, b in zip(linears(net), linears(twin), strict=True):
            close(a.W, b.W, 1e-12)


def test_evaluate_takes_lists():
    X, given, _ = data("narrow", nn.NLL())
    net, w = network("narrow", nn.NLL()), np.arange(45.0)
    assert net.evaluate(X.tolist(), given.tolist(), w.tolist()) == net.evaluate(X, given, w)


def test_held_out_samples_keep_their_weights():
    X, given, _ = data("narrow", nn.NLL(), N=80)
    w = sample_weights(80)
    net = network("narrow", nn.NLL())
    history = net.fit(X, given, validation=0.25, sample_weight=w, epochs=1, lrate=0.0, seed=5)
    held = np.random.default_rng(5).permutation(80)[:20]
    rest = np.setdiff1d(np.arange(80), held)
    loss, accuracy = net.evaluate(X[:, held], given[held], sample_weight=w[held])
    assert history["validation_loss"][0] == pytest.approx(loss, rel=1e-12)
    assert history["validation_accuracy"][0] == pytest.approx(accuracy, rel=1e-12)
    P = net.predict_proba(X[:, rest])
    mean = (w[rest] * net.loss.per_sample(P, np.eye(3)[:, given[rest]])).mean()
    assert history["loss"][0] == pytest.approx(mean, rel=1e-12)


def test_memory_mapped_data_are_read_with_their_weights(dtype):
    from nncore import _core

    X, given, _ = data("vectors", nn.NLL(), dtype, N=500)
    X, w = np.asfortranarray(X.T).T, sample_weights(500)
    whole, parts = network("vectors", nn.NLL(), dtype), network("vectors", nn.NLL(), dtype)
    whole.fit(X, given, epochs=2, seed=0, sample_weight=w)
    _core.set_copies(1000, 9000)
    try:
        parts.fit(X, given, epochs=2, seed=0, sample_weight=w)
    finally:
        _core.set_copies()
    for a, b in zip(linears(whole), linears(parts), strict=True):
        assert (a.W == b.W).all()


def test_sparse_data_are_weighted_and_clipped(dtype):
    sparse = pytest.importorskip("scipy.sparse")
    X, given, _ = data("wide inputs", nn.NLL(), dtype)
    X = X * (np.random.default_rng(0).random(X.shape) < 0.1)
    w = sample_weights(45)
    for extra in ({"sample_weight": w}, {"clip_norm": 0.2}, {"clip_value": 0.01}):
        for batch in (1, 16):
            nets = [network("wide inputs", nn.NLL(0.1), dtype) for _ in range(2)]
            for net, x in zip(nets, (X, sparse.csr_matrix(X)), strict=True):
                net.fit(x, given, batch_size=batch, seed=0, optimizer="adam", **extra)
                net.evaluate(x, given, sample_weight=w)
            for a, b in zip(*map(linears, nets), strict=True):
                close(a.W, b.W, 1e-9 if dtype == np.float64 else 1e-3)


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads_gives_the_same_bits(threads, dtype):
    rng = np.random.default_rng(0)
    X, given = rng.normal(size=(200, 512)).astype(dtype), rng.integers(10, size=512)
    w, results = sample_weights(512), []
    before = nn.get_num_threads()
    for count in (1, threads):
        nn.set_num_threads(count)
        np.random.seed(0)
        net = nn.Sequential(
            [
                nn.Linear(200, 150, dtype=dtype),
                nn.ReLU(),
                nn.Linear(150, 90, dtype=dtype, bias=False),
                nn.Tanh(),
                nn.Linear(90, 10, dtype=dtype),
                nn.SoftMax(),
            ],
            nn.NLL(0.1),
        )
        try:
            net.fit(
                X,
                given,
                epochs=2,
                batch_size=256,
                optimizer="adam",
                l2=0.01,
                clip_norm=0.5,
                sample_weight=w,
                seed=0,
            )
        finally:
            nn.set_num_threads(before)
        results.append([a for m in linears(net) for a in (m.W, m.W0)])
    assert all((a == b).all() for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    "loss, labels, weights, wanted",
    [
        ("nll", [0, 0, 0, 2], "balanced", [4 / 6, 4 / 6, 4 / 6, 2]),  # class 1 does not occur
        ("nll", [0, 1, 2, 2], {2: 3.0}, [1, 1, 3, 3]),
        ("nll", [0, 1, 2, 2], [0.5, 0, 2], [0.5, 0, 2, 2]),
        ("binary", [0, 1, 1, 1], "balanced", [2, 4 / 6, 4 / 6, 4 / 6]),
        ("binary", [0, 1, 1, 1], {1: 5}, [1, 5, 5, 5]),
        ("hinge", [-1, 1, 1, 1], {-1: 5}, [5, 1, 1, 1]),
        ("hinge", [-1, 1, -1, -1], [2, 3], [2, 3, 2, 2]),
    ],
)
def test_weights_of_classes_are_weights_of_samples(loss, labels, weights, wanted, backend):
    object_ = LOSSES[loss][0]
    size = "narrow" if loss == "nll" else "one output"
    X, labels = data(size, object_, N=4)[0], np.array(labels)
    one_hot = np.eye(3)[:, labels] if loss == "nll" else labels[None]
    for given in (labels, one_hot):
        net, twin = network(size, object_), network(size, object_)
        net.fit(X, given, batch_size=3, class_weight=weights, seed=0)
        twin.fit(X, given, batch_size=3, sample_weight=wanted, seed=0)
        close(net.modules[0].W, twin.modules[0].W, 1e-14)
        both = network(size, object_)
        both.fit(X, given, batch_size=3, class_weight=weights, sample_weight=[1, 0, 2, 1], seed=0)
        twin = network(size, object_)
        twin.fit(X, given, batch_size=3, sample_weight=wanted * np.array([1, 0, 2, 1]), seed=0)
        close(both.modules[0].W, twin.modules[0].W, 1e-14)


def test_balanced_is_that_of_scikit_learn():
    utils = pytest.importorskip("sklearn.utils.class_weight")
    from nncore.training import weights

    labels = np.random.default_rng(0).choice([0, 2], 50, p=[0.9, 0.1])
    net = network("narrow", nn.NLL())
    found = weights.of_samples(net, np.eye(3)[:, labels], None, "balanced")
    close(found, utils.compute_sample_weight("balanced", labels), 1e-15)


@pytest.mark.parametrize("api", [nn, nn.reference], ids=["nncore", "reference"])
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("loss", "classes", "weights", "wanted"),
    [
        ("nll", ["dog", "cat", "eel"], {"cat": 3.0, "eel": 0.5}, [1, 3, 0.5]),
        ("nll", [7, -3, 1], {1: 3.0, np.int64(7): 2.0}, [2, 1, 3]),  # 1 is a label, not a number
        ("nll", [7, -3, 1], [2.0, 1.0, 3.0], [2, 1, 3]),
        ("binary", ["no", "yes"], {np.str_("yes"): 4}, [1, 4]),
        ("binary", [True, False], {True: 4}, [4, 1]),
        ("hinge", ["no", "yes"], {"no": 4}, [4, 1]),
    ],
)
def test_classes_are_weighted_by_their_labels(api, call, loss, classes, weights, wanted):
    object_ = getattr(api, type(LOSSES[loss][0]).__name__)()
    size = "narrow" if loss == "nll" else "one output"
    X = data(size, LOSSES[loss][0], N=12)[0]
    numbers = np.arange(12) % len(classes)
    net, twin = (network(size, object_, lib=api) for _ in range(2))
    net.classes = twin.classes = classes
    given = np.array(classes)[numbers]
    getattr(net, call)(X, given, batch_size=5, class_weight=weights)
    getattr(twin, call)(X, given, batch_size=5, sample_weight=np.array(wanted)[numbers])
    if call == "partial_fit":
        assert (net.modules[0].W == twin.modules[0].W).all()
    before = net.modules[0].W.copy()
    with pytest.raises(ValueError, match=r"network's classes, .*, as keys, got 'bird'$"):
        getattr(net, call)(X, given, class_weight={"bird": 2.0})
    with pytest.raises(ValueError, match="at least 0, got -1.0 for "):
        getattr(net, call)(X, given, class_weight={classes[0]: -1.0})
    assert (net.modules[0].W == before).all()


def test_a_label_is_no_key_without_classes():
    X, given, _ = data("narrow", nn.NLL())
    with pytest.raises(ValueError, match=r"0 to 2, as keys, got 'cat'; .* net.classes = np.unique"):
        network("narrow", nn.NLL()).fit(X, given, class_weight={"cat": 2.0})
    for weights in ({"cat": 2.0}, "balanced"):
        with pytest.raises(TypeError, match=r"one weight per class in order, got .*net.fit\("):
            nn.NLL(class_weight=weights)
    with pytest.raises(TypeError, match="no argument 'weight'; did you mean class_weight"):
        nn.NLL(weight=[1.0, 2.0])
    with pytest.raises(TypeError, match="no argument 'smoothing'; did you mean label_smoothing"):
        nn.NLL(smoothing=0.1)
    with pytest.raises(TypeError, match="no argument 'threshold'; did you mean delta"):
        nn.Huber(threshold=2.0)


@pytest.mark.parametrize("form", ["labels", "one-hot", "sparse", "list"])
def test_evaluate_weights_classes(form, backend, dtype):
    sparse = pytest.importorskip("scipy.sparse")
    metrics = pytest.importorskip("sklearn.metrics")
    X, given, Y = data("narrow", nn.NLL(), N=60)
    net = network("narrow", nn.NLL(), dtype)
    w = sample_weights(60)
    by_class = np.array([0.5, 3.0, 1.0])[given]
    data_ = {
        "labels": (X, given),
        "one-hot": (X, np.eye(3)[:, given]),
        "sparse": (sparse.csr_array(X), given),
        "list": (X.tolist(), given.tolist()),
    }[form]
    weights = {0: 0.5, 1: 3.0}
    assert net.evaluate(*data_, class_weight=weights) == net.evaluate(X, given, by_class)
    assert net.evaluate(*data_, w, weights) == net.evaluate(X, given, by_class * w)
    balanced = net.evaluate(*data_, class_weight="balanced")[1]
    wanted = metrics.balanced_accuracy_score(given, net.predict(X))
    assert balanced == pytest.approx(wanted, abs=1e-12)
    with pytest.raises(ValueError, match="the weight must not be 0 for every sample"):
        net.evaluate(X, given, class_weight={0: 0, 1: 0, 2: 0})
    with pytest.raises(ValueError, match="Y must have shape"):
        net.evaluate(X, given[:3], class_weight="balanced")
    with pytest.raises(TypeError, match="class_weight must be None for the loss Squared"):
        network("narrow", nn.Squared()).evaluate(X, Y, class_weight="balanced")


def test_blocks_take_weights():
    X, given, _ = data("narrow", nn.NLL(), N=60)
    w = sample_weights(60)
    net, twin = network("narrow", nn.NLL()), network("narrow", nn.NLL())
    blocks = [(X[:, :30], given[:30], w[:30]), (X[:, 30:], given[30:])]
    extra = {"class_weight": {1: 2.0}, "clip_norm": 0.4, "optimizer": "adam"}
    history = net.fit(blocks, shuffle=False, batch_size=8, **extra)
    first = twin.partial_fit(X[:, :30], given[:30], 8, sample_weight=w[:30], **extra)
    second = twin.partial_fit(X[:, 30:], given[30:], 8, **extra)
    assert history["loss"][0] == pytest.approx((first + second) / 2)
    assert (net.modules[0].W == twin.modules[0].W).all()


def test_a_zero_weight_leaves_a_sample_out_and_all_zeros_leave_the_weights():
    X, given, _ = data("vectors", nn.NLL(), N=20)
    w = np.ones(20)
    w[3] = 0
    X[:, 3] = 1e6
    net, twin = network("vectors", nn.NLL()), network("vectors", nn.NLL())
    net.partial_fit(X, given, 20, lrate=0.1, sample_weight=w)
    kept = w > 0
    twin.partial_fit(X[:, kept], given[kept], 19, lrate=0.1 * 19 / 20)
    close(net.modules[0].W, twin.modules[0].W, 1e-12)
    before = net.modules[0].W.copy()
    assert net.partial_fit(X, given, 7, lrate=0.1, sample_weight=np.zeros(20)) == 0
    assert (net.modules[0].W == before).all()


def test_a_loss_of_the_users_own_is_weighted():
    class Own:
        def forward(self, Ypred, Y):
            self.d = Ypred - Y
            return float((self.d**2).sum())

        def per_sample(self, Ypred, Y):
            return ((Ypred - Y) ** 2).sum(axis=0)

        def backward(self):
            return 2 * self.d

    X, _, Y = data("narrow", nn.Squared())
    net, twin = network("narrow", nn.Squared()), network("narrow", nn.Squared())
    twin.loss, w = Own(), sample_weights(45)
    for extra in ({"clip_norm": 0.1}, {"clip_value": 0.01}, {}):
        losses = [n.partial_fit(X, Y, lrate=0.05, sample_weight=w, **extra) for n in (net, twin)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    close(net.modules[0].W, twin.modules[0].W, 1e-12)
    assert net.evaluate(X, Y, sample_weight=w)[0] == pytest.approx(
        twin.evaluate(X, Y, sample_weight=w)[0]
    )
    del Own.per_sample
    with pytest.raises(TypeError, match="loss must have per_sample"):
        twin.partial_fit(X, Y, sample_weight=w)


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ({"sample_weight": np.ones(44)}, ValueError, r"sample_weight must have shape \(45,\)"),
        ({"sample_weight": np.ones((1, 45))}, ValueError, "one weight per sample"),
        ({"sample_weight": -np.ones(45)}, ValueError, "at least 0, got -1.0 at 0"),
        ({"sample_weight": [np.nan] * 45}, ValueError, "finite and at least 0, got nan"),
        ({"sample_weight": [np.inf] * 45}, ValueError, "finite and at least 0, got inf"),
        ({"sample_weight": ["a"] * 45}, TypeError, "sample_weight must be a real array"),
        ({"class_weight": "equal"}, ValueError, "class_weight must be 'balanced', a dict"),
        ({"class_weight": {3: 1.0}}, ValueError, "classes, 0 to 2, as keys, got 3"),
        ({"class_weight": {0: -1.0}}, ValueError, "class_weight must be finite and at least 0"),
        ({"class_weight": [1.0, 2.0]}, ValueError, r"class_weight must have shape \(3,\)"),
        ({"clip_norm": 0}, ValueError, "clip_norm must be finite and above 0, got 0"),
        ({"clip_norm": np.inf}, ValueError, "clip_norm must be finite and above 0"),
        ({"clip_value": -1}, ValueError, "clip_value must be finite and above 0, got -1"),
        ({"clip_value": "1"}, TypeError, "clip_value must be a real number"),
        ({"clip_value": 1, "clip_norm": 1}, ValueError, "must not both be given"),
    ],
)
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_wrong_arguments_are_refused_and_nothing_changes(call, arguments, error, text):
    X, given, _ = data("narrow", nn.NLL())
    net = network("narrow", nn.NLL())
    before = [layer.W.copy() for layer in linears(net)]
    with pytest.raises(error, match=text):
        getattr(net, call)(X, given, **arguments)
    assert all((m.W == W).all() for m, W in zip(linears(net), before, strict=True))


def test_what_has_no_meaning_is_refused():
    X, given, Y = data("narrow", nn.NLL())
    net = network("narrow", nn.NLL())
    with pytest.raises(ValueError, match="'balanced' in partial_fit"):
        net.partial_fit(X, given, class_weight="balanced")
    with pytest.raises(ValueError, match="'balanced' for blocks"):
        net.fit([(X, given)], class_weight="balanced")
    with pytest.raises(ValueError, match=r"give blocks \(X, Y, sample_weight\)"):
        net.fit([(X, given)], sample_weight=np.ones(45))
    with pytest.raises(ValueError, match=r"sample_weight of blocks\[0\] must have shape"):
        net.fit([(X, given, np.ones(4))])
    with pytest.raises(ValueError, match=r"NLL\(class_weight=...\)"):
        net.fit(X, np.full((3, 45), 1 / 3), class_weight={0: 2.0})
    with pytest.raises(TypeError, match="class_weight must be None for the loss Squared"):
        network("narrow", nn.Squared()).fit(X, Y, class_weight={0: 2.0})
    with pytest.raises(ValueError, match="3 labels per sample"):
        network("narrow", nn.BinaryNLL()).fit(X, Y, class_weight={0: 2.0})
    with pytest.raises(ValueError, match="not be 0 for every sample"):
        net.evaluate(X, given, sample_weight=np.zeros(45))
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(45,\)"):
        net.evaluate(X, given, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="class_weight of NLL must hold one weight per class, 3"):
        net.loss = nn.NLL(class_weight=[1.0, 2.0])
        net.fit(X, given)


def test_r_squared_is_weighted(backend, dtype):
    """In slices, also of weights that are all zero, as scikit-learn's r2_score."""
    X, _, Y = data("narrow", nn.Squared(), dtype, N=3000)
    w = sample_weights(3000)
    w[:1100] = 0  # a whole slice
    net = network("narrow", nn.Squared(), dtype)
    loss, score = net.evaluate(X, Y, sample_weight=w)
    P = net.predict_proba(X).astype(np.float64)
    mean = (w * Y).sum(axis=1, keepdims=True) / w.sum()
    wanted = 1 - (w * (Y - P) ** 2).sum(axis=1) / (w * (Y - mean) ** 2).sum(axis=1)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    assert score == pytest.approx(wanted.mean(), rel=tolerance)
    squares = ((Y - P) ** 2).sum(axis=0)
    assert loss == pytest.approx((w * squares).sum() / w.sum(), rel=tolerance)
    assert net.evaluate(X, Y)[1] == pytest.approx(net.score(X, Y), rel=1e-12)
