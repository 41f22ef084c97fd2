"""Layers without bias."""

import numpy as np
import pytest
from exchange_nets import COMPILERS, Compiled, ulps
from objectives import SIZES, close, data, linears, network

import nncore as nn


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("size", SIZES)
def test_no_training_moves_a_bias_that_is_not_there(size, optimizer, dtype, tmp_path):
    loss = nn.NLL() if SIZES[size][-1] > 1 else nn.Squared()
    X, given, Y = data(size, loss, dtype)
    net = network(size, loss, dtype, bias=False)
    for layer in linears(net):
        assert not layer.W0.any()
        assert layer.parameters == layer.W.size
        assert "bias=False" in repr(layer)
    assert net.parameters == sum(layer.W.size for layer in linears(net))
    for batch in (1, 5, 32):
        net.fit(X, given, batch_size=batch, lrate=0.01, optimizer=optimizer, seed=0)
    net.sgd(X, Y, iters=20, lrate=0.01)
    net.mini_gd(X, Y, iters=6, lrate=0.01, K=8)
    net.fit(X, given, optimizer=optimizer, lrate=0.01, seed=0)
    with net.learner(0.01, net.optimizer) as learn:
        learn(X[:, 0], given[..., 0])
    net.loss.forward(net.forward(X), Y)
    net.backward(net.loss.backward())
    net.sgd_step(0.1)
    assert not any(layer.W0.any() for layer in linears(net))
    assert not any(name == "W0" for _, name in net.optimizer.state)
    net.save(tmp_path / "net.npz")
    again = nn.load(tmp_path / "net.npz")
    assert repr(again) == repr(net)
    for n in (net, again):
        n.fit(X, given, seed=1, lrate=0.01, optimizer=n.optimizer)
    assert (linears(net)[0].W == linears(again)[0].W).all()
    assert not any(layer.W0.any() for layer in linears(again))
    assert nn.check(net).ok


def test_draws_do_not_depend_on_the_bias():
    for init in ("course", "notes", "he"):
        np.random.seed(0)
        with_bias = nn.Linear(3, 2, init=init)
        after = np.random.rand()
        np.random.seed(0)
        without = nn.Linear(3, 2, init=init, bias=False)
        assert (with_bias.W == without.W).all()
        assert not without.W0.any()
        assert np.random.rand() == after


def trained_without_bias(dtype):
    X, given, _ = data("vectors", nn.NLL(), dtype)
    net = network("vectors", nn.NLL(), dtype, bias=False)
    net.fit(X, given, epochs=3, seed=0)
    return net, X


@pytest.mark.parametrize("way", ["onnx", "safetensors", "c"])
def test_exports_have_no_bias(way, dtype, tmp_path, request):
    net, X = trained_without_bias(dtype)
    path, P = tmp_path / f"net.{way}", net.predict_proba(X)
    if way == "onnx":
        pytest.importorskip("onnx")
    getattr(nn.export, way)(net, path, *(["net"] if way == "c" else []))
    if way == "c":
        assert "_linear(w0, 0, " in path.read_text()
        return
    again = (nn.import_onnx if way == "onnx" else nn.import_safetensors)(path)
    assert [repr(m) for m in again.modules] == [repr(m) for m in net.modules]
    close(again.predict_proba(X), P, 1e-6)
    if way == "onnx":
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (outputs,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(X.T)})
        close(outputs.T, P, 1e-5)


@pytest.mark.skipif(not COMPILERS, reason="there is no C compiler")
@pytest.mark.parametrize("biased", [0, 2, None])
def test_c_computes_without_bias(biased, dtype, tmp_path):
    net, X = trained_without_bias(dtype)
    if biased is not None:  # one layer has biases
        net.modules[biased] = nn.Linear(*net.modules[biased].W.shape, dtype=dtype, init="notes")
    nn.export.c(net, tmp_path / "net.c", "net")
    run = Compiled(tmp_path / "net.c", "net", dtype, 3)
    assert ulps(run(X), net.predict_proba(X)) <= 64
    assert run.self_test() == 0


def test_a_w0_that_was_put_in_is_kept():
    """It is a constant: used and exported, but not trained."""
    net, X = trained_without_bias(np.float64)
    net.modules[0].W0[:] = 0.5
    _, given, _ = data("vectors", nn.NLL())
    twin = nn.Sequential([nn.Linear(20, 40), *net.modules[1:]], net.loss)
    twin.modules[0].W, twin.modules[0].W0 = net.modules[0].W, net.modules[0].W0
    close(net.predict_proba(X), twin.predict_proba(X), 1e-14)
    net.fit(X, given, seed=0, optimizer="adam")
    assert (net.modules[0].W0 == 0.5).all()


