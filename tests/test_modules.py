"""Modules and losses by themselves: the course's contract, what steps change, and what is
refused."""

import copy
import pickle

import numpy as np
import pytest

import nncore as nn


@pytest.fixture(autouse=True, params=["numpy", "compiled"])
def backend(request):
    with nn.use_backend(request.param):
        yield request.param


def linear(m=3, n=2, **options):
    np.random.seed(1)
    return nn.Linear(m, n, **options)


def test_initialisations_draw_as_they_say():
    np.random.seed(5)
    module = nn.Linear(4, 3)
    np.random.seed(5)
    assert np.array_equal(module.W, np.random.normal(0, 4**-0.5, (4, 3))) and not module.W0.any()
    state = np.random.get_state()[1:3]
    np.random.seed(5)
    nn.Linear(4, 3)
    assert (
        np.array_equal(np.random.get_state()[1], state[0]) and np.random.get_state()[2] == state[1]
    )
    np.random.seed(5)
    module = nn.Linear(4, 3, init="notes")
    np.random.seed(5)
    assert np.array_equal(module.W, np.random.normal(0, 4**-0.5, (4, 3)))
    assert np.array_equal(module.W0, np.random.normal(0, 1, (3, 1)))
    np.random.seed(5)
    module = nn.Linear(8, 3, init="he")
    np.random.seed(5)
    assert np.array_equal(module.W, np.random.normal(0, 0.5, (8, 3))) and not module.W0.any()
    assert nn.Linear(2, 2, init=lambda m, n: (np.ones((m, n)), np.ones((n, 1)))).W0.all()
    assert (
        nn.Linear(2, 3, dtype=np.float32).W.dtype
        == nn.Linear(2, 3, dtype="float32").W0.dtype
        == np.float32
    )


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((0, 2), {}, ValueError),
        ((2, 0), {}, ValueError),
        ((-1, 2), {}, ValueError),
        ((2.0, 2), {}, TypeError),
        ((True, 2), {}, TypeError),
        ((2, 2), {"init": "zeros"}, ValueError),
        ((2, 2), {"dtype": np.float16}, TypeError),
        ((2, 2), {"dtype": "nonsense"}, TypeError),
        ((2, 2), {"init": lambda m, n: np.zeros((m, n))}, TypeError),
        ((2, 2), {"init": lambda m, n: (np.zeros((m, n)), np.zeros(n))}, ValueError),
    ],
)
def test_linear_refuses(arguments, options, error):
    with pytest.raises(error, match="must"):
        nn.Linear(*arguments, **options)


def test_forward_keeps_the_very_input_and_backward_needs_one():
    module = linear()
    with pytest.raises(RuntimeError, match="must follow"):
        module.backward(np.ones((2, 1)))
    with pytest.raises(RuntimeError, match="must follow"):
        module.step(0.1)
    assert not hasattr(module, "dLdW") and not hasattr(module, "dLdW0")
    A = np.arange(6).reshape(3, 2)
    module.forward(A)
    assert module.A is A
    for activation in (nn.Tanh(), nn.ReLU(), nn.Sigmoid()):
        with pytest.raises(RuntimeError, match="must follow"):
            activation.backward(np.ones((2, 1)))
        Z = np.array([[1.0, -1.0]])
        assert activation.forward(Z) is activation.A and np.array_equal(Z, [[1.0, -1.0]])


@pytest.mark.parametrize(
    "bad", [np.ones(3), np.ones((2, 3)), np.ones((4, 1)), 1.0, np.ones((3, 1, 1))]
)
def test_linear_names_the_wrong_shape(bad):
    with pytest.raises(ValueError, match=r"A must have shape \(3, b\), got"):
        linear().forward(bad)


def test_hints():
    with pytest.raises(ValueError, match="X\\[:, j:j\\+1\\]"):
        linear().forward(np.ones(3))
    with pytest.raises(ValueError, match="samples are columns"):
        linear().forward(np.ones((5, 3)))


@pytest.mark.parametrize(
    "bad", [np.ones((3, 1), complex), np.array([["a"]]), np.array([[None], [1], [2]]), None]
)
def test_linear_names_the_wrong_type(bad):
    with pytest.raises(TypeError, match="A must be a real array"):
        linear().forward(bad)


