"""The numbers published with the course's homework tests, on both backends. Data and expectations:
course_cases.json."""

import json
from pathlib import Path

import numpy as np
import pytest

import nncore as nn

FILE = json.loads((Path(__file__).parent / "course_cases.json").read_text())
CASES = {case["id"]: case for case in FILE["cases"]}


@pytest.fixture(autouse=True, params=["numpy", "compiled", "reference"])
def library(request):
    if request.param == "reference":
        yield nn.reference
    else:
        with nn.use_backend(request.param):
            yield nn


def data(name):
    d = FILE["datasets"][name]
    return np.array(d["X"], d["X_dtype"]), np.array(d["Y"], d["Y_dtype"])


def build(library, case):
    setup = case["setup"]
    if "np.random.seed" in setup:
        np.random.seed(setup["np.random.seed"])
    make = lambda kind, *sizes: getattr(library, kind)(*sizes)  # noqa: E731
    if "network" in setup:
        return library.Sequential([make(*m) for m in setup["network"]], make(setup["loss"]))
    module = make(*setup["module"])
    for name, value in setup.get("assign", {}).items():
        setattr(module, name, np.array(value))
    return module


def close(case, got, key):
    np.testing.assert_allclose(
        got, case["expected"][key], rtol=case["rtol"], atol=case["atol"], err_msg=key
    )


def stacked(net):
    return [np.vstack([net.modules[i].W, net.modules[i].W0.T]) for i in (0, 2)]


@pytest.mark.parametrize("name", ["linear_forward", "linear_forward_bias"])
def test_linear_forward(library, name):
    case = CASES[name]
    close(case, build(library, case).forward(data(case["setup"]["data"])[0]), "Z")


@pytest.mark.parametrize("name", ["linear_backward", "linear_sgd", "hw7_linear_unit"])
def test_linear_backward_and_step(library, name):
    case = CASES[name]
    module = build(library, case)
    got = {"Z": module.forward(data(case["setup"]["data"])[0])}
    got["dLdA"] = module.backward(np.array(case["setup"]["dLdZ"]))
    got |= {"dLdW": module.dLdW, "dLdW0": module.dLdW0}
    if "lrate" in case["setup"]:
        assert module.sgd_step(case["setup"]["lrate"]) is None
    got |= {"W": module.W, "W0": module.W0, "vstack(W,W0.T)": np.vstack([module.W, module.W0.T])}
    for key in case["expected"]:
        close(case, got[key], key)


@pytest.mark.parametrize("name", ["tanh_forward_backward", "relu_forward_backward"])
def test_activations(library, name):
    case = CASES[name]
    module = build(library, case)
    close(case, module.forward(data(case["setup"]["data"])[0]), "A")
    close(case, module.backward(np.array(case["setup"]["dLdA"])), "dLdZ")


def test_batchnorm(library):
    case = CASES["batchnorm_fwd_bwd_3x5"]
    module = build(library, case)
    got = {
        "G0": module.G.copy(),
        "B0": module.B.copy(),
        "Z": module.forward(np.array(case["setup"]["A"])),
    }
    got["dA"] = module.backward(np.array(case["setup"]["dLdZ"]))
    got |= {name: getattr(module, name) for name in ("mus", "vars", "norm", "dLdB", "dLdG")}
    for key in case["expected"]:
        close(case, got[key], key)


def test_softmax(library):
    case = CASES["softmax_forward_class"]
    module = build(library, case)
    A = module.forward(data("super_simple_separable")[0])
    close(case, A, "A")
    assert (
        module.class_fun(A).tolist()
        == library.SoftMax.class_fun(library.SoftMax, A).tolist()
        == case["expected"]["c"]
    )
    assert (
        list(module.class_fun(A).shape) == case["expected"]["c_shape"]
        and module.class_fun(A).dtype == np.int64
    )


def test_nll(library):
    case = CASES["nll_forward_backward"]
    loss = library.NLL()
    value = loss.forward(np.array(case["setup"]["Ypred"]), np.array(case["setup"]["Y"]))
    assert type(value) is float
    close(case, value, "loss")
    close(case, loss.backward(), "g")


