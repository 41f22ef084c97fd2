"""Compare nncore with other libraries: `python benchmarks/peers.py [ROW ...]`.

Every contestant is checked against the NumPy reference, then all of a row are timed in turn, round
after round, each in a process of its own. Ratios are taken within a round, because the speed of a
shared machine changes between rounds.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import NamedTuple

import contestants
import footprint
import levels
import machine
import report as reports
import workloads

HERE = Path(__file__).resolve().parent
UNITS = {
    "sgd": (1e6, "µs a step"),
    "online": (1e6, "µs a call"),
    "batch": (1e6, "µs a sample"),
    "predict": (1e6, "µs a sample"),
    "train": (1e6, "µs a sample"),
    "loss": (1e6, "µs a call"),
    "accuracy": (1e3, "ms"),
}
LARGE_ROUNDS = 5  # of P5, whose calls take seconds
# seconds between contestants with several threads: idle thread pools go on spinning for some
# milliseconds
PAUSE = 0.05
START_SECONDS = 8  # until all contestants of a row are built and checked; for the estimate only
GUESSED_SPEED = 80e9  # FLOP/s, likewise


class Task(NamedTuple):
    """A row with a number of threads.

    >>> Task("p1-f32", 2).label
    'p1-f32-t2'
    """

    row: str
    threads: int = 1

    @property
    def label(self):
        return self.row if self.threads == 1 else f"{self.row}-t{self.threads}"


class Unavailable(Exception):
    """A contestant that cannot be timed: its name, "missing" or "error", the reason.

    >>> Unavailable("JAX", "missing", "No module named 'jax'").args
    ('JAX', 'missing', "No module named 'jax'")
    """


class Worker:
    """A contestant's process: `ready()` once, then `timed(repetitions)` as often as wanted."""

    def __init__(self, row, name, threads, level=""):
        self.name = name
        command = [sys.executable, HERE / "worker.py", row, name, str(threads), level]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def _reply(self):
        line = self.process.stdout.readline()
        if not line:
            raise Unavailable(self.name, "error", f"ended with status {self.process.wait()}")
        return json.loads(line)

    def ready(self):
        """Wait until the contestant is built and checked: {"units", "deviation"}, else
        Unavailable."""
        reply = self._reply()
        for kind in ("missing", "error"):
            if kind in reply:
                raise Unavailable(self.name, kind, reply[kind])
        return reply

    def timed(self, repetitions):
        """{"seconds", "note"}: the time of so many calls of the contestant's `run`."""
        try:
            print(repetitions, file=self.process.stdin)
        except BrokenPipeError:
            raise Unavailable(
                self.name, "error", f"ended with status {self.process.wait()}"
            ) from None
        return self._reply()

    def close(self):
        """End the process by closing its input."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def alternate(workers, rounds, seconds, pause=0.0):
    """Time all contestants once a round, another one first each time, with a pause before each.

    Returns ({name: seconds of one call, one a round}, {name: its note}, [what is known of those
    that broke off]).
    """
    repetitions, times, notes, broken = {}, {worker.name: [] for worker in workers}, {}, []
    for turn in range(-1, rounds):
        first = turn % max(1, len(workers))
        for worker in workers[first:] + workers[:first]:
            if worker.name not in times:
                continue
            time.sleep(pause)
            try:
                if turn < 0:
                    repetitions[worker] = max(1, round(seconds / worker.timed(1)["seconds"]))
                else:
                    reply = worker.timed(repetitions[worker])
                    times[worker.name].append(reply["seconds"] / repetitions[worker])
                    notes[worker.name] = reply["note"]
            except Unavailable as problem:
                broken.append(problem.args)
                del times[worker.name]
    return times, notes, broken


def run_row(task, rounds, seconds):
    """Check and time every contestant of a row; "unavailable" lists those that cannot be timed."""
    workload, threads = workloads.WORKLOADS[task.row], task.threads
    scale, unit = UNITS[workload.kind]
    result = {
        "label": task.label,
        "title": workload.title,
        "scale": scale,
        "unit": "µs a call" if workload.kind == "predict" and workload.batch == 1 else unit,
        "flops": workload.flops_per_sample,
        "latency_bound": contestants.latency_bound(workload),
        "threads": threads,
        "unavailable": [],
        "contestants": [],
    }
    workers = [
        Worker(task.row, name, threads, workload.level)
        for name in contestants.of(workload, threads)
    ]
    try:
        greetings, able = {}, []
        for worker in workers:
            try:
                greetings[worker.name] = worker.ready()
                able.append(worker)
            except Unavailable as problem:
                result["unavailable"].append(problem.args)
        if contestants.large(workload):
            rounds = min(rounds, LARGE_ROUNDS)
        times, notes, broken = alternate(able, rounds, seconds, PAUSE if threads > 1 else 0.0)
        result["unavailable"] += broken
    finally:
        for worker in workers:
            worker.close()
    for name, measured in times.items():
        greeting = greetings[name]
        each = [value / greeting["units"] for value in measured]
        result["contestants"].append(
            {"name": name, "seconds": each, "deviation": greeting["deviation"], "note": notes[name]}
        )
    return result


def run_footprint(rounds):
    """P8: every module's import in a fresh interpreter, in turn, round after round."""
    result = {
        "label": "p8",
        "title": "import, over NumPy's own",
        "threads": 1,
        "unavailable": [],
        "contestants": [],
    }
    measured = {name: [] for name in footprint.MODULES}
    for turn in range(rounds + 1):
        for name, module in footprint.MODULES.items():
            if name not in measured:
                continue
            try:
                once = footprint.measure(module)
            except ImportError as problem:
                result["unavailable"].append((name, "missing", str(problem)))
                del measured[name]
                continue
            # The first round reads the files from the disk and is not counted.
            if turn:
                measured[name].append(once)
    result["contestants"] = [{"name": name, "rounds": values} for name, values in measured.items()]
    if "nncore" in measured:
        result["installed_mb"] = footprint.installed_mb("nncore")
    return result


