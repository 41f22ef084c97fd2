"""Compare two builds: equal bits on every path, and no loop or call slower.

``gate.py OLD_PYTHON NEW_PYTHON`` runs the same cases under two Pythons that have an nncore each,
and reports each case whose weights, losses, outputs, optimizer state or generator state differ in a
single bit. ``--speed`` then times the workloads of the published rows and the cost of a call, the
two builds alternating in one run, and reports the ratio of the minima. Only the public interface is
used, so that the builds may differ in everything behind it. The exit status is 1 when a case
differs or a ratio is beyond its limit.

``make gate BASE=<commit>`` builds the commit in addition to the checkout and compares the two.
"""

import argparse
import hashlib
import itertools
import json
import subprocess
import sys
import time
import warnings

import numpy as np

ROUNDS = 20  # of the alternating timings
PROCESSES = 4  # pairs of processes that share them
LOOPS = 1.015  # the largest ratio of a loop's time, new to old
CALLS = 0.5  # microseconds that a call may take longer


# ----------------------------------------------------------------------------------- what is hashed

WIDTHS = {  # name: layer sizes; each takes another path of sgd or fit, or another width of vectors
    "tiny": (2, 3, 3, 2),
    "small": (64, 32, 10),
    "narrow": (20, 17, 5),
    "widest small": (30, 64, 3),
    "wide": (97, 130, 11),
    "one layer": (40, 7),
    "deep": (12, 24, 40, 24, 9),
    "many classes": (10, 20, 600),
    "images": (784, 100, 10),
    "one output": (33, 29, 1),
}
OUTPUTS = {
    "nll": ("SoftMax", "NLL"),
    "binary": ("OutputSigmoid", "BinaryNLL"),
    "squared": (None, "Squared"),
    "hinge": (None, "Hinge"),
}
ACTIVATIONS = ("Tanh", "ReLU", "Sigmoid")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw")
LAYOUTS = ("F", "C", "strided", "int", "zeros")
N = 150


def network(nn, sizes, dtype, output, activation, extra):
    np.random.seed(7)
    unit, loss = OUTPUTS[output]
    chain = []
    for i, (m, n) in enumerate(itertools.pairwise(sizes)):
        chain.append(nn.Linear(m, n, init="notes", dtype=dtype))
        if i < len(sizes) - 2:
            if extra == "norm":
                chain.append(nn.BatchNorm(n, statistics="running", eps=1e-5, dtype=dtype))
            chain.append(getattr(nn, activation)())
            if extra == "dropout":
                chain.append(nn.Dropout(0.25, seed=3))
    if extra == "nested":
        chain = [nn.Sequential(chain[:2]), *chain[2:]]
    return nn.Sequential(chain + ([getattr(nn, unit)()] if unit else []), getattr(nn, loss)())


def data(sizes, dtype, output, layout):
    rng = np.random.default_rng(11)
    X = rng.normal(size=(sizes[0], N)).astype(dtype)
    if layout == "zeros":
        X[rng.random(X.shape) < 0.85] = 0
    X = {
        "F": np.asfortranarray,
        "C": np.ascontiguousarray,
        "zeros": np.asfortranarray,
        "int": lambda X: np.rint(3 * X).astype(np.int16),
        "strided": lambda X: np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
    }[layout](X)
    n = sizes[-1]
    Y = {
        "nll": np.eye(max(n, 2))[:n, rng.integers(n, size=N)],
        "binary": rng.integers(2, size=(n, N)),
        "squared": rng.normal(size=(n, N)),
        "hinge": 2.0 * rng.integers(2, size=(n, N)) - 1,
    }[output]
    return X, Y


def flat(modules):
    for module in modules:
        if hasattr(module, "modules"):
            yield from flat(module.modules)
        else:
            yield module


def digest(net, *results):
    """A hash of everything that a call leaves behind."""
    found = hashlib.sha256()
    names = ("W", "W0", "G", "B", "running_mean", "running_var", "dLdW", "dLdW0", "A", "count")
    for module in flat(net.modules):
        for name in names:
            if hasattr(module, name):
                found.update(np.ascontiguousarray(getattr(module, name)).tobytes())
    if net.optimizer is not None:
        for key in sorted(net.optimizer.state):
            for array in net.optimizer.state[key]:
                found.update(np.ascontiguousarray(array).tobytes())
        found.update(str(net.optimizer.t).encode())
    for result in results:
        found.update(np.ascontiguousarray(result).tobytes())
    state = np.random.get_state()
    found.update(state[1].tobytes() + str(state[2]).encode())
    return found.hexdigest()[:16]


