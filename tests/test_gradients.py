"""Gradients: the NumPy backend against the complex step, the compiled backend against the NumPy
one.

The complex step, Im f(x + ih) / h with h = 1e-200, has no cancellation and so is exact to rounding
wherever f is analytic (Squire and Trapp 1998, SIAM Review 40, 110-112). Here f is written down once
more, for complex numbers, as the notes have it.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FROM_LOGITS, LEVELS, assert_close, copy_net, gradients, make_data, make_net

import nncore
from nncore import _core, reference
from nncore.kernels import compiled, numpy_kernels

H = 1e-200
ANALYTIC = {"none": lambda z: z, "tanh": np.tanh, "sigmoid": lambda z: 1 / (1 + np.exp(-z))}
OUTPUTS = [
    ("softmax", "nll"),
    ("output_sigmoid", "binary_nll"),
    ("none", "squared"),
    ("none", "hinge"),
]
ACTIVATIONS = [*ANALYTIC, "relu"]


def complex_loss(stages, loss, parameters, X, Y):
    """The summed loss of a chain with the given (complex) parameters instead of its own."""
    A, parameters = X, iter(parameters)
    for linear, activation in stages:
        if linear:
            A = next(parameters).T @ A + next(parameters)
        if activation in ANALYTIC:
            A = ANALYTIC[activation](A)
    if loss == "nll":
        return -np.sum(Y * (A - np.log(np.exp(A).sum(axis=0))))
    if loss == "squared":
        return np.sum((A - Y) ** 2)
    if loss == "hinge":
        return np.sum(np.where(Y * A.real < 1, 1 - Y * A, 0))
    return np.sum(Y * np.log(1 + np.exp(-A)) + (1 - Y) * np.log(1 + np.exp(A)))


def complex_step(stages, loss, X, Y):
    """d loss / d parameter for every W and W0, first to last."""
    parameters = [
        w.astype(complex) for linear, _ in stages if linear for w in (linear.W, linear.W0)
    ]
    found = []
    for w in parameters:
        gradient = np.empty(w.shape)
        for at in np.ndindex(w.shape):
            w[at] += 1j * H
            gradient[at] = complex_loss(stages, loss, parameters, X, Y).imag / H
            w[at] -= 1j * H
        found.append(gradient)
    return found


def flatten(pairs):
    return [g for pair in pairs for g in pair]


def assert_gradients_close(actual, expected, tolerance=1e-13):
    """Relative to the largest entry of all of the network's gradients of one kind, or to 1: small
    ones are differences of large."""
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert_close(a, e, f"gradient {i}", max(1.0, np.abs(e).max()), tolerance)


@st.composite
def networks(draw, activations=ACTIVATIONS, widest=7):
    """(spec, batch, seed): random stacks with Linears side by side, activations in a row and each
    output and loss."""
    inputs, layers = draw(st.integers(1, widest)), []
    for _ in range(draw(st.integers(0, 3))):
        activation = draw(st.sampled_from(activations))
        bare = activation != "none" and draw(st.integers(0, 3)) == 0
        layers.append(activation if bare else (draw(st.integers(1, widest)), activation))
    output, loss = draw(st.sampled_from(OUTPUTS))
    layers.append((draw(st.integers(1, 5)), output))
    return (inputs, layers, loss), draw(st.integers(1, 5)), draw(st.integers(0, 10**6))


# ----------------------------------------------------------------------------------- single kernels


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_derivatives_of_the_activations(name):
    z = np.concatenate([np.linspace(-6, 6, 101), [0.0, 1e-9, -1e-9, 20.0, -20.0]])[None]
    exact = ANALYTIC[name](z + 1j * H).imag / H
    a = getattr(numpy_kernels, name + "_forward")(z)
    # near ±1 both derivatives are the difference of 1 and a number known to half an ulp
    assert_close(
        getattr(numpy_kernels, name + "_backward")(np.ones_like(z), a), exact, name, 1.0, 1e-15
    )


def test_derivative_of_linear():
    rng = np.random.default_rng(0)
    W, W0, A, weight = (
        rng.normal(size=(4, 3)),
        rng.normal(size=(3, 1)),
        rng.normal(size=(4, 5)),
        rng.normal(size=(3, 5)),
    )

    def step(wanted):
        found = np.empty(wanted.shape)
        for at in np.ndindex(wanted.shape):
            arrays = [x.astype(complex) for x in (W, W0, A)]
            arrays[[W is wanted, W0 is wanted, A is wanted].index(True)][at] += 1j * H
            found[at] = np.sum(weight * (arrays[0].T @ arrays[2] + arrays[1])).imag / H
        return found

    for actual, wanted in zip(numpy_kernels.linear_backward(weight, A, W), (A, W, W0), strict=True):
        assert_close(actual, step(wanted), scale=np.abs(weight).sum())


@pytest.mark.parametrize(
    "loss, classes",
    [
        ("nll", 1),
        ("nll", 2),
        ("nll", 5),
        ("binary_nll", 1),
        ("binary_nll", 4),
        ("squared", 3),
        ("hinge", 1),
        ("hinge", 4),
    ],
)
def test_derivative_of_the_losses(loss, classes):
    """By the logits, with labels that are one-hot, soft, all zero and not normalised."""
    rng = np.random.default_rng(classes)
    Z = rng.normal(0, 3, (classes, 4))
    Y = np.stack(
        [
            np.eye(classes)[0],
            np.full(classes, 1 / classes),
            np.eye(classes)[-1],
            np.eye(classes)[classes // 2],
        ],
        1,
    )
    Y = 2 * np.rint(Y) - 1 if loss == "hinge" else Y
    value, gradient = getattr(numpy_kernels, FROM_LOGITS[loss])(Z, Y)
    bare = [(None, "none")]
    assert_close(np.array(value), np.array(complex_loss(bare, loss, [], Z, Y)))
    for at in np.ndindex(Z.shape):
        moved = Z.astype(complex)
        moved[at] += 1j * H
        assert abs(gradient[at] - complex_loss(bare, loss, [], moved, Y).imag / H) <= 1e-13


def test_derivative_of_relu_by_finite_differences_and_zero_at_the_kink():
    z = np.array([[-3.0, -1e-3, 1e-3, 0.5, 7.0]])
    forward = numpy_kernels.relu_forward
    slope = (forward(z + 1e-6) - forward(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(
        numpy_kernels.relu_backward(np.ones_like(z), forward(z)), slope, atol=1e-9
    )
    assert numpy_kernels.relu_backward(
        np.ones((1, 2)), forward(np.array([[0.0, -0.0]]))
    ).tolist() == [[0, 0]]


# ----------------------------------------------------------------------------------- whole networks


@given(networks(activations=list(ANALYTIC)))
@settings(max_examples=40, deadline=None)
def test_networks_against_the_complex_step(network):
    spec, batch, seed = network
    stages, loss = make_net(spec, np.float64, seed)
    X, Y = make_data(spec, loss, batch, np.float64, seed + 1)
    value, found = gradients(numpy_kernels, stages, loss, X, Y)
    exact = complex_loss(
        stages, loss, [w for linear, _ in stages if linear for w in (linear.W, linear.W0)], X, Y
    )
    assert abs(value - exact) <= 1e-13 * max(1, abs(exact))
    assert_gradients_close(flatten(found), complex_step(stages, loss, X, Y))


@given(networks(activations=["relu", "tanh"], widest=4))
@settings(max_examples=25, deadline=None)
def test_networks_with_relu_by_finite_differences(network):
    """Away from kinks: where the two one-sided slopes agree."""
    spec, batch, seed = network
    stages, loss = make_net(spec, np.float64, seed)
    X, Y = make_data(spec, loss, batch, np.float64, seed + 1)
    value, found = gradients(numpy_kernels, stages, loss, X, Y)
    for linear, (dLdW, _) in zip([s for s, _ in stages if s], found, strict=True):
        kept = linear.W.copy()
        for at in np.ndindex(kept.shape):
            sides = []
            for h in (1e-6, -1e-6):
                linear.W[at] = kept[at] + h
                sides.append((gradients(numpy_kernels, stages, loss, X, Y)[0] - value) / h)
            linear.W[at] = kept[at]
            if abs(sides[0] - sides[1]) < 1e-4:
                assert abs(dLdW[at] - sum(sides) / 2) <= 1e-6 * max(1, abs(dLdW[at]))


@given(networks(widest=40), st.sampled_from(LEVELS), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=80, deadline=None)
def test_compiled_networks_against_numpy(network, level, dtype):
    if level not in _core.isa_levels():
        return
    spec, batch, seed = network
    stages, loss = make_net(spec, dtype, seed)
    X, Y = make_data(spec, loss, batch, dtype, seed + 1)
    expected_value, expected = gradients(numpy_kernels, stages, loss, X, Y)
    before = _core.get_isa()
    _core.set_isa(level)
    try:
        value, found = gradients(compiled, stages, loss, X, Y)
    finally:
        _core.set_isa(before)
    tolerance = (
        1e-13 if dtype == np.float64 else 5e-6
    )  # a chain of layers multiplies the rounding of each
    assert_close(dtype(value), dtype(expected_value), "loss", max(1.0, expected_value))
    assert_gradients_close(flatten(found), flatten(expected), tolerance)


# ------------------------------------------------------------------------------------ the layer API


MODULES = {
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "ReLU",
    "softmax": "SoftMax",
    "output_sigmoid": "OutputSigmoid",
}


def as_sequential(library, stages, loss):
    chain = []
    for linear, activation in stages:
        if linear:
            layer = library.Linear(*linear.W.shape)
            layer.W, layer.W0 = linear.W.copy(), linear.W0.copy()
            chain.append(layer)
        if activation != "none":
            chain.append(getattr(library, MODULES[activation])())
    names = {"nll": "NLL", "binary_nll": "BinaryNLL", "squared": "Squared", "hinge": "Hinge"}
    return library.Sequential(chain, getattr(library, names[loss])())


@pytest.mark.parametrize("library", [nncore, reference], ids=["compiled", "numpy"])
@pytest.mark.parametrize("hidden", ANALYTIC)
@pytest.mark.parametrize(("output", "loss"), OUTPUTS)
@pytest.mark.parametrize("batch", [1, 4])
def test_modules_and_losses_against_the_complex_step(library, hidden, output, loss, batch):
    """forward, loss.forward, loss.backward, backward: every hidden layer with every loss."""
    spec = (4, [(5, hidden), (6, "tanh"), (3, output)], loss)
    stages, loss = make_net(spec, np.float64, 3)
    X, Y = make_data(spec, loss, batch, np.float64, 4)
    net = as_sequential(library, stages, loss)
    value = net.loss.forward(net.forward(X), Y)
    exact = complex_loss(
        stages, loss, [w for linear, _ in stages if linear for w in (linear.W, linear.W0)], X, Y
    )
    assert abs(value - exact) <= 1e-13 * exact
    net.backward(net.loss.backward())
    found = [
        g for module in net.modules if hasattr(module, "W") for g in (module.dLdW, module.dLdW0)
    ]
    assert_gradients_close(found, complex_step(stages, loss, X, Y))


def test_the_comparison_fails_for_a_gradient_off_by_a_little():
    spec = (4, [(5, "tanh"), (3, "softmax")])
    stages, loss = make_net(spec, np.float64)
    X, Y = make_data(spec, loss, 2, np.float64)
    exact = complex_step(stages, loss, X, Y)
    assert_gradients_close(flatten(gradients(numpy_kernels, stages, loss, X, Y)[1]), exact)
    slightly = copy_net(stages)
    slightly[0][0].W[0, 0] += 1e-11
    with pytest.raises(AssertionError, match="off by"):
        assert_gradients_close(flatten(gradients(numpy_kernels, slightly, loss, X, Y)[1]), exact)
