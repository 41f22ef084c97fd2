"""Networks that prepare their data: a scaling of the inputs and the targets, classes, names.

What is right is the same call on a bare network with data that were scaled and encoded by hand.
"""

import copy
import pickle

import numpy as np
import pytest
from scipy import sparse

import nncore as nn
from nncore import datasets, reference, serialization

WORDS = np.array(["setosa", "virginica", "versicolor"])  # not in alphabetical order
SCALINGS = {
    "grey": {"shift": 0.0, "factor": 1 / 16},
    "standard": {"shift": [1.0, -2.0, 30.0, 0.5], "factor": [0.5, 2.0, 0.1, 0.0]},
    "far": {"shift": [2000.0, 0.0, 1e4, -7e3], "factor": [0.1, 1.0, 0.01, 0.5]},
}


def pair(scaling, dtype, words=True, output=nn.SoftMax, loss=nn.NLL, n=3, api=nn):
    """(network that prepares, the bare one, X, labels, scaled X, class numbers)."""
    rng = np.random.default_rng(7)
    np.random.seed(3)
    layers = [api.Linear(4, 9, dtype=dtype), api.Tanh(), api.Linear(9, n, dtype=dtype)]
    bare = api.Sequential([*layers, *([output()] if output else [])], loss())
    net = copy.deepcopy(bare)
    net.scaling = SCALINGS[scaling]
    shift, factor = (np.reshape(SCALINGS[scaling][key], (-1, 1)) for key in ("shift", "factor"))
    spread = np.where(factor == 0, 1, 1 / np.where(factor == 0, 1, factor))
    X = (rng.normal(size=(4, 60)) * spread + shift).astype(np.float64)
    numbers = rng.integers(0, 3 if n == 3 else 2, 60)
    if words:
        net.classes = WORDS[: numbers.max() + 1]
    labels = WORDS[numbers] if words else numbers
    return net, bare, X, labels, datasets.scale(X, SCALINGS[scaling], dtype), numbers