def run(nn, call, net, X, Y):
    """One call on a fresh network; returns what it gives."""
    name, options = call
    if name == "sgd":
        net.sgd(X, Y, **options)
        return [net.loss.forward(net.forward(X[:, :5]), Y[:, :5])]
    if name == "mini_gd":
        net.mini_gd(X, Y, **options)
        return []
    if name == "fit":
        return list(net.fit(X, Y, seed=5, **options).values())
    if name == "partial_fit":
        return [
            net.partial_fit(X[:, at : at + 30], Y[:, at : at + 30], **options)
            for at in range(0, N, 30)
        ]
    results = [
        net.predict_proba(X),
        net.predict_proba(X[:, :1]),
        net.predict_proba(X[:, :20]),
        np.array(net.evaluate(X, Y)),
    ]
    predictor = net.predictor()
    return [*results, predictor(X), predictor(X[:, 3]), predictor(X[:, :7])]


def calls(nn):
    """(name of the call, its options) by a name of its own."""
    step = {"lrate": 0.01}
    found = {
        "sgd": ("sgd", step | {"iters": 203}),
        "sgd short": ("sgd", step | {"iters": 6}),
        "sgd schedule": ("sgd", {"iters": 100, "lrate": nn.schedules.InverseTime(0.05, 0.01)}),
        "sgd function": ("sgd", {"iters": 40, "lrate": lambda t: 0.05 / t}),
        "mini_gd": ("mini_gd", {"iters": 40, "lrate": 0.002, "K": 13}),
        "predict": ("predict", {}),
    }
    for size in (1, 4, 32, 150):
        found[f"fit {size}"] = ("fit", step | {"epochs": 2, "batch_size": size})
    for optimizer in OPTIMIZERS:
        found[f"fit {optimizer}"] = (
            "fit",
            {"epochs": 2, "batch_size": 20, "lrate": 0.01, "optimizer": optimizer, "l2": 0.01},
        )
        found[f"partial_fit {optimizer}"] = (
            "partial_fit",
            {"batch_size": 1, "lrate": 0.01, "optimizer": optimizer},
        )
    return found


