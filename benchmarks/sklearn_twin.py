"""Compare nncore.sklearn with scikit-learn: `python benchmarks/sklearn_twin.py [ROW ...]`.

Each row does the same work with both, in alternating rounds in one process, on one thread; ratios
are medians over the rounds, because the speed of a shared machine changes between them. f8: float64
on both sides; f4: float32 input to nncore, float64 to scikit-learn.
"""

import argparse
import json
import os
import statistics
import time
import warnings
from datetime import date
from pathlib import Path

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_variable] = "1"  # read when NumPy and SciPy are loaded

import joblib  # noqa: E402
import machine  # noqa: E402
import numpy as np  # noqa: E402
import scipy.sparse as sp  # noqa: E402
from sklearn import neural_network  # noqa: E402
from sklearn.datasets import load_breast_cancer, load_digits, load_iris  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402

import nncore  # noqa: E402
import nncore.sklearn  # noqa: E402

HERE = Path(__file__).resolve().parent
CLASSIFIERS = neural_network.MLPClassifier, nncore.sklearn.MLPClassifier
REGRESSORS = neural_network.MLPRegressor, nncore.sklearn.MLPRegressor
ENDLESS = dict(n_iter_no_change=10**6, tol=0, random_state=0)
STREAM = 1000  # calls of partial_fit timed together
LEAST = 0.95  # at any size; below 1 because timings of a shared machine vary
rng = np.random.RandomState(0)