def all_tasks():
    """Every row with one thread, and with two if asked for, by the order of the tables.

    >>> all_tasks()[0]
    Task(row='p1-f32', threads=1)
    """
    rows = sorted([*workloads.WORKLOADS, "p8"], key=workloads.table)
    return [
        Task(row, threads)
        for row in rows
        for threads in (1, 2)
        if threads == 1 or row in workloads.TWO_THREADS
    ]


def begins(key, name):
    """Whether a label begins with a name: with "p1" those of P1, not of P10.

    >>> begins("p1-f32", "p1"), begins("p10-tiny", "p1")
    (True, False)
    """
    return key.startswith(name) and not (name[-1:] + key[len(name) :][:1]).isdigit() or key == name


def chosen_tasks(names, everything=False, threads=None):
    """The tasks whose labels are or begin with one of the names; without names those that a target
    is about, or everything.

    A name that is a label selects that task alone; "p1" does not begin "p11". With `threads`,
    the rows' own numbers of threads do not matter.

    >>> [task.label for task in chosen_tasks(["p1", "p2-f32"])]
    ['p1-f32', 'p1-f32-t2', 'p1-f64', 'p2-f32']
    """
    tasks = (
        all_tasks()
        if threads is None
        else [Task(row, threads) for row in dict.fromkeys(task.row for task in all_tasks())]
    )
    names = [name.removesuffix(f"-t{threads}") if threads else name for name in names]
    keys = {task: task.row if threads else task.label for task in tasks}
    for name in names:
        if not any(begins(key, name) for key in keys.values()):
            raise ValueError(
                f"row must be, or begin, one of {', '.join(keys.values())}, got {name}"
            )
    if not names:
        extra = {row for row, workload in workloads.WORKLOADS.items() if workload.extra}
        return [task for task in tasks if everything or task.row not in extra]
    whole = set(keys.values())
    return [
        task
        for task in tasks
        if any(keys[task] == name if name in whole else begins(keys[task], name) for name in names)
    ]


def estimate(task, rounds, seconds):
    """About how many seconds a task takes, to plan by.

    >>> 10 < estimate(Task("p1-f32"), 7, 0.25) < 60
    True
    """
    if task.row == "p8":
        return 0.7 * len(footprint.MODULES) * (rounds + 1)
    workload = workloads.WORKLOADS[task.row]
    if workload.kind == "accuracy":
        return 20 * workloads.seeds()
    call = (
        workload.flops_per_sample * workload.rows * workload.epochs / GUESSED_SPEED
        if workload.kind in ("batch", "train")
        else 0.02
    )
    count = len(contestants.of(workload, task.threads))
    if contestants.large(workload):
        # They are checked one after the other in effect, all on the same cores, and each computes
        # the right answer.
        return count * call * (4 + LARGE_ROUNDS + 2)
    return START_SECONDS + count * (rounds + 1) * (max(seconds, call) + call)


def skip_reason(task):
    """Why a task cannot be run here, or None."""
    if task.threads > len(os.sched_getaffinity(0)):
        return f"{task.threads} threads, but {len(os.sched_getaffinity(0))} usable cores"
    if (
        task.row in workloads.WORKLOADS
        and workloads.WORKLOADS[task.row].images
        and not os.environ.get(workloads.MNIST)
    ):
        return f"no images: name a folder of MNIST-format idx files by --mnist or {workloads.MNIST}"
    return None


def list_tasks(tasks, rounds, seconds):
    """Print the tasks with their estimated times."""
    total = 0
    for task in tasks:
        title = (
            workloads.WORKLOADS[task.row].title if task.row != "p8" else "import, over NumPy's own"
        )
        total += (each := estimate(task, rounds, seconds))
        reason = skip_reason(task)
        print(f"{task.label:18} {each:5.0f} s  {title}{f'; SKIPPED: {reason}' if reason else ''}")
    print(f"rows: {len(tasks)}; minutes: about {total / 60:.0f}")


