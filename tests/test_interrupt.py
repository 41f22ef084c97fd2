"""Ctrl-C during training: raised soon, with the weights of a whole step and the generator where
that step left it."""

import os
import queue
import signal
import threading
import time

import numpy as np
import pytest
from support import NETS, copy_net, make_data, make_net, make_program, weights

import nncore

pytestmark = pytest.mark.alone

FOREVER = 10**12
SOON = 0.1 * float(
    os.environ.get("NNCORE_TEST_SLOWNESS", 1)
)  # seconds: the promise, on instrumented code so many times that
MOMENTS = np.random.default_rng(0).uniform(0.01, 0.07, 8).tolist()


def silent(step):
    pytest.fail(f"the loss was called not finite at step {step}")


@pytest.fixture
def ctrl_c():
    """Send SIGINT to this process after some seconds; its list `sent` gets the moment.

    The thread that sends it is running before the test begins: on a busy machine, a signal may
    come before Thread.start returns.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    delays, over = queue.SimpleQueue(), threading.Event()

    def send():
        while (seconds := delays.get()) is not None:
            if not over.wait(seconds):
                after.sent.append(time.perf_counter())
                os.kill(os.getpid(), signal.SIGINT)

    def after(seconds):
        delays.put(seconds)

    after.sent = []
    sender = threading.Thread(target=send)
    sender.start()
    yield after
    over.set()
    delays.put(None)
    sender.join()
    signal.signal(signal.SIGINT, before)


def steps_drawn(seed, samples, state):
    """How many single draws lead from the seed to the state. Blocks that stay clear of its key are
    skipped whole."""

    def key_reached():
        return np.array_equal(np.random.get_state()[1], state[1])

    block = 200  # fewer words than a key serves, rejected draws included
    np.random.seed(seed)
    for k in range(0, 10**6, block):
        before, near = np.random.get_state(), key_reached()
        np.random.randint(samples, size=block)
        if near or key_reached():
            np.random.set_state(before)
            for j in range(block):
                if np.random.get_state()[2] == state[2] and key_reached():
                    return k + j
                np.random.randint(samples)
    raise AssertionError("no number of draws leads to the generator's state")


def interrupted(call, ctrl_c, seconds):
    with pytest.raises(KeyboardInterrupt):
        ctrl_c(seconds)
        call()
    assert time.perf_counter() - ctrl_c.sent[-1] < 2 * SOON  # for a busy machine


@pytest.mark.parametrize("seconds", MOMENTS)
def test_sgd_stops_after_a_whole_step(seconds, ctrl_c):
    """The interrupted weights are bit for bit those of as many uninterrupted steps as the generator
    has made."""
    stages, loss = make_net(NETS["64-32-10"], np.float64)
    X, Y = make_data(NETS["64-32-10"], loss, 100, np.float64)
    again = copy_net(stages)
    np.random.seed(9)
    interrupted(
        lambda: make_program(stages, loss, np.float64).sgd(X, Y, FOREVER, 1e-3, silent),
        ctrl_c,
        seconds,
    )
    steps = steps_drawn(9, 100, np.random.get_state())
    np.random.seed(9)
    make_program(again, loss, np.float64).sgd(X, Y, steps, 1e-3, silent)
    assert all(
        a.tobytes() == b.tobytes() for a, b in zip(weights(stages), weights(again), strict=True)
    )


def test_sgd_with_a_rate_function_stops_after_a_whole_step(ctrl_c):
    stages, loss = make_net(NETS["odd"], np.float64)
    X, Y = make_data(NETS["odd"], loss, 100, np.float64)
    again, asked = copy_net(stages), []

    def rate(t):
        asked.append(t)
        return 1e-3

    np.random.seed(9)
    interrupted(
        lambda: make_program(stages, loss, np.float64).sgd(X, Y, FOREVER, rate, silent),
        ctrl_c,
        0.03,
    )
    state = np.random.get_state()
    results = []
    for steps in (
        len(asked) - 1,
        len(asked),
    ):  # the signal may come between a draw, the rate and the step
        net = copy_net(again)
        np.random.seed(9)
        make_program(net, loss, np.float64).sgd(X, Y, steps, lambda t: 1e-3, silent)
        results.append(weights(net))
    assert any(
        all(a.tobytes() == b.tobytes() for a, b in zip(weights(stages), r, strict=True))
        for r in results
    )
    assert steps_drawn(9, 100, state) in (len(asked) - 1, len(asked), len(asked) + 1)


def test_fit_stops_after_a_whole_step(ctrl_c):
    """The schedule sees which steps come next, so the weights must be those after one of the
    last ones it was asked for."""
    stages, loss = make_net(NETS["odd"], np.float64)
    X, Y = make_data(NETS["odd"], loss, 40, np.float64)
    again, order, asked = copy_net(stages), np.resize(np.arange(40), 40 * 100_000), []

    class Remembering(nncore.schedules.Schedule):
        def values(self, t0, count):
            asked.append((t0, count))
            return np.full(count, 1e-3)

    interrupted(
        lambda: make_program(stages, loss, np.float64).fit(X, Y, order, 8, Remembering(), 0, True),
        ctrl_c,
        0.05,
    )
    first, count = asked[-1]
    program = make_program(again, loss, np.float64)
    program.fit(X, Y, order[: 8 * (first - 1)], 8, 1e-3, 0, True)
    for step in range(first - 1, first + count):
        if all(
            a.tobytes() == b.tobytes() for a, b in zip(weights(stages), weights(again), strict=True)
        ):
            return
        program.fit(X, Y, order[8 * step : 8 * (step + 1)], 8, 1e-3, step, True)
    raise AssertionError("the weights are not those of a whole step")


def test_a_signal_handler_sees_whole_weights(ctrl_c):
    """A handler that does not raise looks at the weights while training goes on; they are those of
    a whole step."""
    stages, loss = make_net(NETS["odd"], np.float64)
    X, Y = make_data(NETS["odd"], loss, 50, np.float64)
    again, seen = copy_net(stages), []

    def look(*_):
        seen.append(([w.copy() for w in weights(stages)], np.random.get_state()))
        if len(seen) == 3:
            raise KeyboardInterrupt
        ctrl_c(0.05)  # not before: of two at once a slow machine sees one

    signal.signal(signal.SIGINT, look)
    np.random.seed(4)
    with pytest.raises(KeyboardInterrupt):
        ctrl_c(0.03)
        make_program(stages, loss, np.float64).sgd(X, Y, FOREVER, 1e-3, silent)
    for kept, state in seen:
        steps = steps_drawn(4, 50, state)
        net = copy_net(again)
        np.random.seed(4)
        make_program(net, loss, np.float64).sgd(X, Y, steps, 1e-3, silent)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(kept, weights(net), strict=True))


@pytest.mark.parametrize("call", [1, 2, 5])
def test_an_error_in_a_schedule_leaves_generator_and_weights_in_step(call):
    """Python code runs while a schedule is asked, so Ctrl-C may come there: no draws of steps that
    are not made may be gone."""
    stages, loss = make_net(NETS["odd"], np.float64)
    X, Y = make_data(NETS["odd"], loss, 50, np.float64)
    again, asked = copy_net(stages), []

    class Interrupted(nncore.schedules.Schedule):
        def values(self, t0, count):
            asked.append(t0)
            if len(asked) == call:
                raise KeyboardInterrupt
            return np.full(count, 1e-3)

    np.random.seed(4)
    with pytest.raises(KeyboardInterrupt):
        make_program(stages, loss, np.float64).sgd(X, Y, FOREVER, Interrupted(), silent)
    steps, drawn = asked[-1] - 1, steps_drawn(4, 50, np.random.get_state())
    assert drawn in (
        steps,
        steps + 1,
    )  # the course draws first: the step that failed may have its draw
    np.random.seed(4)
    make_program(again, loss, np.float64).sgd(X, Y, steps, 1e-3, silent)
    assert all(
        a.tobytes() == b.tobytes() for a, b in zip(weights(stages), weights(again), strict=True)
    )


@pytest.mark.parametrize("backend", ["compiled", "numpy"])
@pytest.mark.parametrize("method", ["sgd", "fit"])
def test_the_layer_api_can_go_on_after_ctrl_c(method, backend, ctrl_c):
    """The network is not left marked as busy, its weights are finite, and it trains on."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(8, 50)), np.eye(3)[:, rng.integers(3, size=50)]
    with nncore.use_backend(backend):
        net = nncore.Sequential(
            [nncore.Linear(8, 9), nncore.ReLU(), nncore.Linear(9, 3), nncore.SoftMax()],
            nncore.NLL(),
        )
        start = net.modules[0].W.copy()
        call = (
            (lambda: net.sgd(X, Y, FOREVER, 1e-3))
            if method == "sgd"
            else (lambda: net.fit(X, Y, epochs=10**9, lrate=1e-3, seed=0))
        )
        interrupted(call, ctrl_c, 0.05)
        assert np.isfinite(net.modules[0].W).all() and not np.array_equal(net.modules[0].W, start)
        before = net.modules[0].W.copy()
        net.sgd(X, Y, 10, 0.1)
        assert not np.array_equal(before, net.modules[0].W)


def test_training_in_another_thread_is_not_disturbed(ctrl_c):
    """Ctrl-C belongs to the main thread."""
    stages, loss = make_net(NETS["odd"], np.float64)
    X, Y = make_data(NETS["odd"], loss, 50, np.float64)
    done = []

    def train():
        make_program(stages, loss, np.float64).fit(
            X, Y, np.resize(np.arange(50), 200_000), 10, 1e-4, 0, True
        )
        done.append(True)

    thread = threading.Thread(target=train)
    thread.start()  # which an interrupt must not cut short
    with pytest.raises(KeyboardInterrupt):
        ctrl_c(0.01)
        while True:
            time.sleep(0.001)
    thread.join()
    assert done == [True]