def seconds(function):
    """The time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def repeated(function, least=0.02):
    """The time of one call, from as many as take `least` seconds."""
    once = seconds(function)
    n = max(1, int(least / max(once, 1e-7)))
    return seconds(lambda: [function() for _ in range(n)]) / n


def step(cls, X, y, batch, hidden, epochs=(2, 8), **settings):
    """Seconds per step: the slope between fits of few and many epochs, so that set-up cancels."""
    settings = dict(settings, hidden_layer_sizes=hidden, batch_size=batch, **ENDLESS)

    def fit(count):
        return seconds(lambda: cls(max_iter=count, **settings).fit(X, y))

    few, many = epochs
    return (fit(many) - fit(few)) / ((many - few) * -(-X.shape[0] // batch))


def stream(cls, X, y, **settings):
    """Seconds per partial_fit of one row."""
    model = cls(hidden_layer_sizes=(64, 64), random_state=0, **settings)
    first = {"classes": np.unique(y)} if cls in CLASSIFIERS else {}
    model.partial_fit(X[:1], y[:1], **first)

    def calls():
        for i in range(STREAM):
            model.partial_fit(X[i : i + 1], y[i : i + 1])

    return seconds(calls) / STREAM


def images(n, filled):
    """Rows of 784 numbers, so many of them not 0."""
    X = rng.rand(n, 784)
    X[rng.rand(n, 784) >= filled] = 0
    return X


def rows():
    """{name: (wanted ratio, function of (class or classes, float32?) -> seconds)}."""
    found = {}

    def add(name, wanted, run, types=("f8",)):
        for kind, least in zip(types, np.atleast_1d(wanted), strict=True):
            found[f"{name} {kind}"] = (float(least), lambda ours, k=kind: run(ours, k == "f4"))

    def kept(X, y, ours, single):
        return (X.astype(np.float32) if ours and single else X), (
            y.astype(np.float32) if ours and single and y.dtype.kind == "f" else y
        )

    both = ("f8", "f4")
    X4, y4 = rng.randn(2000, 4), rng.randn(2000)
    c2 = rng.randint(0, 2, 2000)
    for solver, least in (("adam", 25), ("sgd", 40)):
        add(
            f"partial_fit 1 row 4-64-64-1 regressor {solver}",
            least,
            lambda ours, _, s=solver: stream(REGRESSORS[ours], X4, y4, solver=s),
        )
        add(
            f"partial_fit 1 row 4-64-64-1 classifier {solver}",
            60,
            lambda ours, _, s=solver: stream(CLASSIFIERS[ours], X4, c2, solver=s),
        )
    X2, d2 = rng.randn(640, 2), rng.randint(0, 2, 640)
    X64, d64 = rng.randn(2000, 64), rng.randint(0, 10, 2000)
    for solver in ("adam", "sgd"):
        add(
            f"step 2-8-2 b16 {solver}",
            30,
            lambda ours, _, s=solver: step(
                CLASSIFIERS[ours], X2, d2, 16, (8,), (10, 110), solver=s
            ),
        )
        add(
            f"step 4-64-64-1 b32 {solver}",
            (7, 13),
            lambda ours, single, s=solver: step(
                REGRESSORS[ours], *kept(X4, y4, ours, single), 32, (64, 64), solver=s
            ),
            both,
        )
        add(
            f"step 64-100-10 b200 {solver}",
            (2.5, 5),
            lambda ours, single, s=solver: step(
                CLASSIFIERS[ours], *kept(X64, d64, ours, single), 200, (100,), (2, 32), solver=s
            ),
            both,
        )
    dense, sparse = images(2000, 1.0), images(2000, 0.2)
    for name, X, least in (("dense", dense, (1.3, 2.8)), ("20% filled", sparse, (2.2, 3.2))):
        add(
            f"step 784-100-10 b200 {name}",
            least,
            lambda ours, single, X=X: step(
                CLASSIFIERS[ours], *kept(X, d64, ours, single), 200, (100,), (1, 7)
            ),
            both,
        )
    Xd, yd = load_digits(return_X_y=True)

    def digits(ours, single, **settings):
        X, _ = kept(Xd, yd, ours, single)
        return seconds(lambda: CLASSIFIERS[ours](random_state=0, **settings).fit(X, yd))

    add("fit digits, defaults", (3.5, 7), digits, both)
    add(
        "fit digits, early stopping",
        3,
        lambda ours, single: digits(ours, single, early_stopping=True),
    )
    for sizes, least in (((4, 64, 64, 2), 15), ((64, 100, 10), 15), ((784, 100, 10), 10)):
        X, y = rng.rand(10000, sizes[0]), rng.randint(0, sizes[-1], 10000)
        models = [
            cls(sizes[1:-1], max_iter=1, random_state=0).fit(X[:500], y[:500])
            for cls in CLASSIFIERS
        ]
        name = "-".join(map(str, sizes))
        add(
            f"predict_proba 1 row {name}",
            least,
            lambda ours, _, m=models, x=X[:1]: repeated(lambda: m[ours].predict_proba(x)),
        )
        add(
            f"predict_proba 10000 rows {name}",
            1.5,
            lambda ours, _, m=models, x=X: repeated(lambda: m[ours].predict_proba(x), 0.1),
        )
    large, d5 = images(2000, 1.0), rng.randint(0, 10, 2000)
    deep = [cls((512, 256), max_iter=1, random_state=0).fit(large, d5) for cls in CLASSIFIERS]
    add(
        "step 784-512-256-10 b200",
        (LEAST, LEAST),
        lambda ours, single: step(
            CLASSIFIERS[ours], *kept(large, d5, ours, single), 200, (512, 256), (1, 2)
        ),
        both,
    )
    add(
        "predict_proba 2000 rows 784-512-256-10",
        LEAST,
        lambda ours, _: repeated(lambda: deep[ours].predict_proba(large), 0.1),
    )
    few, f5 = rng.randn(30, 5), rng.randint(0, 3, 30)
    for name, X, y in (("30 rows 5-100-3", few, f5), ("2000 rows 784-100-10", dense, d64)):
        add(
            f"fit of one epoch, {name}",
            LEAST,
            lambda ours, _, X=X, y=y: repeated(
                lambda: CLASSIFIERS[ours](max_iter=1, random_state=0).fit(X, y)
            ),
        )
    text, topics = sp.random(4000, 20000, 0.005, "csr", random_state=0), rng.randint(0, 4, 4000)
    for solver in ("adam", "sgd"):
        add(
            f"step text 20000-100-4 b200 {solver}",
            4,
            lambda ours, _, s=solver: step(
                CLASSIFIERS[ours], text, topics, 200, (100,), (1, 3), solver=s
            ),
        )
    readers = [cls(max_iter=1, random_state=0).fit(text[:400], topics[:400]) for cls in CLASSIFIERS]
    add(
        "predict_proba text 1000 rows",
        2,
        lambda ours, _: repeated(lambda: readers[ours].predict_proba(text[:1000]), 0.1),
    )
    sets = {}
    for name, load in (("iris", load_iris), ("breast cancer", load_breast_cancer)):
        X, y = load(return_X_y=True)
        sets[name] = (X - X.mean(0)) / X.std(0), y
    sets["digits"] = Xd / 16, yd
    for name, least, epochs in (("iris", 8, 200), ("breast cancer", 5, 200), ("digits", 3, 40)):
        add(
            f"GridSearchCV 60 fits {name}, 2 cores",
            least,
            lambda ours, _, data=sets[name], n=epochs: search(CLASSIFIERS[ours], *data, n),
        )
    for name, least in (("digits", 2), ("iris", 1.5), ("breast cancer", 1.5)):
        add(
            f"fit lbfgs {name}",
            least,
            lambda ours, _, data=sets[name]: seconds(
                lambda: CLASSIFIERS[ours](solver="lbfgs", random_state=0).fit(*data)
            ),
        )
    return found


def search(cls, X, y, epochs):
    """Seconds of 60 fits and their scores: scikit-learn with loky, nncore with threads."""
    grid = {"alpha": np.logspace(-5, 0, 6), "hidden_layer_sizes": [(32,), (64,)]}
    backend = "threading" if cls in CLASSIFIERS[1:] else "loky"
    with joblib.parallel_config(backend, n_jobs=2):
        model = GridSearchCV(cls(max_iter=epochs, random_state=0), grid, cv=5, refit=False)
        return seconds(lambda: model.fit(X, y))


def measure(run, rounds):
    """(median seconds of scikit-learn, of nncore, median ratio) of alternating rounds."""
    times = []
    for turn in range(rounds + 1):
        pair = {}
        for ours in ((0, 1), (1, 0))[turn % 2]:
            pair[ours] = run(ours)
        times.append((pair[0], pair[1]))
    times = times[1:]  # the first round warms up
    ratios = [theirs / own for theirs, own in times]
    return *(statistics.median(column) for column in zip(*times, strict=True)), statistics.median(
        ratios
    )


def shown(value):
    """Seconds in a unit that suits them."""
    for unit, scale in (("s", 1), ("ms", 1e3)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def main():
    """Measure the rows, print them, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help="parts of the names of rows; all without")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="FILE.md; without, printed only")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    nncore.set_num_threads(1)
    lines, results = (
        ["| work | scikit-learn | nncore | ratio | wanted |", "|---|---|---|---|---|"],
        [],
    )
    print(*lines, sep="\n")
    for name, (wanted, run) in rows().items():
        if options.rows and not any(part in name for part in options.rows):
            continue
        theirs, ours, ratio = measure(run, options.rounds)
        line = f"| {name} | {shown(theirs)} | {shown(ours)} | {ratio:.1f} | {wanted:g} |"
        print(line, flush=True)
        lines.append(line)
        results.append(dict(work=name, theirs=theirs, ours=ours, ratio=ratio, wanted=wanted))
    if options.output:
        facts = machine.describe() if hasattr(machine, "describe") else {}
        title = f"# nncore.sklearn beside scikit-learn, {date.today()}\n"
        how = f"\nOne thread; medians of {options.rounds} alternating rounds in one run.\n"
        options.output.write_text(title + how + "\n" + "\n".join(lines) + "\n")
        options.output.with_suffix(".json").write_text(
            json.dumps({"machine": facts, "rows": results}, indent=1, default=str)
        )


if __name__ == "__main__":
    main()
