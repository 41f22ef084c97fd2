"""fit on an iterable of (X, Y) blocks."""

import gc
import re
import weakref

import numpy as np
import pytest
from test_training import by_modules, data, make, weights

import nncore as nn
from nncore import callbacks
from nncore.training import fit

X, Y = data()
LABELS = Y.argmax(0)
PARTS = (slice(0, 9), slice(9, 10), slice(10, 23))
BLOCKS = [(X[:, part], LABELS[part]) for part in PARTS]
OPTIMIZERS = ("sgd", "momentum", "adam")


class Loader:
    """Blocks that can be read as often as one likes."""

    def __init__(self, blocks):
        self.blocks, self.reads = blocks, 0

    def __iter__(self):
        self.reads += 1
        return iter(self.blocks)


def loop(net, epochs, seed, optimizer, **settings):
    """The same training by partial_fit; the mean losses."""
    rng, losses = np.random.default_rng(seed), []
    optimizer = {"sgd": nn.optimizers.SGD, "adam": nn.optimizers.Adam}.get(
        optimizer, nn.optimizers.Momentum
    )()
    for _ in range(epochs):
        total = 0
        for x, y in BLOCKS:
            order = rng.permutation(x.shape[1])
            total += len(order) * net.partial_fit(
                x[:, order], y[order], optimizer=optimizer, **settings
            )
        losses.append(total / X.shape[1])
    return losses