@pytest.mark.parametrize("name", ["sgd_test_tanh", "sgd_test_relu"])
def test_one_pass_by_hand(library, name):
    case = CASES[name]
    net = build(library, case)
    X, Y = data("super_simple_separable")
    m = net.modules
    got = {"X": X, "Y": Y, "linear_1.W": m[0].W.copy(), "linear_1.W0": m[0].W0.copy()}
    got |= {"linear_2.W": m[2].W.copy(), "linear_2.W0": m[2].W0.copy()}
    got["z_1"] = m[0].forward(X)
    got["a_1"] = m[1].forward(got["z_1"])
    got["z_2"] = m[2].forward(got["a_1"])
    got["a_2"] = m[3].forward(got["z_2"])
    got["loss"] = net.loss.forward(got["a_2"], Y)
    got["dloss"] = net.loss.backward()
    got["dL_dz2"] = m[3].backward(got["dloss"])
    got["dL_da1"] = m[2].backward(got["dL_dz2"])
    got["dL_dz1"] = m[1].backward(got["dL_da1"])
    got["dL_dX"] = m[0].backward(got["dL_dz1"])
    m[0].sgd_step(0.005)
    m[2].sgd_step(0.005)
    got |= {
        "updated_linear_1.W": m[0].W,
        "updated_linear_1.W0": m[0].W0,
        "updated_linear_2.W": m[2].W,
        "updated_linear_2.W0": m[2].W0,
    }
    assert got["dL_dz2"] is got["dloss"]
    for key in case["expected"]:
        close(case, got[key], key)


@pytest.mark.parametrize(("name", "iters"), [("nn_tanh_test", 1), ("nn_relu_test", 2)])
def test_sgd(library, name, iters):
    case = CASES[name]
    net = build(library, case)
    assert net.sgd(*data("super_simple_separable"), iters, 0.005) is None
    for got, wanted in zip(
        stacked(net), case["expected"]["[vstack(W,W0.T) for m in (0,2)]"], strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=case["rtol"], atol=case["atol"])


def test_mini_gd(library):
    case = CASES["mini_gd_test"]
    net = build(library, case)
    assert net.mini_gd(*data("super_simple_separable"), iters=3, lrate=0.005, K=1) is None
    for i, wanted in case["expected"]["weights"].items():
        for name, values in wanted.items():
            np.testing.assert_allclose(
                getattr(net.modules[int(i)], name), values, rtol=case["rtol"], atol=case["atol"]
            )
    loss = net.loss.forward(net.loss.Ypred, net.loss.Y)
    np.testing.assert_allclose(loss, case["expected"]["last_iter_loss"], rtol=case["rtol"])


def test_prediction(library):
    case = CASES["nn_pred_test"]
    net = build(library, case)
    X, Y = data("super_simple_separable")
    net.sgd(X, Y, 1, 0.005)
    Ypred = net.forward(X)
    assert (
        net.modules[-1].class_fun(Ypred).tolist()
        == case["expected"]["c"]
        == net.predict(X).tolist()
    )
    loss = net.loss.forward(Ypred, Y)
    assert repr([loss]).startswith("[8.56")
    close(case, loss, "l")


def test_print_accuracy(library, capsys):
    case = CASES["print_accuracy"]
    net = build(library, case)
    X, Y = data("hard")
    for it in (0, 1, 250, 251, 501):
        net.print_accuracy(it, X, Y, 0.5)
    net.print_accuracy(11, X, Y, 1.25, every=10)
    assert capsys.readouterr().out == case["expected"]["stdout"]


def test_every_case_is_run_or_named():
    text = Path(__file__).read_text()
    assert set(CASES) == {name for name in CASES if f'"{name}"' in text}


def test_the_later_courses_tests_receive_the_classes(library):
    def test_sequential(Sequential, Linear, Tanh, ReLU, SoftMax, NLL):
        np.random.seed(0)
        net = Sequential(
            [Linear(2, 3), Tanh(), Linear(3, 3), ReLU(), Linear(3, 2), SoftMax()], NLL()
        )
        X, Y = data("hard")
        before = net.loss.forward(net.forward(X), Y)
        for _ in range(100):
            net.loss.forward(net.forward(X), Y)
            net.backward(net.loss.backward())
            net.step(0.005)
        return before, net.loss.forward(net.forward(X), Y)

    before, after = test_sequential(
        *(getattr(library, n) for n in ("Sequential", "Linear", "Tanh", "ReLU", "SoftMax", "NLL"))
    )
    assert after < before
