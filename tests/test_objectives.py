"""What a training minimises, on every path: losses, smoothed labels and weights of classes, against
definitions of their own."""

import copy

import numpy as np
import pytest
from objectives import (
    EXTRAS,
    LOSSES,
    SIZES,
    TRAININGS,
    Oracle,
    check_against_oracle,
    close,
    data,
    linears,
    network,
    sample_weights,
)

import nncore as nn
from nncore import reference


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("size", SIZES)
def test_trainings_are_those_of_the_definitions(size, training, extra, dtype):
    """Every loss, batch size and kind of layer in turn, on every path."""
    names = [name for name in LOSSES if SIZES[size][-1] > 1 or name not in ("both", "weighted")]
    start = list(TRAININGS).index(training) + list(EXTRAS).index(extra)
    for i in range(4):
        k = start + 2 * i
        check_against_oracle(
            size,
            names[k % len(names)],
            training,
            extra,
            (32, 1, 45, 7)[i],
            dtype,
            bias=(k // 2) % 3 != 0,
            lib=(nn, nn, reference)[k % 3],
        )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batch", [1, 16, 45])
def test_losses_and_levels(isa, loss, batch, dtype):
    for size in ("narrow", "vectors"):
        for extra in ("nothing", "weights, norm"):
            check_against_oracle(size, loss, "adam", extra, batch, dtype, True, nn)
            check_against_oracle(size, loss, "plain", extra, batch, dtype, batch != 16, nn)


@pytest.mark.parametrize("loss", ["smooth", "both", "absolute", "huber"])
def test_gradients_by_finite_differences(loss, backend):
    object_ = LOSSES[loss][0]
    X, _, Y = data("vectors", object_)
    net = network("vectors", object_)
    net.loss.forward(net.forward(X), Y)
    net.backward(net.loss.backward())
    for layer in linears(net):
        for at in [(0, 0), (1, 2), (-1, -1)]:
            before, ends = layer.W[at], []
            for h in (1e-6, -1e-6):
                layer.W[at] = before + h
                ends.append(net.loss.forward(net.forward(X), Y))
            layer.W[at] = before
            slope = (ends[0] - ends[1]) / 2e-6
            assert layer.dLdW[at] == pytest.approx(slope, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_values_of_losses(loss, backend, dtype):
    """forward, per_sample, backward and evaluate agree with the definitions."""
    object_, settings = LOSSES[loss]
    for size in ("narrow", "vectors"):
        X, given, Y = data(size, object_, dtype)
        net = network(size, object_, dtype)
        oracle = Oracle(net, **settings)
        losses, gradient = oracle.losses_and_gradients(oracle.outputs(X)[-1], Y)
        tolerance = 1e-11 if dtype == np.float64 else 2e-5
        P, w = net.predict_proba(X), sample_weights(X.shape[1])
        assert net.loss.forward(P, Y) == pytest.approx(losses.sum(), rel=tolerance)
        close(net.loss.per_sample(P, Y), losses, tolerance)
        net.loss.forward(P, Y)
        close(net.loss.backward(), gradient, tolerance)
        assert net.evaluate(X, given)[0] == pytest.approx(losses.mean(), rel=tolerance)
        value, accuracy = net.evaluate(X, given, sample_weight=w)
        assert value == pytest.approx((w * losses).sum() / w.sum(), rel=tolerance)
        if net.loss.classifies:
            class_fun = getattr(net.modules[-1], "class_fun", None) or net.loss.class_fun
            right = class_fun(P) == class_fun(Y)
            wanted = (w * right).sum() / (w * np.ones_like(right)).sum()
            assert accuracy == pytest.approx(wanted, rel=1e-12)
        else:
            assert value > 0


@pytest.mark.parametrize("loss", ["smooth", "both", "huber", "absolute"])
def test_sgd_takes_the_loss_as_it_is(loss, dtype):
    """All labels: class numbers, one-hot columns of any type and order."""
    object_, settings = LOSSES[loss]
    X, given, Y = data("vectors", object_, dtype)
    given = given.astype(dtype) if given.ndim == 2 else given
    results = []
    for labels in (given, Y, np.asfortranarray(Y, dtype), np.ascontiguousarray(Y, dtype)):
        net = network("vectors", object_, dtype)
        np.random.seed(0)
        net.sgd(X, labels, iters=60, lrate=0.02)
        results.append([layer.W.copy() for layer in linears(net)])
    np.random.seed(0)
    oracle = Oracle(network("vectors", object_, dtype), **settings)
    np.random.seed(0)
    for _ in range(60):
        i = np.random.randint(X.shape[1])
        part = slice(i, i + 1)
        _, gradients = oracle.gradients(X[:, part], Y[:, part], np.ones(1))
        for W, b, (gW, gb) in zip(oracle.W, oracle.b, gradients, strict=True):
            W -= 0.02 * gW
            b -= 0.02 * gb
    tolerance = 1e-11 if dtype == np.float64 else 2e-4
    for weights in results:
        for W, wanted in zip(weights, oracle.W, strict=True):
            close(W, wanted, tolerance)


def test_soft_labels_are_smoothed_and_an_unlabelled_sample_stays_one(backend):
    Y = np.array([[0.5, 0.0, 2.0], [0.5, 0.0, 1.0]])
    P = np.array([[0.2, 0.3, 0.4], [0.8, 0.7, 0.6]])
    loss = nn.NLL(label_smoothing=0.2, class_weight=[1.0, 2.0])
    target = np.array([[1.0], [2.0]]) * (0.8 * Y + 0.1 * Y.sum(axis=0))
    close(loss.per_sample(P, Y), -(target * np.log(P)).sum(axis=0), 1e-14)
    loss.forward(P, Y)
    close(loss.backward(), target.sum(axis=0) * P - target, 1e-14)
    assert not loss.backward()[:, 1].any()


def test_log_likelihood_is_of_the_labels_themselves():
    X, given, _ = data("narrow", nn.NLL())
    plain, smooth = network("narrow", nn.NLL()), network("narrow", LOSSES["both"][0])
    assert smooth.log_likelihood(X, given) == pytest.approx(plain.log_likelihood(X, given))
    assert smooth.evaluate(X, given)[0] != pytest.approx(plain.evaluate(X, given)[0])


def test_a_new_setting_counts_from_the_next_call():
    X, given, _ = data("narrow", nn.NLL())
    one, other = network("narrow", nn.NLL()), network("narrow", nn.NLL())
    for net in (one, other):
        net.partial_fit(X, given, lrate=0.1)
        net.evaluate(X, given)
    one.loss = nn.NLL(label_smoothing=0.4)
    other.loss.label_smoothing = 0.4
    assert one.evaluate(X, given) == other.evaluate(X, given)
    assert one.partial_fit(X, given, lrate=0.1) == other.partial_fit(X, given, lrate=0.1)
    assert (one.modules[0].W == other.modules[0].W).all()
    plain = network("narrow", nn.NLL())
    plain.partial_fit(X, given, lrate=0.1)
    plain.partial_fit(X, given, lrate=0.1)
    assert (one.modules[0].W != plain.modules[0].W).any()


@pytest.mark.parametrize(
    "loss, text",
    [
        (nn.NLL(), "NLL()"),
        (nn.NLL(0.1, [1.0, 2.0, 0.5]), "NLL(label_smoothing=0.1, class_weight=[1.0, 2.0, 0.5])"),
        (nn.Huber(), "Huber()"),
        (nn.Huber(2), "Huber(delta=2.0)"),
        (nn.Absolute(), "Absolute()"),
    ],
)
def test_losses_are_saved_and_shown_with_their_settings(loss, text, tmp_path):
    assert repr(loss) == text
    net = network("narrow", loss)
    net.save(tmp_path / "net.npz")
    again = nn.load(tmp_path / "net.npz")
    assert repr(again.loss) == text
    X, given, _ = data("narrow", loss)
    assert again.evaluate(X, given)[0] == net.evaluate(X, given)[0]
    assert nn.check(again).ok
    copied = copy.deepcopy(again)
    assert repr(copied.loss) == text
    assert copied.evaluate(X, given)[0] == net.evaluate(X, given)[0]


def test_a_file_with_wrong_settings_is_refused(tmp_path):
    import json

    net = network("narrow", nn.Huber(2))
    net.save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz") as file:
        arrays = dict(file)
    for settings in ({"delta": -1}, {}, {"delta": "x"}, 3):
        model = json.loads(str(arrays["model"]))
        model["loss_settings"] = settings
        np.savez(tmp_path / "bad.npz", **{**arrays, "model": json.dumps(model)})
        with pytest.raises(ValueError, match="bad.npz is not an nncore model"):
            nn.load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: nn.NLL(label_smoothing=1.5), ValueError, "label_smoothing must be from 0 to 1"),
        (lambda: nn.NLL(label_smoothing=-0.1), ValueError, "label_smoothing must be from 0 to 1"),
        (lambda: nn.NLL("0.1"), TypeError, "label_smoothing must be a real number"),
        (lambda: nn.NLL(class_weight=[1, -1]), ValueError, "at least 0, got -1.0 at 1"),
        (lambda: nn.NLL(class_weight=[[1, 1]]), ValueError, r"class_weight must have shape \(n,\)"),
        (lambda: nn.NLL(class_weight={0: 1}), TypeError, "class_weight of NLL must hold one"),
        (lambda: nn.Huber(0), ValueError, "delta must be finite and above 0, got 0"),
        (lambda: nn.Huber(np.nan), ValueError, "delta must be finite and above 0"),
        (lambda: nn.Linear(2, 3, bias=0), TypeError, "bias must be True or False, got int"),
    ],
)
def test_wrong_settings_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_plans_say_why():
    X, given, _ = data("vectors", nn.NLL())
    net, without = network("vectors", nn.NLL()), network("vectors", nn.NLL(), bias=False)
    plan = nn.explain(net, X, given, batch_size=1, clip_norm=1.0)
    assert plan["compiled"] and plan["path"] == "minibatch"
    assert "gradients are clipped" in plan["reasons"]
    plan = nn.explain(net, X, given, batch_size=1, sample_weight=np.ones(45))
    assert plan["compiled"] and "samples are weighted" in plan["reasons"]
    plan = nn.explain(net, X, given, batch_size=16, class_weight="balanced", optimizer="adam")
    assert plan["compiled"]
    plan = nn.explain(without, X, given, batch_size=1)
    assert plan["compiled"] and "a Linear has no bias" in plan["reasons"]
    narrow = network("narrow", nn.NLL())
    plan = nn.explain(narrow, batch_size=32, optimizer="adam", clip_norm=1.0)
    assert plan["path"] == "column-minibatch"


@pytest.mark.parametrize("loss", [nn.NLL(0.1, [1.0, 2.0, 0.5]), nn.Huber(2.5), nn.Absolute()])
def test_settings_of_losses_come_back_from_other_formats(loss, tmp_path):
    net = network("narrow", loss)
    nn.export.safetensors(net, tmp_path / "net.safetensors")
    assert repr(nn.import_safetensors(tmp_path / "net.safetensors").loss) == repr(loss)
    onnx = pytest.importorskip("onnx")
    nn.export.onnx(net, tmp_path / "net.onnx")
    assert repr(nn.import_onnx(tmp_path / "net.onnx").loss) == repr(loss)
    model = onnx.load(tmp_path / "net.onnx")
    for entry in model.metadata_props:
        entry.value = entry.value.replace('"delta": 2.5', '"delta": -1').replace("0.1", "7")
    onnx.save(model, tmp_path / "bad.onnx")
    if not isinstance(loss, nn.Absolute):
        with pytest.raises(ValueError, match="what nncore noted of the loss is damaged"):
            nn.import_onnx(tmp_path / "bad.onnx")
