"""P9: seconds from data in memory to the accuracy wanted, and the search for each library's best
settings.

Everyone starts from the same weights, seed by seed, and shuffles in its own way. Accuracy is looked
at after every epoch, by the same NumPy code for all, and is not timed. A library's figure is that
of its best cell, a batch size and a rate of `workloads.CELLS`: the median over the seeds, where a
run that does not get there counts as infinitely long.
"""

import math
import statistics
import time

import workloads as w

MAX_EPOCHS = 120  # then a run has failed
LONGEST = 12.0  # seconds, likewise


class Race:
    """A library's search for its best cell, and the runs of that cell.

    trainer(X, y, params, batch, rate, seed) -> (train, trained): train(done) goes over all rows of
    X, in their order if the seed is None, again and again until done() says after an epoch that
    it is enough; trained() gives the weights [(W, b), ...], which start as params. answer: the
    weights after the epoch that is checked. run(): the median seconds over the seeds; the first
    call searches.
    """

    def __init__(self, trainer, workload):
        self.trainer, self.workload = trainer, workload
        self.X, self.y, *self.test = w.digits(workload)
        batch, rate = w.CHECK_CELL
        train, trained = self.trainer(
            self.X[: w.CHECK_ROWS], self.y[: w.CHECK_ROWS], w.weights(workload), batch, rate, None
        )
        train(lambda: True)
        self.answer = trained()
        self.cell = None

    def seconds(self, cell, seed, limit=LONGEST):
        """(seconds, epochs) of one run to the accuracy; infinitely many if it takes longer than
        `limit`, or never gets there."""
        train, trained = self.trainer(self.X, self.y, w.weights(self.workload, seed), *cell, seed)
        epochs, looking, elapsed, reached = 0, 0.0, 0.0, False

        def done():
            nonlocal epochs, looking, elapsed, reached
            before = time.perf_counter()
            epochs, elapsed = epochs + 1, before - start - looking
            if elapsed <= limit:
                reached = w.accuracy(self.workload, trained(), *self.test) >= w.GOAL
            looking += time.perf_counter() - before
            return reached or elapsed > limit or epochs == MAX_EPOCHS

        start = time.perf_counter()
        train(done)
        return (elapsed, epochs) if reached else (math.inf, MAX_EPOCHS)

    def median(self, cell, limit=LONGEST):
        """The median over the seeds of a cell. Given up once more than half of the seeds exceed
        `limit`: the median would, too."""
        times, late = [], 0
        for seed in range(w.seeds()):
            times.append(self.seconds(cell, seed, limit)[0])
            late += times[-1] == math.inf
            if 2 * late > w.seeds():
                return math.inf
        return statistics.median(times)

    def search(self):
        """Find the best cell; one that cannot beat the best so far is left as soon as that is
        certain."""
        best = LONGEST
        for cell in w.CELLS:
            self.seconds(
                cell, 0, 0.0
            )  # one epoch, which compiles what has to be compiled for this cell
            median = self.median(cell, best)
            if median < best:
                best, self.cell = median, cell
        if self.cell is None:
            raise ValueError(
                f"test accuracy must reach {w.GOAL} with one of the settings, got less with all"
            )
        self.epochs = statistics.median(
            self.seconds(self.cell, seed)[1] for seed in range(w.seeds())
        )

    def run(self):
        """The median seconds to the accuracy, by the best cell."""
        if self.cell is None:
            self.search()
        return self.median(self.cell)

    def describe(self):
        """The best cell in words."""
        return f"batch {self.cell[0]}, rate {self.cell[1]:g}, {self.epochs:g} epochs"
