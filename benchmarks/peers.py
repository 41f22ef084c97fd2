"""nncore beside the libraries people would use instead: `python benchmarks/peers.py [ROW ...]`.

Every contestant is checked against the NumPy reference, then all of a row are timed in turn, round after round, each in
a process of its own. Ratios are taken within a round, because the speed of a shared machine changes between rounds.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

import contestants
import footprint
import machine
import workloads

HERE = Path(__file__).resolve().parent
UNITS = {"sgd": "µs a step", "batch": "µs a sample", "predict": "µs a sample", "loss": "µs a call"}


class Unavailable(Exception):
    """A contestant that cannot be timed: its name, "missing" or "error", the reason.

    >>> Unavailable("JAX", "missing", "No module named 'jax'").args
    ('JAX', 'missing', "No module named 'jax'")
    """


class Worker:
    """A contestant's process: `ready()` once, then `seconds(repetitions)` as often as wanted."""

    def __init__(self, row, name, threads):
        self.name = name
        command = [sys.executable, HERE / "worker.py", row, name, str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def _reply(self):
        line = self.process.stdout.readline()
        if not line:
            raise Unavailable(self.name, "error", f"ended with status {self.process.wait()}")
        return json.loads(line)

    def ready(self):
        """Wait until the contestant is built and checked: {"units", "deviation"}, else Unavailable."""
        reply = self._reply()
        for kind in ("missing", "error"):
            if kind in reply:
                raise Unavailable(self.name, kind, reply[kind])
        return reply

    def seconds(self, repetitions):
        """The time of so many calls of the contestant's `run`."""
        try:
            print(repetitions, file=self.process.stdin)
        except BrokenPipeError:
            raise Unavailable(self.name, "error", f"ended with status {self.process.wait()}") from None
        return self._reply()

    def close(self):
        """End the process, which its closed input tells it to."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def is_ours(name):
    """Whether a contestant is a form of nncore.

    >>> is_ours("nncore out="), is_ours("JAX")
    (True, False)
    """
    return name.startswith("nncore")


def is_peer(name):
    """Whether a contestant counts for the best peer: not nncore, the course loop or the machine's peak.

    >>> is_peer("JAX"), is_peer("course loop")
    (True, False)
    """
    return not is_ours(name) and name != "course loop" and name not in contestants.PEAKS


def alternate(workers, rounds, seconds):
    """Time all contestants once a round, another one first each time.

    Returns ({name: seconds of one call, one a round}, [what is known of those that broke off]).
    """
    repetitions, times, broken = {}, {worker.name: [] for worker in workers}, []
    for turn in range(-1, rounds):
        first = turn % len(workers)
        for worker in workers[first:] + workers[:first]:
            if worker.name not in times:
                continue
            try:
                if turn < 0:
                    repetitions[worker] = max(1, round(seconds / worker.seconds(1)))
                else:
                    times[worker.name].append(worker.seconds(repetitions[worker]) / repetitions[worker])
            except Unavailable as problem:
                broken.append(problem.args)
                del times[worker.name]
    return times, broken


def run_row(row, threads, rounds, seconds):
    """Check and time every contestant of a row; what cannot be timed stands under "unavailable"."""
    workload = workloads.WORKLOADS[row]
    result = {
        "row": row,
        "title": workload.title,
        "unit": UNITS[workload.kind],
        "flops": workload.flops_per_sample,
        "threads": threads,
        "unavailable": [],
        "contestants": [],
    }
    if workload.kind == "predict" and workload.batch == 1:
        result["unit"] = "µs a call"
    workers = [Worker(row, name, threads) for name in contestants.of(workload)]
    try:
        greetings, able = {}, []
        for worker in workers:
            try:
                greetings[worker.name] = worker.ready()
                able.append(worker)
            except Unavailable as problem:
                result["unavailable"].append(problem.args)
        times, broken = alternate(able, rounds, seconds)
        result["unavailable"] += broken
    finally:
        for worker in workers:
            worker.close()
    for name, measured in times.items():
        greeting = greetings[name]
        each = [value / greeting["units"] for value in measured]
        result["contestants"].append({"name": name, "seconds": each, "deviation": greeting["deviation"]})
    return result


def run_footprint(rounds):
    """P8: every module's import in a fresh interpreter, in turn, round after round."""
    result = {"row": "p8", "title": "import, over NumPy's own", "unavailable": [], "contestants": []}
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
    return result


def figure(value):
    """Three significant digits, without an exponent.

    >>> figure(0.08312), figure(12.34), figure(1234.5)
    ('0.0831', '12.3', '1234')
    """
    digits = f"{value:.3g}"
    return f"{value:.0f}" if "e" in digits and value >= 1 else digits


def spread(values):
    """The least and the greatest.

    >>> spread([3.0, 1.0, 2.0])
    '1–3'
    """
    return f"{figure(min(values))}–{figure(max(values))}"


def table(head, lines):
    """Markdown that also reads as it stands: columns padded to one width.

    >>> print(table(["a", "b"], [["1", "22"]]))
    | a | b  |
    |---|----|
    | 1 | 22 |
    """
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    rows = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in [head, *lines]
    ]
    return "\n".join([rows[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows[1:]])


def ratios(result, name, base="nncore"):
    """How many times longer a contestant took than nncore, one number a round; [] where one is missing.

    >>> ratios({"contestants": [{"name": "nncore", "seconds": [1, 2]}, {"name": "JAX", "seconds": [3, 4]}]}, "JAX")
    [3.0, 2.0]
    """
    times = {entry["name"]: entry["seconds"] for entry in result["contestants"]}
    if name not in times or base not in times:
        return []
    return [other / ours for other, ours in zip(times[name], times[base], strict=True)]


def best_peer(result):
    """The name of the peer with the least median time, or None.

    >>> best_peer({"contestants": [{"name": "JAX", "seconds": [3]}, {"name": "numba", "seconds": [2]}]})
    'numba'
    """
    peers = [entry for entry in result["contestants"] if is_peer(entry["name"])]
    return min(peers, key=lambda entry: statistics.median(entry["seconds"]))["name"] if peers else None


def render_row(result):
    """A row's result as Markdown."""
    lines = []
    for entry in result["contestants"]:
        seconds = entry["seconds"]
        microseconds = [1e6 * value for value in seconds]
        speed = figure(result["flops"] * 1e-9 / statistics.median(seconds)) if result["flops"] else ""
        compared = [] if entry["name"] == "nncore" else ratios(result, entry["name"])
        lines.append(
            [
                entry["name"],
                figure(statistics.median(microseconds)),
                spread(microseconds),
                speed,
                figure(statistics.median(compared)) if compared else "",
                spread(compared) if compared else "",
                "" if entry["deviation"] is None else f"{entry['deviation']:.0e}" if entry["deviation"] else "0",
            ]
        )
    head = ["contestant", result["unit"], "min–max", "GFLOP/s", "time ÷ nncore's", "min–max", "deviation"]
    count = len(result["contestants"][0]["seconds"]) if result["contestants"] else 0
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    return "\n".join(
        [
            f"### {result['row']}: {result['title']}; {threads}, median of {count} rounds",
            "",
            table(head, lines),
            *unavailable_lines(result),
        ]
    )


def render_footprint(result):
    """P8's result as Markdown."""
    lines = []
    for entry in result["contestants"]:
        columns = {key: [once[key] for once in entry["rounds"]] for key in entry["rounds"][0]}
        line = [entry["name"]]
        for key in ("extra_ms", "extra_mib", "numpy_ms", "numpy_mib"):
            line += [figure(statistics.median(columns[key])), spread(columns[key])]
        lines.append(line)
    head = ["module", "ms", "min–max", "MiB", "min–max", "NumPy itself, ms", "min–max", "NumPy itself, MiB", "min–max"]
    title = f"### p8: {result['title']}; time and peak memory in a fresh interpreter"
    return "\n".join([title, "", table(head, lines), *unavailable_lines(result)])


def unavailable_lines(result):
    """A sentence for each contestant that could not be timed.

    >>> unavailable_lines({"unavailable": [("JAX", "missing", "No module named 'jax'")]})
    ['', "JAX: missing (No module named 'jax')"]
    """
    lines = [f"{name}: {kind} ({reason})" for name, kind, reason in result["unavailable"]]
    return ["", *lines] if lines else []


def summary(results):
    """One line a row: nncore's time, and how many times longer the course loop and the best peer took."""
    lines = []
    for result in results:
        times = {entry["name"]: entry["seconds"] for entry in result["contestants"]}
        if "nncore" not in times:
            continue
        line = [result["row"], f"{figure(1e6 * statistics.median(times['nncore']))} {result['unit']}"]
        peer = best_peer(result)
        for name in ("course loop", peer):
            compared = ratios(result, name)
            line += [f"{figure(statistics.median(compared))} ({spread(compared)})"] if compared else [""]
        # Of the two measures of the peak, the higher is nearer to it.
        peak = max((ratios(result, name) for name in contestants.PEAKS), key=lambda r: -statistics.median(r or [9e9]))
        line += [peer or "", f"{statistics.median(peak):.0%} ({min(peak):.0%}–{max(peak):.0%})" if peak else ""]
        lines.append(line)
    return table(["row", "nncore", "course loop ÷ nncore", "best peer ÷ nncore", "best peer", "of the peak"], lines)


def render(report):
    """The whole report as Markdown."""
    about = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    timed = [result for result in report["results"] if result["row"] != "p8"]
    parts = [
        f"# nncore beside its peers, {report['date']}",
        f"{about['cpu']}, {about['cores']} cores, {' '.join(about['instruction sets'])}; {about['system']}; "
        f"Python {about['python']}; {versions}; nncore's kernels: {about['kernels']}.",
        f"Command: `{report['command']}`. A time ÷ nncore's says how many times longer it took, within the same round: "
        "median (min–max). The deviation is the checked answer's from the NumPy reference's, relative to the largest.",
    ]
    if timed:
        parts.append(summary(timed))
    parts += [render_footprint(r) if r["row"] == "p8" else render_row(r) for r in report["results"]]
    return "\n\n".join(parts) + "\n"


def chosen_rows(wanted):
    """The rows whose names begin with one of those given; all without any.

    >>> chosen_rows(["p1"])
    ['p1-f32', 'p1-f64']
    """
    rows = [*workloads.WORKLOADS, "p8"]
    for name in wanted:
        if not any(row.startswith(name) for row in rows):
            raise ValueError(f"row must be, or begin, one of {', '.join(rows)}, got {name}")
    return [row for row in rows if not wanted or any(row.startswith(name) for name in wanted)]


def write(report, folder):
    """Write the report as <date>-<cpu>.md and .json, numbered where a report of that name is there already."""
    cpu = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(\w+\)", "", report["machine"]["cpu"].lower())).strip("-")
    stem, number = f"{report['date']}-{cpu}", 1
    while Path(folder, f"{stem}.md").exists():
        number += 1
        stem = f"{report['date']}-{cpu}-{number}"
    folder.mkdir(exist_ok=True)
    path = Path(folder, f"{stem}.md")
    path.write_text(render(report), encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return path


def main(arguments=None):
    """Exit status: 0, 1 where nncore is missing or wrong in a row, 2 for wrong options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help="names of rows, or their beginnings: p1, p3-f32, p4-b128; default all")
    parser.add_argument("--threads", type=int, default=1, help="cores to use, and threads of every contestant")
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds, at least 5")
    parser.add_argument("--seconds", type=float, default=0.25, help="time of one contestant in one round")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    parser.add_argument("--no-write", action="store_true", help="print only, write nothing to results/")
    options = parser.parse_args(arguments)
    if options.rounds < 5:
        parser.error(f"--rounds must be at least 5, got {options.rounds}")
    if not 1 <= options.threads <= len(os.sched_getaffinity(0)):
        parser.error(f"--threads must be between 1 and {len(os.sched_getaffinity(0))}, got {options.threads}")
    try:
        rows = chosen_rows(options.rows)
    except ValueError as problem:
        parser.error(str(problem))
    if options.list:
        for row in rows:
            print(f"{row:16} {workloads.WORKLOADS[row].title if row != 'p8' else 'import, over the NumPy one'}")
        return 0

    report = {
        "date": date.today().isoformat(),
        "command": " ".join(["python benchmarks/peers.py", *(sys.argv[1:] if arguments is None else arguments)]),
        "machine": machine.describe(),
        "results": [],
    }
    for row in rows:
        if row == "p8":
            result = run_footprint(options.rounds)
            print(render_footprint(result), flush=True)
        else:
            result = run_row(row, options.threads, options.rounds, options.seconds)
            print(render_row(result), flush=True)
        print(flush=True)
        report["results"].append(result)
    if not options.no_write:
        print(f"written: {write(report, HERE / 'results')}")
    ours_failed = any(is_ours(name) for result in report["results"] for name, _, _ in result["unavailable"])
    return 1 if ours_failed else 0


if __name__ == "__main__":
    sys.exit(main())