def without_folders(argument):
    """An argument as a report may show it: of a path only the last part.

    >>> without_folders("/some/where/mnist")
    'mnist'
    """
    return argument.rstrip(os.sep).rsplit(os.sep, 1)[-1]


def parsed(arguments):
    """The options; exit status 2 and a sentence if they are wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "rows",
        nargs="*",
        help="rows, or their beginnings: p1, p3-dense, p4-b128-f32; default all that have a target",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="also the rows without a target, and P9 with its 20 seeds",
    )
    parser.add_argument(
        "--threads",
        type=int,
        help="cores to use, and threads of every contestant; default: as the row says",
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="alternating rounds, at least 5 (default 7)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.25,
        help="time of one contestant in one round (default 0.25)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        help="P9: runs from other weights, 5 unless given; 20 in the full protocol",
    )
    parser.add_argument(
        "--mnist", metavar="FOLDER", help="P3 on real images: a folder of MNIST-format idx files"
    )
    parser.add_argument(
        "--level",
        choices=levels.CHOICES,
        help="the instruction-set level that nncore and its peers are held to; without those that "
        f"cannot be: {', '.join(levels.UNLIMITED)}",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the rows with an estimate of their time, and stop"
    )
    parser.add_argument("--no-write", action="store_true", help="print only, write no report")
    parser.add_argument(
        "--output",
        metavar="FILE.md",
        type=Path,
        help="write the report there instead of into results/",
    )
    parser.add_argument(
        "--join",
        metavar="FILE.json",
        type=Path,
        nargs="+",
        help="measure nothing; join reports of parts into one",
    )
    options = parser.parse_args(arguments)
    if options.rounds < 5:
        parser.error(f"--rounds must be at least 5, got {options.rounds}")
    cores = len(os.sched_getaffinity(0))
    if options.threads is not None and not 1 <= options.threads <= cores:
        parser.error(f"--threads must be between 1 and {cores}, got {options.threads}")
    seeds = options.seeds or (20 if options.all else None)
    if seeds is not None and seeds < 1:
        parser.error(f"--seeds must be at least 1, got {seeds}")
    # The contestants' processes read these.
    if options.level:
        levels.hold(options.level)
    if seeds:
        os.environ[workloads.SEEDS] = str(seeds)
    if options.mnist:
        os.environ[workloads.MNIST] = os.path.abspath(options.mnist)
    try:
        options.tasks = chosen_tasks(options.rows, options.all, options.threads)
    except ValueError as problem:
        parser.error(str(problem))
    return options


def measure(options, arguments):
    """Run the chosen rows, printing each when it is done: the report."""
    report = {
        "date": date.today().isoformat(),
        "commands": [" ".join(["python benchmarks/peers.py", *map(without_folders, arguments)])],
        "machine": machine.describe(),
        "level": levels.held(),
        "skipped": {},
        "results": [],
    }
    for task in options.tasks:
        if reason := skip_reason(task):
            report["skipped"][task.label] = reason
            print(f"{task.label}: skipped ({reason})\n", flush=True)
            continue
        if task.row == "p8":
            result = run_footprint(options.rounds)
            print(reports.render_footprint(result), flush=True)
        else:
            result = run_row(task, options.rounds, options.seconds)
            print(reports.render_row(result), flush=True)
        print(flush=True)
        report["results"].append(result)
    print(reports.summary(report["results"], report["machine"]["kernels"].split(",")[0]))
    return report


def why_not_importable():
    """What keeps nncore from being imported, as by a checkout on the path that is not built and
    hides an installed package; None if nothing does."""
    try:
        importlib.import_module("nncore")
    except ImportError as error:
        return str(error)
    return None


def main(arguments=None):
    """Exit status: 0, 1 if nncore is missing or wrong in a row, 2 for wrong options and if
    nncore cannot be imported."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parsed(arguments)
    if options.list:
        list_tasks(options.tasks, options.rounds, options.seconds)
        return 0
    if options.join:
        report = reports.join(
            [json.loads(path.read_text(encoding="utf-8")) for path in options.join]
        )
        print(reports.summary(report["results"], report["machine"]["kernels"].split(",")[0]))
    else:
        if reason := why_not_importable():
            print(f"peers.py: nncore cannot be imported: {reason}", file=sys.stderr)
            return 2
        report = measure(options, arguments)
    if options.output:
        reports.write_to(report, options.output)
    if not options.no_write:
        print(f"\nwritten: {options.output or reports.write(report, HERE / 'results')}")
    failed = any(
        reports.is_ours(name)
        for result in report["results"]
        for name, _, _ in result["unavailable"]
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
