"""mini_gd: the course's loop, on both backends and both ways of running."""

import copy
import warnings

import numpy as np
import pytest
from test_training import by_modules, data, make, same, weights


def courses_loop(net, X, Y, iters, lrate, K):
    """What the course's contract says, with copies of X and Y permuted anew for each pass."""
    np.random.seed(0)
    indices, t = np.arange(X.shape[1]), 0
    while t < iters:
        np.random.shuffle(indices)
        X, Y = X[:, indices], Y[:, indices]
        for j in range(X.shape[1] // K):
            if t == iters:
                break
            net.loss.forward(net.forward(X[:, j * K : (j + 1) * K]), Y[:, j * K : (j + 1) * K])
            net.backward(net.loss.backward())
            t += 1
            net.sgd_step(lrate(t) if callable(lrate) else lrate)


@pytest.mark.parametrize("chain", [make, lambda: by_modules(make())], ids=["program", "modules"])
@pytest.mark.parametrize("K", [1, 4, 10, 23])
@pytest.mark.parametrize("iters", [0, 1, 3, 4, 37])
@pytest.mark.parametrize("rate", [0.02, lambda t: 0.05 / t], ids=["number", "function"])
def test_it_is_the_courses_loop(backend, chain, K, iters, rate):
    net, (X, Y) = chain(), data()
    before, wanted = (X.copy(), Y.copy()), copy.deepcopy(net)
    assert net.mini_gd(X, Y, iters, rate, K=K) is None
    after = np.random.randint(1 << 30)
    courses_loop(wanted, X, Y, iters, rate, K)
    assert after == np.random.randint(1 << 30)
    assert np.array_equal(X, before[0]) and np.array_equal(Y, before[1])
    same(weights(net), weights(wanted), 1e-11)
    for mine, theirs in zip(net.modules, wanted.modules, strict=True):
        for name in ("A", "dLdW", "dLdW0"):
            assert hasattr(mine, name) == hasattr(theirs, name)
            if hasattr(theirs, name):
                same([getattr(mine, name)], [getattr(theirs, name)], 1e-11)
    if iters:
        same([net.loss.Ypred, net.loss.Y], [wanted.loss.Ypred, wanted.loss.Y], 1e-11)


def test_ten_samples_a_batch_unless_told(backend):
    X, Y = data()
    one, two = make(), make()
    one.mini_gd(X, Y, 7, 0.1)
    two.mini_gd(X, Y, 7, 0.1, None, 10)
    assert all(map(np.array_equal, weights(one), weights(two)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"K": 24},
            ValueError,
            "K must be at most the number of samples, 23, to fill one batch, got 24",
        ),
        ({"K": 0}, ValueError, "K must be at least 1, got 0"),
        ({"K": 2.0}, TypeError, "K must be an integer"),
        ({"iters": -1}, ValueError, "iters must be at least 0"),
        ({"lrate": "slow"}, TypeError, "lrate must be a real number"),
        ({"notif_each": -1}, ValueError, "notif_each must be at least 0"),
    ],
)
def test_refused_before_anything_changes(backend, arguments, error, message):
    net, (X, Y) = make(), data()
    before, state = weights(net), np.random.get_state()[1:3]
    with pytest.raises(error, match=message):
        net.mini_gd(X, Y, **{"iters": 5, "lrate": 0.1, **arguments})
    assert (
        np.array_equal(np.random.get_state()[1], state[0]) and np.random.get_state()[2] == state[1]
    )
    assert all(map(np.array_equal, weights(net), before))


@pytest.mark.parametrize("every", [1, 3])
def test_notices(backend, capsys, every):
    net, (X, Y) = make(), data()
    twin = copy.deepcopy(net)
    net.mini_gd(X, Y, 10, 0.1, every, 4)
    lines = capsys.readouterr().out.splitlines()
    twin.mini_gd(X, Y, 10, 0.1, K=4)
    same(weights(net), weights(twin))
    assert [int(line.split()[2]) for line in lines] == list(range(every, 11, every))
    twin = make()
    twin.mini_gd(X, Y, every, 0.1, K=4)
    accuracy = np.mean(twin.predict(X) == Y.argmax(0))
    start, loss = lines[0].rsplit(" ", 1)
    assert start == f"Iteration = {every} \tAcc = {accuracy} \tLoss =" and float(
        loss
    ) == pytest.approx(twin.loss.forward(twin.loss.Ypred, twin.loss.Y), rel=1e-12)


@pytest.mark.parametrize("chain", [make, lambda: by_modules(make())], ids=["program", "modules"])
def test_a_loss_that_is_not_finite_warns_once_and_training_goes_on(backend, chain):
    net, (X, Y) = chain(), data()
    X = X.copy()
    X[0, 20] = np.nan
    twin = copy.deepcopy(net)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        net.mini_gd(X, Y, 40, 0.1, K=4)
    seen = [w for w in seen if "the loss is not finite" in str(w.message)]
    assert len(seen) == 1 and seen[0].category is RuntimeWarning and seen[0].filename == __file__
    with np.errstate(all="ignore"):
        courses_loop(twin, X, Y, 40, 0.1, 4)
    assert all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(weights(net), weights(twin), strict=True)
    )
    assert np.isnan(net.modules[0].W).any()