@pytest.mark.parametrize("chain", [make, lambda: by_modules(make())], ids=["program", "modules"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_each_block_is_a_pass_in_random_order(backend, chain, optimizer, batch_size):
    settings = {"batch_size": batch_size, "l2": 0.01, "reduction": "sum", "lrate": 0.01}
    net, twin = chain(), chain()
    losses = loop(twin, 3, 5, optimizer, **settings)
    history = net.fit(BLOCKS, epochs=3, seed=5, optimizer=optimizer, **settings)
    assert list(history) == ["loss"]
    assert history["loss"] == pytest.approx(losses, rel=1e-12)
    assert all(map(np.array_equal, weights(net), weights(twin)))
    assert net.optimizer.t == twin.optimizer.t == 3 * sum(-(-n // batch_size) for n in (9, 1, 13))


def test_one_block_is_an_ordinary_fit(backend):
    one, two = make(), make()
    assert one.fit([(X, Y)], epochs=3, seed=1) == two.fit(X, Y, epochs=3, seed=1)
    assert all(map(np.array_equal, weights(one), weights(two)))
    assert one.fit([(X, Y)], shuffle=False) == two.fit(X, Y, shuffle=False)


def test_kinds_of_iterables(backend):
    results = []
    for blocks in (BLOCKS, tuple(BLOCKS), Loader(BLOCKS), (list(block) for block in BLOCKS)):
        net = make()
        results.append((net.fit(blocks, seed=1), weights(net)))
    assert all(history == results[0][0] for history, _ in results)
    assert all(map(np.array_equal, results[0][1], results[3][1]))
    loader = Loader(BLOCKS)
    make().fit(loader, epochs=4)
    assert loader.reads == 4
    never = iter(BLOCKS)
    assert make().fit(never, epochs=0) == {"loss": []} and len(list(never)) == 3


def test_rates_count_the_steps_of_the_call(backend):
    seen = []
    net = make()
    net.fit(BLOCKS, epochs=2, batch_size=4, lrate=lambda t: seen.append(t) or 0.1)
    assert seen == list(range(1, 2 * (3 + 1 + 4) + 1))
    net = nn.Sequential([nn.Linear(5, 1)], nn.Squared())
    blocks = [(X[:, :9], X[0, :9]), (X[:, 9:10], X[0, 9:10] * 1e200)]  # of 3 steps and of 1
    net.fit(blocks[:1], batch_size=4)
    for optimizer in (None, net.optimizer):  # the steps that it has taken before do not count
        with pytest.raises(FloatingPointError, match="at step 4:"):
            net.fit(blocks, batch_size=4, optimizer=optimizer)


def test_validation_callbacks_and_progress(backend, capsys):
    stop = callbacks.EarlyStopping(monitor="validation_loss", patience=1)
    seen = []
    net = make()
    history = net.fit(
        BLOCKS,
        epochs=5,
        seed=0,
        validation=(X, LABELS),
        callbacks=[stop, lambda n, h: seen.append(n.evaluate(X, Y)) or len(seen) == 3],
        progress=True,
    )
    assert list(history) == ["loss", "validation_loss", "validation_accuracy"]
    assert list(zip(*list(history.values())[1:], strict=True)) == seen and len(seen) == 3


def test_a_block_is_released_before_the_next_one_is_made():
    class Array(np.ndarray):
        pass

    alive = []

    def blocks():
        for x, y in BLOCKS * 3:
            gc.collect()
            assert not any(ref() is not None for ref in alive)
            x = x.copy().view(Array)
            alive.append(weakref.ref(x))
            yield x, y
            del x

    make().fit(blocks())
    assert len(alive) == 9


def test_blocks_of_a_kept_program_take_the_short_way():
    net = make()
    net.fit(BLOCKS, seed=0)
    calls = fit._engine_cache.get(net).calls
    net.fit([(x.copy(), y) for x, y in BLOCKS], seed=0, optimizer=net.optimizer)
    assert fit._engine_cache.get(net).calls == calls + 3


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("blocks", "settings", "error", "message"),
    [
        ((b for b in BLOCKS), {"epochs": 2}, ValueError,
         "blocks must be iterable 2 times for epochs=2, got generator, which can be read once; "
         "pass a list or an object whose __iter__ starts anew, or epochs=1"),
        (X, {}, TypeError, "Y must be given for X of type ndarray; only blocks of (X, Y) go"),
        ("text", {}, TypeError, "Y must be given for X of type str"),
        (5, {}, TypeError, "X must be an array, with Y, or an iterable of blocks (X, Y), got int"),
        ([], {}, ValueError, "X must yield at least one block (X, Y), got none"),
        (BLOCKS, {"validation": 0.2}, ValueError,
         "validation must be a pair (X, Y) or None if X is an iterable of blocks, got 0.2"),
        (BLOCKS, {"validation": (X, LABELS + 1)}, ValueError, "Y of validation must hold integers"),
        (BLOCKS, {"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        (BLOCKS, {"lrate": -1.0}, ValueError, "lrate"),
        (BLOCKS, {"seed": -1}, ValueError, "seed must be None"),
        ([(X[:4], LABELS)], {}, ValueError, "X of blocks[0] must have shape (5, N), got (4, 23)"),
        ([(X[:, :0], LABELS[:0])], {}, ValueError, "X of blocks[0] must hold at least one sample"),
        ([X], {}, TypeError, "blocks[0] must be a pair (X, Y), got float64 (5, 23)"),
        ([(X,)], {}, TypeError, "blocks[0] must be a pair (X, Y), got a tuple of 1"),
    ],
)  # fmt: skip
def test_refused_before_the_first_step(backend, blocks, settings, error, message):
    net = make()
    before = weights(net)
    with pytest.raises(error, match=re.escape(message)):
        net.fit(blocks, **settings)
    assert all(map(np.array_equal, weights(net), before))
    assert net.fit(BLOCKS)["loss"]  # it can be trained


@pytest.mark.parametrize(
    ("block", "error", "message"),
    [
        ((X, LABELS + 1), ValueError, "Y of blocks[2] must hold integers from 0 to 2"),
        ((X * np.nan, LABELS), ValueError, "X of blocks[2] must be finite"),
        (None, TypeError, "blocks[2] must be a pair (X, Y), got NoneType"),
        ((X, "abc"), TypeError, "Y of blocks[2] must be a real array"),
    ],
)
@pytest.mark.parametrize("chain", [make, lambda: by_modules(make())], ids=["program", "modules"])
def test_a_wrong_block_leaves_the_steps_before_it(backend, chain, block, error, message):
    net, twin = chain(), chain()
    with pytest.raises(error, match=re.escape(message)) as caught:
        net.fit([*BLOCKS[:2], block], seed=0)
    assert caught.value.__cause__ is not None
    twin.fit(BLOCKS[:2], seed=0)
    assert all(map(np.array_equal, weights(net), weights(twin)))
    assert net.optimizer.t == 2


def test_the_epoch_of_a_wrong_block_is_named():
    class Shrinking(Loader):
        def __iter__(self):
            self.reads += 1
            return iter(self.blocks[: 1 if self.reads == 1 else 0])

    with pytest.raises(ValueError, match=r"at least one block \(X, Y\), got none in epoch 2"):
        make().fit(Shrinking(BLOCKS), epochs=3)


def test_errors_of_the_iterable_pass_unchanged():
    def broken():
        yield BLOCKS[0]
        raise ValueError("X marks the spot")

    with pytest.raises(ValueError, match=r"^X marks the spot$"):
        make().fit(broken())

    def trains():
        net.fit(X, Y)
        yield BLOCKS[0]

    net = make()
    with pytest.raises(RuntimeError, match="trained by two calls"):
        net.fit(trains())
    net.fit(X, Y)