class Layer:
    """As much of a layer of PyTorch as from_torch reads."""

    def __init__(self, name, **attributes):
        self.__class__ = type(name, (Layer,), {"__module__": "torch.nn.modules.fake"})
        self.__dict__.update(attributes)

    def named_children(self):
        return list(self.children.items())

    def parameters(self, recurse):
        return []


def test_layers_of_pytorch_without_bias():
    W = np.arange(6.0).reshape(2, 3)
    layers = {"0": Layer("Linear", weight=W, bias=None), "1": Layer("Softmax", dim=1)}
    net = nn.from_torch(Layer("Sequential", children=layers))
    assert repr(net.modules[0]) == "Linear(3, 2, bias=False)"
    assert (net.modules[0].W == W.T).all()
    with_bias = nn.from_torch(Layer("Linear", weight=W, bias=np.ones(2)))
    assert repr(with_bias.modules[0]) == "Linear(3, 2)"


def test_arguments_for_pytorch():
    from nncore.exchange import table, tensors

    arguments = table.FORMS[nn.Linear].torch.arguments
    layer = nn.Linear(3, 2, bias=False)
    assert arguments(layer) == {"in_features": 3, "out_features": 2, "bias": False}
    assert arguments(nn.Linear(3, 2)) == {"in_features": 3, "out_features": 2}
    assert tensors.weights_of(layer) == [("W", "weight")]


def test_older_files_have_biases(tmp_path):
    """A file that says nothing of the setting, as all before it."""
    import json

    net = network("narrow", nn.NLL())
    net.save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz") as file:
        assert "bias" not in json.dumps(json.loads(str(file["model"])))
    assert all(layer.bias for layer in linears(nn.load(tmp_path / "net.npz")))


def test_predictors_and_copies(dtype):
    import copy
    import pickle

    net, X = trained_without_bias(dtype)
    P = net.predict_proba(X)
    close(net.predictor()(np.ascontiguousarray(X)), P, 1e-6)
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert repr(again) == repr(net)
        assert (again.predict_proba(X) == P).all()


def test_the_users_own_attribute_bias_is_not_the_setting():
    class Mine(nn.Linear):
        def __init__(self, m, n):
            super().__init__(m, n)
            self.bias = self.W0

    net = nn.Sequential([Mine(3, 2), nn.SoftMax()], nn.NLL())
    before = net.modules[0].W0.copy()
    net.fit(np.ones((3, 4)), np.array([0, 1, 1, 1]))
    assert (net.modules[0].W0 != before).any()
    assert "bias=False" not in repr(net)
    assert net.modules[0].parameters == 8


class OwnLayer:
    """A student's layer without bias."""

    def __init__(self, m, n):
        self.weights = np.random.normal(0, m**-0.5, (m, n))

    def forward(self, A):
        self.A = A
        return self.weights.T @ A

    def backward(self, d):
        self.gradient = self.A @ d.T
        return self.weights @ d

    def sgd_step(self, lrate):
        self.weights -= lrate * self.gradient


def test_accelerate_replaces_layers_without_bias():
    X, _, Y = data("narrow", nn.NLL())
    np.random.seed(0)
    own = nn.Sequential([OwnLayer(4, 5), nn.Tanh(), OwnLayer(5, 3), nn.SoftMax()], nn.NLL())
    fast = nn.accelerate(own)
    assert repr(fast.modules[0]) == "Linear(4, 5, bias=False)"
    assert fast.modules[0].W is own.modules[0].weights
    assert not any(layer.W0.any() for layer in linears(fast))
    layers, results = [own.modules[0], own.modules[2]], []
    before = [layer.weights.copy() for layer in layers]
    for net in (own, fast):
        for layer, W in zip(layers, before, strict=True):
            layer.weights[...] = W
        np.random.seed(1)
        net.sgd(X, Y, iters=20, lrate=0.1)
        results.append(own.modules[0].weights.copy())
    close(*results, 1e-12)


def test_accelerate_keeps_a_library_layer_without_bias():
    net = nn.Sequential([OwnLayer(4, 5), nn.ReLU(), nn.Linear(5, 3, bias=False), nn.SoftMax()])
    net.loss = nn.NLL()
    fast = nn.accelerate(net)
    assert not any(layer.W0.any() for layer in linears(fast))
    assert [layer.bias for layer in linears(fast)] == [False, False]