def test_unsummed_gradient_is_refused_and_changes_nothing():
    module = linear()
    module.forward(np.ones((3, 4)))
    module.backward(np.ones((2, 4)))
    module.dLdW0 = np.ones((2, 4))
    before = module.W.copy(), module.W0.copy()
    with pytest.raises(ValueError, match=r"dLdW0 must have shape \(2, 1\), got \(2, 4\)"):
        module.step(0.1)
    assert np.array_equal(module.W, before[0]) and np.array_equal(module.W0, before[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "layout",
    [
        np.ascontiguousarray,
        np.asfortranarray,
        lambda W: np.repeat(W, 2, 1)[:, ::2],
        lambda W: W[::-1],
    ],
)
def test_a_step_updates_the_weights_own_memory(dtype, layout):
    module = linear(dtype=dtype)
    module.W = W = layout(module.W)
    W0 = module.W0
    module.forward(np.ones((3, 2)))
    module.backward(np.ones((2, 2)))
    wanted = W - 0.5 * module.dLdW
    assert module.step(0.5) is None
    assert module.W is W and module.W0 is W0
    np.testing.assert_allclose(W, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "given", [np.int64, np.uint8, bool, np.float16, np.longdouble, ">f8", ">f4"]
)
def test_a_step_rebinds_once_what_it_cannot_update(given):
    module = linear()
    module.W = np.ones((3, 2)).astype(given)
    module.forward(np.ones((3, 1)))
    module.backward(np.ones((2, 1)))
    module.sgd_step(0.5)
    rebound = module.W
    assert rebound.dtype == np.float64 and np.array_equal(rebound, np.full((3, 2), 0.5))
    module.sgd_step(0.5)
    assert module.W is rebound


def test_a_step_refuses_read_only_and_foreign_weights():
    for bad, error in (
        (np.ones((3, 2), complex), TypeError),
        (np.ones((3, 2), object), TypeError),
        (np.ones((2, 3)), ValueError),
        (np.ones(3), ValueError),
    ):
        module = linear()
        module.forward(np.ones((3, 1)))
        module.backward(np.ones((2, 1)))
        W0 = module.W0.copy()
        module.W = bad
        with pytest.raises(error, match="must"):
            module.step(0.1)
        assert module.W is bad and np.array_equal(module.W0, W0)
    module = linear()
    module.forward(np.ones((3, 1)))
    module.backward(np.ones((2, 1)))
    module.W0.flags.writeable = False
    W = module.W.copy()
    with pytest.raises(ValueError, match="W0 must be writeable"):
        module.step(0.1)
    assert np.array_equal(module.W, W)


def test_relu_keeps_whole_numbers_and_has_no_gradient_at_zero():
    module = nn.ReLU()
    A = module.forward(np.array([[-1, 0, 2]]))
    assert A.dtype == np.int64 and A.tolist() == [[0, 0, 2]]
    assert module.backward(np.array([[5, 5, 5]])).tolist() == [[0, 0, 5]]


def test_softmax_is_stable_and_hands_the_gradient_through():
    module = nn.SoftMax()
    assert module.forward(np.array([[1e3, -1e3], [-1e3, 1e3]])).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    gradient = np.ones((2, 1))
    assert module.backward(gradient) is gradient
    assert nn.OutputSigmoid().backward(gradient) is gradient
    assert module.class_fun(np.array([[0.5, 0.1], [0.5, 0.9]])).tolist() == [0, 1]
    assert nn.OutputSigmoid().class_fun(np.array([[0.5, 0.6]])).tolist() == [0, 1]
    assert nn.OutputSigmoid().class_fun(np.array([[0.4, 0.6], [0.7, 0.1]])).tolist() == [
        [0, 1],
        [1, 0],
    ]


def test_losses_per_sample_sum_and_limits():
    P, Y = np.array([[0.25, 0.0, 1.0], [0.75, 1.0, 0.0]]), np.array([[1, 0, 0], [0, 1, 1]])
    loss = nn.NLL()
    np.testing.assert_allclose(loss.per_sample(P, Y), [np.log(4), 0, np.inf])
    assert loss.forward(P[:, :2], Y[:, :2]) == pytest.approx(np.log(4)) and loss.Ypred.base is P
    assert np.array_equal(loss.backward(), P[:, :2] - Y[:, :2])
    binary = nn.BinaryNLL()
    got = binary.per_sample(np.array([[0.5, 1.0], [0.25, 0.0]]), np.array([[1, 1], [0, 0]]))
    np.testing.assert_allclose(got, [np.log(2) - np.log(0.75), 0])
    with pytest.raises(RuntimeError, match="must follow"):
        nn.NLL().backward()
    with pytest.raises(ValueError, match="Y must have shape"):
        loss.forward(P, Y[:, :2])


class ByStep(nn.Module):
    def __init__(self):
        self.calls = 0

    def step(self, lrate):
        self.calls += 1


class BySgdStep(nn.Module):
    def __init__(self):
        self.calls = 0

    def sgd_step(self, lrate):
        self.calls += 1


class LinearByStep(nn.Linear):
    calls = 0

    def step(self, lrate):
        self.calls += 1
        self.sgd_step(lrate)


@pytest.mark.parametrize("cls", [ByStep, BySgdStep])
def test_either_name_steps_exactly_once(cls):
    module = cls()
    module.step(0.1)
    module.sgd_step(0.1)
    assert module.calls == 2
    nn.Sequential([module], None).step(0.1)
    nn.Sequential([module], None).sgd_step(0.1)
    assert module.calls == 4
    nn.Module().step(0.1)
    nn.Module().sgd_step(0.1)


def test_a_subclass_of_linear_steps_by_its_own_name_and_once():
    np.random.seed(1)
    module = LinearByStep(3, 2)
    module.forward(np.ones((3, 1)))
    module.backward(np.ones((2, 1)))
    W = module.W.copy()
    nn.Sequential([module], None).sgd_step(0.5)
    assert module.calls == 1
    np.testing.assert_allclose(module.W, W - 0.5 * module.dLdW)


def test_pickle_deepcopy_and_repr():
    for module in (
        linear(),
        nn.Tanh(),
        nn.ReLU(),
        nn.Sigmoid(),
        nn.SoftMax(),
        nn.OutputSigmoid(),
        nn.NLL(),
        nn.BinaryNLL(),
        nn.reference.Linear(2, 2),
    ):
        for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
            assert type(twin) is type(module) and repr(twin) == repr(module)
    assert (
        repr(linear()) == "Linear(3, 2)"
        and repr(linear(dtype=np.float32)) == "Linear(3, 2, dtype=float32)"
    )


def test_backends_are_switched_and_named(backend):
    assert nn.get_backend() == backend
    with nn.use_backend("numpy"):
        assert nn.get_backend() == "numpy"
    assert nn.get_backend() == backend
    with pytest.raises(ValueError, match="backend must be one of"):
        nn.use_backend("torch")


def test_the_functions_of_the_kernels_package_are_the_live_backend_s(backend):
    from nncore import kernels

    live = {"numpy": kernels.numpy_kernels, "compiled": kernels.compiled}
    for name in kernels.numpy_kernels.__all__:
        assert getattr(kernels, name) is getattr(live[backend], name)
    with nn.use_backend("numpy"):
        assert kernels.softmax_nll is kernels.numpy_kernels.softmax_nll
    assert kernels.softmax_nll is live[backend].softmax_nll


def test_reference_modules_run_on_numpy_whatever_is_live(monkeypatch):
    from nncore.kernels import compiled

    for name in nn.kernels.numpy_kernels.__all__:
        monkeypatch.setattr(compiled, name, None)
    ref = nn.reference
    np.random.seed(0)
    net = ref.Sequential(
        [
            ref.Linear(3, 4),
            ref.Tanh(),
            ref.Linear(4, 4),
            ref.ReLU(),
            ref.Linear(4, 4),
            ref.Sigmoid(),
            ref.Linear(4, 2),
            ref.SoftMax(),
        ],
        ref.NLL(),
    )
    X, Y = np.ones((3, 5)), np.eye(2)[[0, 1, 0, 1, 1]].T
    net.sgd(X, Y, 3, 0.1)
    net.fit(X, Y, epochs=1)
    assert net.evaluate(X, Y)[0] > 0


def test_an_output_at_the_boundary_belongs_to_the_class_that_is_documented():
    """Hinge: 0 or more is +1; OutputSigmoid: more than 1/2 is 1; SoftMax: the first of equal
    ones."""
    assert nn.Hinge().class_fun([[0.0, -0.0, 1e-300, -1e-300]]).tolist() == [1, 1, 1, -1]
    assert nn.OutputSigmoid().class_fun([[0.5, np.nextafter(0.5, 1)]]).tolist() == [0, 1]
    assert nn.SoftMax().class_fun([[0.3, 0.4], [0.4, 0.3], [0.4, 0.4]]).tolist() == [1, 0]


@pytest.mark.parametrize("kind", [np.uint8, np.bool_, np.int64])
@pytest.mark.parametrize("loss", [nn.NLL, nn.BinaryNLL])
def test_gradients_of_whole_numbers_have_signs(loss, kind):
    """Outputs and labels of 0 and 1 in types without negative numbers: their difference is one of
    float64."""
    loss = loss()
    loss.forward(np.array([[1, 0], [0, 1]], kind), np.array([[0, 0], [1, 1]], kind))
    assert loss.backward().tolist() == [[1, 0], [-1, 0]] and loss.backward().dtype == np.float64