def cases(nn, levels):
    """(name, parameters) of each case: every network with every call; the other choices take turns,
    so that each meets each other."""
    turns = itertools.count()
    for (width, sizes), (call_name, call) in itertools.product(WIDTHS.items(), calls(nn).items()):
        for dtype, level in itertools.product(("float32", "float64"), levels):
            turn = next(turns)
            extra = ("none", "none", "norm", "dropout", "nested")[turn // 3 % 5]
            if call_name.startswith("sgd") and extra == "norm":
                extra = "none"  # one sample, normalised by itself
            output = (
                ("squared", "binary", "hinge")[turn % 3]
                if sizes[-1] == 1
                else tuple(OUTPUTS)[turn % 4 if turn % 3 == 0 else 0]
            )
            yield (
                f"{width} | {call_name} | {dtype} | {level}",
                sizes,
                call,
                np.dtype(dtype),
                level,
                output,
                ACTIVATIONS[turn // 2 % 3],
                LAYOUTS[turn // 5 % 5],
                extra,
            )
    large = (700, 1600, 40)  # weights of more than 4 MiB are trained in place
    for call_name in ("sgd", "fit 32", "fit adam", "fit momentum", "predict"):
        for dtype, layout in itertools.product(("float32", "float64"), ("F", "zeros")):
            yield (
                f"large | {call_name} | {dtype} | {layout}",
                large,
                calls(nn)[call_name],
                np.dtype(dtype),
                levels[-1],
                "nll",
                "ReLU",
                layout,
                "none",
            )


def hashes(part):
    """{case: hash} of this Python's nncore."""
    import nncore as nn
    from nncore import _core

    found = {}
    for threads in (1, 2):
        nn.set_num_threads(threads)
        for name, sizes, call, dtype, level, output, activation, layout, extra in cases(
            nn, _core.isa_levels()
        ):
            if part not in name or (threads == 2 and (sizes[0] < 97 or "fit" not in name)):
                continue
            _core.set_isa(level)
            X, Y = data(sizes, dtype, output, layout)
            net = network(nn, sizes, dtype, output, activation, extra)
            try:
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found[f"{name} | {output} {activation} {layout} {extra} | {threads}"] = digest(
                        net, *run(nn, call, net, X, Y)
                    )
            except FloatingPointError as error:
                found[f"{name} | {output} {activation} {layout} {extra} | {threads}"] = digest(
                    net
                ) + str(error)
    return found


# ------------------------------------------------------------------------------------ what is timed


def workloads(nn):
    """{name: (function, calls in one timing)} of the published rows and of single calls."""
    rng = np.random.default_rng(0)

    def made(sizes, dtype, N, hidden="ReLU", density=1.0):
        np.random.seed(1)
        chain = []
        for m, n in itertools.pairwise(sizes):
            chain += [nn.Linear(m, n, dtype=dtype), getattr(nn, hidden)()]
        X = np.asfortranarray(rng.random((sizes[0], N)).astype(dtype))
        X[rng.random(X.shape) >= density] = 0
        Y = np.asfortranarray(np.eye(sizes[-1], dtype=dtype)[:, rng.integers(sizes[-1], size=N)])
        return nn.Sequential([*chain[:-1], nn.SoftMax()], nn.NLL()), X, Y

    found = {}
    for name, sizes, dtype, density, steps in (
        ("p1-f32", (2, 3, 3, 2), "float32", 1, 40_000),
        ("p1-f64", (2, 3, 3, 2), "float64", 1, 40_000),
        ("p2-f32", (64, 32, 10), "float32", 1, 10_000),
        ("p2-f64", (64, 32, 10), "float64", 1, 10_000),
        ("p3-f32", (784, 128, 10), "float32", 1, 1000),
        ("p3-sparse", (784, 128, 10), "float32", 0.19, 1500),
    ):
        net, X, Y = made(sizes, dtype, 1000, "Tanh" if name.startswith("p1") else "ReLU", density)
        found[name] = (lambda net=net, X=X, Y=Y, steps=steps: net.sgd(X, Y, steps, 0.005), 1)
    for batch in (32, 128):
        net, X, Y = made((784, 256, 128, 10), "float32", 2560)
        found[f"p4-b{batch}"] = (
            lambda net=net, X=X, Y=Y, batch=batch: net.fit(
                X, Y, batch_size=batch, shuffle=False, lrate=0.01
            ),
            1,
        )
    net, X, Y = made((784, 128, 10), "float32", 10_000)
    found["p6-10k"] = (lambda net=net, X=X: net.predict_proba(X), 1)
    net, X, Y = made((2, 3, 3, 2), "float32", 100, "Tanh")
    predictor, x = net.predictor(), np.ascontiguousarray(X[:, 0])
    found["p6-one"] = (lambda x=x: predictor(x), 20_000)
    found["forward"] = (lambda net=net, x=X[:, :1]: net.forward(x), 5000)
    other, X, Y = made((64, 32, 10), "float32", 500, "Tanh")
    x, y = X[:, :1], Y[:, :1]
    found["call of partial_fit"] = (lambda: other.partial_fit(x, y), 300)
    found["call of fit"] = (lambda: other.fit(X[:, :8], Y[:, :8]), 200)
    found["call of sgd"] = (lambda: other.sgd(X, Y, 1, 0.01), 300)
    found["call of sgd, 10 steps"] = (lambda: other.sgd(X, Y, 10, 0.01), 200)
    found["call of predict"] = (lambda: other.predict(x), 1000)
    found["call of predict, 10 samples"] = (lambda: other.predict(X[:, :10]), 300)
    return found


def serve(name):
    """Time a workload for each line of standard input; seconds per call go to standard output."""
    import nncore as nn

    nn.set_num_threads(1)
    function, count = workloads(nn)[name]
    for _ in sys.stdin:
        function()
        start = time.perf_counter()
        for _ in range(count):
            function()
        print((time.perf_counter() - start) / count, flush=True)


def timed(pythons, name):
    """The least seconds per call of each build, taken in turn.

    Where memory lies differs from process to process and can make a tenth of the time, so there
    are several processes.
    """
    least = [float("inf")] * 2
    for _ in range(PROCESSES):
        servers = [
            subprocess.Popen(
                [python, __file__, "--serve", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for python in pythons
        ]
        for turn in range(ROUNDS // PROCESSES):
            for i in (0, 1) if turn % 2 else (1, 0):
                print(file=servers[i].stdin, flush=True)
                least[i] = min(least[i], float(servers[i].stdout.readline()))
        for server in servers:
            server.stdin.close()
            server.wait()
    return least


def speed(pythons, only):
    """Print the ratios; True when all are within their limits."""
    import nncore as nn

    good = True
    for name in (name for name in workloads(nn) if only in name):
        old, new = timed(pythons, name)
        within = new <= LOOPS * old or (new - old) * 1e6 <= CALLS
        good = good and within
        print(
            f"{name:30} {old * 1e6:12.3f} -> {new * 1e6:12.3f} us  "
            f"{new / old:6.3f}{'' if within else '  SLOWER'}",
            flush=True,
        )
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "pythons", nargs="*", metavar="PYTHON", help="the old build's and the new one's"
    )
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument(
        "--speed", action="store_true", help="time the workloads instead of hashing"
    )
    parser.add_argument(
        "--show", type=int, default=20, help="how many cases that differ are printed"
    )
    parser.add_argument("--hash", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    if options.hash:
        return print(json.dumps(hashes(options.only)))
    if len(options.pythons) != 2:
        parser.error("two Pythons are wanted: the old build's and the new one's")
    if options.speed:
        return 0 if speed(options.pythons, options.only) else 1
    running = [
        subprocess.Popen(
            [python, __file__, "--hash", "--only", options.only], stdout=subprocess.PIPE, text=True
        )
        for python in options.pythons
    ]
    old, new = (json.loads(process.communicate()[0]) for process in running)
    differ = [name for name in old if old[name] != new.get(name)]
    for name in differ[: options.show]:
        print("differs:", name)
    print(f"{len(differ)} of {len(old)} cases differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