def same_weights(one, other):
    return all(
        getattr(a, name).tobytes() == getattr(b, name).tobytes()
        for a, b in zip(one.modules, other.modules, strict=True)
        for name in getattr(a, "gradients", ())
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_predictions_are_those_for_data_prepared_by_hand(scaling, dtype):
    net, bare, X, labels, scaled, numbers = pair(scaling, dtype)
    P = bare.predict_proba(scaled)
    assert (net.predict_proba(X) == P).all() and net.predict_proba(X).dtype == dtype
    assert (net.predict_proba(X[:, :1]) == bare.predict_proba(scaled[:, :1])).all()
    assert net.predict(X).tolist() == WORDS[bare.predict(scaled)].tolist()
    assert net.evaluate(X, labels) == bare.evaluate(scaled, numbers)
    assert net.evaluate(X, datasets.one_hot(numbers, 3)) == bare.evaluate(scaled, numbers)
    assert net.score(X, labels) == bare.score(scaled, numbers)
    assert net.log_likelihood(X, labels) == bare.log_likelihood(scaled, numbers)
    for p in (net.predictor(), pickle.loads(pickle.dumps(net.predictor()))):
        assert np.abs(p(X) - P).max() < (1e-12 if dtype == np.float64 else 5e-6)
        assert np.abs(p(X[:, 0]) - P[:, 0]).max() < (1e-12 if dtype == np.float64 else 5e-6)
        out = np.empty(3, dtype)
        assert p(X[:, 0], out=out) is out and (out == p(X[:, 0])).all()
    assert (net.forward(X) == bare.forward(X)).all()  # the modules do not scale
    assert (net.predict_forward(X) == bare.predict_forward(X)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("api", [nn, reference])
def test_trainings_are_those_on_data_prepared_by_hand(api, dtype):
    net, bare, X, labels, scaled, numbers = pair("standard", dtype, api=api)
    X0, labels0 = X.copy(), labels.copy()

    for given, wanted in zip(
        trainings(net, X, labels), trainings(bare, scaled, numbers), strict=True
    ):
        assert given == wanted and same_weights(net, bare)
    assert (X == X0).all() and (labels == labels0).all()


def trainings(net, X, Y):
    yield net.fit(X, Y, epochs=3, batch_size=7, seed=0, optimizer="adam")
    yield net.fit(X, Y, epochs=2, seed=0, validation=0.25)
    yield net.fit(X, Y, epochs=2, seed=0, validation=(X[:, :9], Y[:9]))
    yield net.fit([(X[:, :31], Y[:31]), (X[:, 31:], Y[31:])], epochs=2, seed=0)
    for _ in range(3):
        yield net.partial_fit(X, Y, lrate=0.05)
    for steps in (40, 2):
        np.random.seed(5)
        yield net.sgd(X, Y, steps, 0.01)
    yield net.mini_gd(X, Y, 12, 0.01, None, 5)
    with net.learner(0.1) as learn:
        yield learn(X[:, 4], Y[4])
        yield learn(X[:, 4:9], Y[4:9])
        yield learn.predict(X[:, 3]).tolist()
        yield learn.predict(X[:, 3:6]).tolist()
        yield learn.closed
    yield learn.closed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_targets_of_a_regression(dtype):
    rng = np.random.default_rng(0)
    np.random.seed(0)
    layers = [nn.Linear(4, 9, dtype=dtype), nn.Tanh(), nn.Linear(9, 1, dtype=dtype)]
    bare = nn.Sequential(layers, nn.Squared())
    net = copy.deepcopy(bare)
    net.scaling = SCALINGS["standard"]
    net.target_scaling = {"shift": [500.0], "factor": [0.02]}
    X = rng.normal(size=(4, 80)) * 5
    Y = 500 + 50 * np.tanh(X[:1]) + rng.normal(size=(1, 80))
    scaled = datasets.scale(X, net.scaling, dtype)
    targets = datasets.scale(Y, net.target_scaling, dtype)
    assert net.fit(X, Y, epochs=30, seed=1) == bare.fit(scaled, targets, epochs=30, seed=1)
    assert same_weights(net, bare)
    assert net.fit(X, Y[0], epochs=2, seed=1) == bare.fit(scaled, targets[0], epochs=2, seed=1)
    P = bare.predict_proba(scaled).astype(np.float64) / 0.02 + 500
    eps = np.finfo(dtype).eps * 550
    flat = net.predict(X)  # trained on numbers (N,) last
    assert flat.shape == (80,)
    for found in (flat[None], net.predict_proba(X), net.predictor()(X)):
        assert found.shape == (1, 80) and found.dtype == dtype
        assert np.abs(found - P).max() <= 8 * eps
    assert abs(net.predictor()(X[:, 0]) - P[:, 0]).max() <= 8 * eps
    assert net.evaluate(X, Y)[0] == bare.evaluate(scaled, targets)[0]
    wanted = 1 - ((Y - P) ** 2).sum() / ((Y - Y.mean()) ** 2).sum()
    assert abs(net.score(X, Y) - wanted) < 1e-4 and wanted > 0.5
    assert net.evaluate(X, Y[0])[1] == net.score(X, Y)
    history = net.fit(X, Y[0], epochs=1, lrate=0, validation=(X, Y[0]))
    assert history["validation_r2"] == [net.score(X, Y)]
    with net.learner(0.01) as learn, bare.learner(0.01) as learn_bare:
        assert learn(X[:, 0], Y[0, 0]) == learn_bare(scaled[:, 0], targets[0, 0])
        assert learn(X[:, 0], Y[:, 0]) == learn_bare(scaled[:, 0], targets[:, 0])
        assert learn(X[:, :3], Y[:, :3]) == learn_bare(scaled[:, :3], targets[:, :3])
        assert abs(learn.predict(X[:, 1]) - 50 * learn_bare.predict(scaled[:, 1]) - 500) <= 8 * eps


def test_parts_of_a_network_keep_what_belongs_to_their_ends():
    net, bare, X, _, scaled, _ = pair("standard", np.float64)
    assert (net[:-1].predict_proba(X) == bare[:-1].predict_proba(scaled)).all()
    assert net[:-1].classes is None and net[:-1].scaling == net.scaling
    assert net[1:].scaling is None and net[1:].classes.tolist() == net.classes.tolist()
    assert net[1:2]._preprocessing is None and bare[:]._preprocessing is None
    assert "\ndata: scaled inputs, classes (" in net.summary() and "data:" not in bare.summary()
    assert (net(scaled) == bare(scaled)).all() and len(net) == len(bare)


def test_metrics_compare_labels_with_labels():
    net, _, X, labels, _, numbers = pair("standard", np.float64)
    seen = []

    def right(truth, answers):
        seen.append((truth.tolist(), answers.tolist()))
        return float((truth == answers).mean())

    metric = nn.callbacks.Metrics(right)
    for Y in (labels, np.eye(3)[numbers].T):
        history = net.fit(X, Y, epochs=2, seed=0, validation=(X, Y), callbacks=metric)
        assert history["validation_accuracy"] == history["validation_right"]
        assert seen[-1] == (labels.tolist(), net.predict(X).tolist())
    history = net.fit(X, labels, epochs=1, seed=0, validation=0.3, callbacks=metric)
    assert history["validation_accuracy"] == history["validation_right"]


def test_two_classes_at_one_output():
    for output, loss in ((nn.OutputSigmoid, nn.BinaryNLL), (None, nn.Hinge)):
        net, bare, X, labels, scaled, numbers = pair("standard", np.float64, True, output, loss, 1)
        wanted = 2 * numbers - 1 if loss is nn.Hinge else numbers
        assert net.fit(X, labels, epochs=5, seed=0) == bare.fit(scaled, wanted, epochs=5, seed=0)
        assert net.evaluate(X, labels) == bare.evaluate(scaled, wanted)
        assert net.predict(X).tolist() == WORDS[(bare.predict(scaled) > 0) * 1].tolist()
        with net.learner(0.1) as learn, bare.learner(0.1) as learn_bare:
            assert learn(X[:, 0], labels[0]) == learn_bare(scaled[:, 0], wanted[0])


def test_numbers_as_classes_and_many_samples():
    net, bare, X, _, scaled, numbers = pair("standard", np.float32, words=False)
    net.classes = [7, -1, 3]
    X, scaled, numbers = np.tile(X, 600), np.tile(scaled, 600), np.tile(numbers, 600)
    labels = net.classes[numbers]
    assert np.abs(net.predict_proba(X) - bare.predict_proba(scaled)).max() < 1e-6
    assert net.predict(X).tolist() == net.classes[bare.predict(scaled)].tolist()
    assert net.predict(X).dtype == np.int64
    found, wanted = net.evaluate(X, labels), bare.evaluate(scaled, numbers)
    assert abs(found[0] - wanted[0]) < 1e-6 and found[1] == wanted[1]


def test_an_evaluate_of_the_users_own_gets_the_data_as_they_were_given():
    seen = []

    class Own(nn.Sequential):
        def evaluate(self, X, Y):
            seen.append((np.array(X), np.array(Y)))
            return super().evaluate(X, Y)

    net, bare, X, labels, scaled, numbers = pair("standard", np.float64)
    own = Own(net.modules, net.loss)
    own.scaling, own.classes = net.scaling, net.classes
    history = own.fit(X, labels, epochs=1, seed=0, validation=0.25)
    assert seen[0][0].shape == (4, 15) and set(seen[0][1]) <= set(WORDS)
    assert all((seen[0][0][:, [j]] == X).all(axis=0).any() for j in range(15))
    assert history == bare.fit(scaled, numbers, epochs=1, seed=0, validation=0.25)
    own.fit(X, labels, epochs=1, seed=0, validation=(X, labels))
    assert (seen[1][0] == X).all() and (seen[1][1] == labels).all()


def test_sparse_inputs():
    net, bare, *_ = pair("grey", np.float64)
    X = sparse.random(4, 50, 0.4, "csc", random_state=0)
    numbers = np.arange(50) % 3
    scaled = X / 16
    assert (net.predict_proba(X) == bare.predict_proba(scaled)).all()
    labels = WORDS[numbers]
    assert net.fit(X, labels, epochs=2, seed=0) == bare.fit(scaled, numbers, epochs=2, seed=0)
    net.scaling = SCALINGS["standard"]
    with pytest.raises(ValueError, match="a shift of 0 for a sparse X.* pass X.toarray"):
        net.predict(X)


def test_files_copies_and_pickles_carry_them(tmp_path):
    net, bare, X, labels, scaled, numbers = pair("standard", np.float32)
    net.feature_names, net.target_name = ["a", "b", "c", "d"], "species"
    net.fit(X, labels, optimizer="adam", seed=0)
    net.save(tmp_path / "m.npz")
    for again in (
        nn.load(tmp_path / "m.npz"),
        copy.copy(net),
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
    ):
        assert again.scaling == net.scaling == SCALINGS["standard"]
        assert again.classes.tolist() == WORDS.tolist()
        assert (again.feature_names, again.target_name) == (["a", "b", "c", "d"], "species")
        assert (again.predict_proba(X) == net.predict_proba(X)).all()
        assert (again.predict(X) == net.predict(X)).all()
    plain = nn.load(tmp_path / "m.npz", scaling=False)
    assert plain.scaling is plain.classes is plain.feature_names is None
    assert (plain.predict_proba(scaled) == net.predict_proba(X)).all()
    assert plain.predict(scaled).dtype == np.int64 and plain.optimizer is not None
    with pytest.raises(TypeError, match="scaling must be True, False or None, got str"):
        nn.load(tmp_path / "m.npz", scaling="no")


def test_a_file_of_an_earlier_version(tmp_path):
    """The command stored both in the metadata, and a network saved by a program has none."""
    net, _, X, _, scaled, _ = pair("standard", np.float64, words=False)
    net.scaling = None
    metadata = {"classes": [1, 5, 9], "scaling": SCALINGS["standard"]}
    serialization.save(net, tmp_path / "m.npz", metadata)
    again = nn.load(tmp_path / "m.npz")
    assert again.scaling == SCALINGS["standard"] and again.classes.tolist() == [1, 5, 9]
    assert (again.predict(X) == np.array([1, 5, 9])[net.predict(scaled)]).all()
    serialization.save(net, tmp_path / "m.npz")
    assert nn.load(tmp_path / "m.npz").scaling is None


BAD = {
    "scaling": [
        (3, "scaling must be a dict with shift and factor"),
        ({"shift": 0.0}, "scaling must be a dict with shift and factor"),
        ({"shift": 0.0, "factor": np.nan}, "one finite number"),
        ({"shift": [0.0], "factor": 1.0}, "one number or 4, one for each of the network's inputs"),
        ({"shift": [0.0, 1.0], "factor": [1.0] * 4}, "scaling must be a dict"),
    ],
    "target_scaling": [
        ({"shift": 0.0, "factor": 0.0}, "factors other than 0"),
        ({"shift": [0.0] * 4, "factor": 1.0}, "or 3, one for each of the network's outputs, got 4"),
    ],
    "classes": [
        (2, "classes must be a list of integers or of texts"),
        ([0.5, 1], "classes must be a list of integers or of texts"),
        (["a", 1, 2], "classes must be a list of integers or of texts"),
        ([0, 2**63, 1], "integers|below 2.*63"),
        (["a", "b", "a"], "classes must differ, got 'a' twice"),
        (["a", "b"], "classes must hold 3 labels for this network, got 2"),
    ],
    "feature_names": [
        ("abcd", "feature_names must be a list of texts"),
        (["a", "b"], "feature_names must hold 4 names, one per input of the network, got 2"),
    ],
    "target_name": [(3, "target_name must be a text or None, got int")],
}


@pytest.mark.parametrize(
    ("name", "value", "message"), [(name, *case) for name in BAD for case in BAD[name]]
)
def test_what_does_not_fit_is_refused(name, value, message, tmp_path):
    net, _, X, _, _, numbers = pair("grey", np.float64, words=False)
    with pytest.raises((TypeError, ValueError), match=message):
        setattr(net, name, value)
        net.predict(X)
        net.save(tmp_path / "m.npz")
        nn.load(tmp_path / "m.npz")
    bare = nn.Sequential(net.modules, net.loss)
    value = value.tolist() if isinstance(value, np.ndarray) else value
    serialization.save(bare, tmp_path / "m.npz", {name: value})
    with pytest.raises(ValueError, match=f"m.npz: .*({message}).*scaling=False"):
        nn.load(tmp_path / "m.npz")
    assert nn.load(tmp_path / "m.npz", scaling=False).scaling is None


def test_labels_and_data_that_do_not_fit_are_refused():
    net, bare, X, labels, *_ = pair("standard", np.float64)
    for call in (bare.fit, bare.partial_fit, bare.evaluate, bare.sgd):
        with pytest.raises(TypeError, match=r"got <U10; .*so does a network with net.classes = np"):
            call(X, labels)
    before = net.modules[0].W.copy()
    shown = r"the network's classes \('setosa', 'virginica', 'versicolor'\)"
    for call in (net.fit, net.partial_fit, net.evaluate, net.sgd):
        with pytest.raises(ValueError, match=f"Y must hold labels among {shown}, got 'rose' at 2"):
            call(X, [*labels[:2], "rose", *labels[3:]])
        with pytest.raises(ValueError, match=f"{shown}, got int64"):
            call(X, np.zeros(60, int))
        with pytest.raises(ValueError, match="samples are columns: pass the transpose"):
            call(X.T, labels)
        with pytest.raises(ValueError, match=r"Y must have shape \(3, 60\), got"):
            call(X, labels[:-1])
    with pytest.raises(ValueError, match="Y of validation must hold labels among"):
        net.fit(X, labels, validation=(X, np.full(60, "rose")))
    with net.learner() as learn, pytest.raises(ValueError, match="y must hold labels among"):
        learn(X[:, 0], "rose")
    with net.learner() as learn, pytest.raises(ValueError, match="must have shape"):
        learn(X[:3, 0], "setosa")
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity in column 1"):
        net.fit(np.where(np.arange(60) == 1, np.nan, X), labels)
    assert (net.modules[0].W == before).all()
    with pytest.raises(ValueError, match=r"x must have shape \(4, 'N'\)|x must have shape"):
        net.predictor()(X[:3])


def test_other_formats_carry_them(tmp_path):
    net, _, X, *_ = pair("standard", np.float64)
    net.feature_names = list("abcd")
    nn.export.safetensors(net, tmp_path / "f")
    again = nn.import_safetensors(tmp_path / "f")
    assert again.scaling == net.scaling and again.classes.tolist() == net.classes.tolist()
    assert again.feature_names == list("abcd")
    assert (again.predict(X) == net.predict(X)).all()
    if pytest.importorskip("onnx"):
        nn.export.onnx(net, tmp_path / "g")
        again = nn.import_onnx(tmp_path / "g")
        assert again.scaling == net.scaling and (again.predict(X) == net.predict(X)).all()
        assert again.feature_names == list("abcd") and again.target_name is None


FORMATS = {
    "npz": (nn.Sequential.save, nn.load),
    "safetensors": (nn.export.safetensors, nn.import_safetensors),
    "onnx": (nn.export.onnx, nn.import_onnx),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("scales", [True, False])
@pytest.mark.parametrize("flat", [True, False])
def test_every_format_keeps_the_shape_of_a_regressions_predictions(form, scales, flat, tmp_path):
    if form == "onnx":
        pytest.importorskip("onnx")
    X = np.random.default_rng(0).normal(size=(3, 20))
    net = nn.Sequential([nn.Linear(3, 4, rng=0), nn.Tanh(), nn.Linear(4, 1, rng=1)], nn.Huber())
    if scales:
        net.scaling, net.target_scaling = datasets.fit_scaling(X), {"shift": 2.0, "factor": 0.5}
        net.feature_names, net.target_name = list("abc"), "price"
    net.fit(X, X[0] if flat else X[:1], lrate=0.01)
    save, load = FORMATS[form]
    save(net, tmp_path / "f")
    again = load(tmp_path / "f")
    assert again.predict(X).shape == net.predict(X).shape == ((20,) if flat else (1, 20))
    assert np.allclose(again.predict(X), net.predict(X), rtol=1e-12)
    assert (again.feature_names, again.target_name) == (net.feature_names, net.target_name)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("classes", [["dog", "cat"], [True, False], [7, -3]], ids=str)
@pytest.mark.parametrize("loss", [nn.NLL, nn.BinaryNLL, nn.Hinge])
def test_every_format_keeps_two_classes(form, classes, loss, tmp_path):
    if form == "onnx":
        pytest.importorskip("onnx")
    unit = {nn.NLL: [nn.SoftMax()], nn.BinaryNLL: [nn.OutputSigmoid()], nn.Hinge: []}[loss]
    net = nn.Sequential([nn.Linear(3, 2 if loss is nn.NLL else 1, rng=0), *unit], loss())
    net.classes = classes
    X = np.random.default_rng(0).normal(size=(3, 20))
    save, load = FORMATS[form]
    save(net, tmp_path / "f")
    again = load(tmp_path / "f")
    assert again.predict(X).tolist() == net.predict(X).tolist()
    assert set(again.predict(X).tolist()) == set(classes)


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    net = nn.Sequential([nn.Linear(3, 2), nn.SoftMax()], nn.NLL())
    for name, value in (("feature_names", ["a"]), ("classes", ["a", "b", "c"])):
        setattr(net, name, value)
        with pytest.raises(ValueError, match=f"{name} must hold"):
            net.save(tmp_path / "f")
        setattr(net, name, None)
    assert not list(tmp_path.iterdir())


def test_scaled_targets_in_other_formats(tmp_path):
    np.random.seed(0)
    inner = nn.Sequential([nn.Tanh(), nn.Linear(5, 2)])
    net = nn.Sequential([nn.Linear(3, 5), inner], nn.Squared())
    net.target_scaling = {"shift": [10.0, -5.0], "factor": [0.5, 4.0]}
    X = np.random.normal(size=(3, 20))
    nn.export.safetensors(net, tmp_path / "f")
    again = nn.import_safetensors(tmp_path / "f")
    assert again.target_scaling is None
    assert np.allclose(again.predict(X), net.predict(X), rtol=1e-13)
    assert inner.modules[1].W.tobytes() == net.modules[1].modules[1].W.tobytes()
    nn.export.c(net, tmp_path / "f.c", "f")
    sklearn = pytest.importorskip("sklearn")
    plain = nn.Sequential([nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)], nn.Squared())
    plain.target_scaling, plain.scaling = net.target_scaling, {"shift": 1.0, "factor": 2.0}
    assert sklearn and np.allclose(plain.to_sklearn().predict(X.T), plain.predict(X).T)
    squashed = nn.Sequential([nn.Linear(3, 2), nn.Tanh()], nn.Squared())
    squashed.target_scaling = net.target_scaling
    with pytest.raises(ValueError, match="the last module must be a Linear .* with target_scaling"):
        nn.export.safetensors(squashed, tmp_path / "f")


def test_accelerate_and_check_keep_them():
    class Own(nn.Tanh):
        def forward(self, Z):
            self.A = np.tanh(Z)
            return self.A

    net, _, X, *_ = pair("standard", np.float64)
    own = nn.Sequential([net.modules[0], Own(), *net.modules[2:]], nn.NLL())
    own.scaling, own.classes = net.scaling, net.classes
    fast = nn.accelerate(own)
    assert fast.scaling == net.scaling and (fast.predict(X) == net.predict(X)).all()
    assert nn.check(own) and nn.check(net)


def test_the_repr_and_the_explanation():
    net, *_ = pair("standard", np.float64)
    assert repr(net).endswith(
        "# 75 parameters, scaled inputs, classes ('setosa', 'virginica', 'versicolor')"
    )
    net.scaling = None
    del net.classes
    assert repr(net).endswith("# 75 parameters")
    assert vars(net)["_preprocessing"] is None
    net.scaling = SCALINGS["standard"]
    assert nn.explain(net, np.ones((4, 3)), call="predict")["compiled"]
    shift = net.scaling["shift"]
    shift[0] = 1e9
    assert net.scaling == SCALINGS["standard"]
