"""Tables of the measurements of peers.py: a summary with the targets, and every row's
contestants."""

import json
import re
import statistics
from pathlib import Path

import targets

HEADLINE = (
    "nncore predictor",
    "nncore",
)  # the form of nncore that is compared with the others: the first that a row has


def is_ours(name):
    """Whether a contestant is a form of nncore.

    >>> is_ours("nncore out="), is_ours("JAX")
    (True, False)
    """
    return name.startswith("nncore")


def is_limit(name):
    """Whether a contestant is the machine itself.

    >>> is_limit("limit: FMA in C"), is_limit("JAX")
    (True, False)
    """
    return name.startswith("limit: ")


def is_peer(name):
    """Whether a contestant counts for the best peer: not nncore, the course loop, a C compiler's
    loops or the machine's limit.

    >>> is_peer("JAX"), is_peer("course loop")
    (True, False)
    """
    return not is_ours(name) and not is_limit(name) and name not in ("course loop", "plain C")


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
    """Markdown that is readable as text: columns padded to one width.

    >>> print(table(["a", "b"], [["1", "22"]]))
    | a | b  |
    |---|----|
    | 1 | 22 |
    """
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    rows = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in [head, *lines]
    ]
    return "\n".join(
        [rows[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows[1:]]
    )


def ratios(result, name, base):
    """How many times longer a contestant took than another, one number per round; [] if one is
    missing.

    >>> ours, peer = {"name": "nncore", "seconds": [1, 2]}, {"name": "JAX", "seconds": [3, 4]}
    >>> ratios({"contestants": [ours, peer]}, "JAX", "nncore")
    [3.0, 2.0]
    """
    times = {entry["name"]: entry["seconds"] for entry in result["contestants"]}
    if name not in times or base not in times:
        return []
    return [other / ours for other, ours in zip(times[name], times[base], strict=True)]


def headline(result):
    """The form of nncore that the row is about, or None if it could not be timed.

    >>> headline({"contestants": [{"name": "nncore"}, {"name": "nncore predictor"}]})
    'nncore predictor'
    """
    names = {entry["name"] for entry in result["contestants"]}
    return next((name for name in HEADLINE if name in names), None)


def best_peer(result):
    """The name of the peer with the least median time, or None.

    >>> jax, numba = {"name": "JAX", "seconds": [3]}, {"name": "numba", "seconds": [2]}
    >>> best_peer({"contestants": [jax, numba]})
    'numba'
    """
    peers = [entry for entry in result["contestants"] if is_peer(entry["name"])]
    return (
        min(peers, key=lambda entry: statistics.median(entry["seconds"]))["name"] if peers else None
    )


def limit(result, ours):
    """(name of the limit, the share of it that `ours` reached, one per round); ("", []) if none
    was measured.

    Of several measures of one limit, the one that comes nearest to it counts: the fastest.

    >>> fast, slow = {"name": "limit: a", "seconds": [1]}, {"name": "limit: b", "seconds": [2]}
    >>> limit({"contestants": [{"name": "nncore", "seconds": [4]}, slow, fast]}, "nncore")
    ('a', [0.25])
    """
    found = [
        (ratios(result, entry["name"], ours), entry["name"])
        for entry in result["contestants"]
        if is_limit(entry["name"])
    ]
    if not found or not found[0][0]:
        return "", []
    shares, name = min(found, key=lambda pair: statistics.median(pair[0]))
    return name.removeprefix("limit: "), shares


def render_row(result):
    """A row's result as Markdown."""
    lines, ours = [], headline(result)
    noted = any(entry["note"] for entry in result["contestants"])
    for entry in result["contestants"]:
        seconds = entry["seconds"]
        shown = [result["scale"] * value for value in seconds]
        speed = (
            figure(result["flops"] * 1e-9 / statistics.median(seconds)) if result["flops"] else ""
        )
        compared = [] if entry["name"] == ours else ratios(result, entry["name"], ours)
        lines.append(
            [
                entry["name"],
                figure(statistics.median(shown)),
                spread(shown),
                *([speed] if result["flops"] else []),
                figure(statistics.median(compared)) if compared else "",
                spread(compared) if compared else "",
                ""
                if entry["deviation"] is None
                else f"{entry['deviation']:.0e}"
                if entry["deviation"]
                else "0",
                *([entry["note"]] if noted else []),
            ]
        )
    speeds, notes = ["GFLOP/s"] if result["flops"] else [], ["best settings"] if noted else []
    head = [
        "contestant",
        result["unit"],
        "min–max",
        *speeds,
        "time ÷ nncore's",
        "min–max",
        "deviation",
        *notes,
    ]
    count = len(result["contestants"][0]["seconds"]) if result["contestants"] else 0
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    return "\n".join(
        [
            f"### {result['label']}: {result['title']}; {threads}, median of {count} rounds",
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
    head = [
        "module",
        "ms",
        "min–max",
        "MiB",
        "min–max",
        "NumPy itself, ms",
        "min–max",
        "NumPy itself, MiB",
        "min–max",
    ]
    title = f"### p8: {result['title']}; time and peak memory in a fresh interpreter"
    return "\n".join([title, "", table(head, lines), *unavailable_lines(result)])


def unavailable_lines(result):
    """A sentence for each contestant that could not be timed.

    >>> unavailable_lines({"unavailable": [("JAX", "missing", "No module named 'jax'")]})
    ['', "JAX: missing (No module named 'jax')"]
    """
    lines = [f"{name}: {kind} ({reason})" for name, kind, reason in result["unavailable"]]
    return ["", *lines] if lines else []


def verdict(target, values):
    """ "yes" or "no" by the median of the rounds, with "~" if the target lies within their
     spread.

    >>> verdict(targets.Target("JAX", 2), [2.5, 3]), verdict(targets.Target("JAX", 2), [1, 1.5, 3])
    ('yes', 'no ~')
    """
    middle = statistics.median(values)
    reached = middle <= target.value if targets.is_ceiling(target) else middle >= target.value
    return ("yes" if reached else "no") + (" ~" if min(values) < target.value < max(values) else "")


def footprint_values(result, against):
    """P8's figures of nncore, one a round, by the target's unit: of time and memory, over NumPy's
    own."""
    if against == "MB":
        return [result["installed_mb"]]
    rounds = next(entry["rounds"] for entry in result["contestants"] if entry["name"] == "nncore")
    return [once[{"ms": "extra_ms", "MiB": "extra_mib"}[against]] for once in rounds]


def compare(result, target, others):
    """[what is compared, median, spread, target, verdict] of one target, or of none if its value
    is None."""
    ours = target.ours or headline(result)
    asked = target.value is not None
    if target.against in ("ms", "MiB", "MB"):
        what = {
            "ms": "import, ms over NumPy's",
            "MiB": "memory, MiB over NumPy's",
            "MB": "installed, MB",
        }[target.against]
        values, show, wanted = (
            footprint_values(result, target.against),
            figure,
            f"≤ {target.value:g}",
        )
    elif target.against == "µs":
        times = {entry["name"]: entry["seconds"] for entry in result["contestants"]}
        values = [1e6 * value for value in times.get(ours, [])]
        what, show, wanted = f"{ours}, {result['unit']}", figure, f"≤ {target.value:g}"
    elif target.against in targets.TARGETS:
        # Points lost against another row of the same run, whose share of the peak was measured
        # compared with the peak of its time.
        other, (_, mine) = others.get(target.against), limit(result, ours)
        base = limit(other, headline(other))[1] if other else []
        values = [statistics.median(base) - share for share in mine] if base else []
        what, show, wanted = (
            f"points below {target.against}",
            "{:.1%}".format,
            f"≤ {target.value:.0%}",
        )
    elif target.against == "limit":
        name, values = limit(result, ours)
        what, show, wanted = (
            f"limit: {name}",
            "{:.0%}".format,
            f"≥ {target.value:.0%}" if asked else "",
        )
    else:
        name = best_peer(result) if target.against == "best peer" else target.against
        values = ratios(result, name, ours)
        what = f"best peer: {name}" if target.against == "best peer" else name
        what += f" ÷ {target.ours}" if target.ours else ""
        show, wanted = figure, f"≥ {target.value:g}" if asked else ""
    if not values:
        return [what, "", "", wanted, "not measured"] if asked else None
    range_ = f"{show(min(values))}–{show(max(values))}" if len(values) > 1 else ""
    return [
        what,
        show(statistics.median(values)),
        range_,
        wanted,
        verdict(target, values) if asked else "",
    ]


def summary(results, level="avx512"):
    """A line for every target, and for the best peer and the machine's limit in every row, with
    what was measured."""
    others, lines = {result["label"]: result for result in results}, []
    for result in results:
        ours, own = headline(result), targets.of(result["label"], level)
        if ours is None:
            lines.append([result["label"], "not measured", *[""] * 5])
            continue
        asked, shown = {target.against for target in own}, []
        if result["label"] != "p8":
            shown = ["limit"] if best_peer(result) in asked else ["best peer", "limit"]
        parts = own + [targets.Target(name, None) for name in shown if name not in asked]
        compared = [line for target in parts if (line := compare(result, target, others))]
        if result.get("latency_bound"):
            compared.append(["limit: latency-bound", "", "", "", ""])
        time = ""
        if result["label"] != "p8":
            seconds = next(
                entry["seconds"] for entry in result["contestants"] if entry["name"] == ours
            )
            time = f"{figure(result['scale'] * statistics.median(seconds))} {result['unit']}"
        for number, line in enumerate(compared or [[""] * 5]):
            lines.append([*(["", ""] if number else [result["label"], time]), *line])
    head = ["row", "nncore", "beside", "measured", "min–max", "target", "reached"]
    verdicts = [line[-1] for line in lines if line[-1]]
    reached = sum(word.startswith("yes") for word in verdicts)
    return f"{table(head, lines)}\n\nTargets reached: {reached} of {len(verdicts)}."


def render(report):
    """The whole report as Markdown."""
    about = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    commands = "; ".join(f"`{command}`" for command in report["commands"])
    parts = [
        f"# nncore beside its peers, {report['date']}",
        f"{about['cpu']}, {about['cores']} cores, {' '.join(about['instruction sets'])}; "
        f"{about['system']}; "
        f"Python {about['python']}; {versions}; nncore's kernels: {about['kernels']}.",
        f"Command: {commands}.",
        "How to read it: benchmarks/README.md. Beside a library: how many times longer it took "
        "than nncore, within the same round; "
        "beside a limit: the share of it that nncore reached; measured: the median of the rounds; "
        "~: the target lies within their "
        "spread.",
        summary(report["results"], about["kernels"].split(",")[0]),
        *(f"{label}: skipped ({reason})" for label, reason in report["skipped"].items()),
    ]
    parts += [
        render_footprint(r) if r["label"] == "p8" else render_row(r) for r in report["results"]
    ]
    return "\n\n".join(parts) + "\n"


def join(reports):
    """One report of several runs on one machine with the same versions; of a row measured twice the
    later run counts.

    >>> part = {"date": "2026-01-01", "commands": ["a"], "machine": 1, "skipped": {}}
    >>> parts = [{**part, "results": [{"label": label}]} for label in ("p2-f32", "p1-f32")]
    >>> [result["label"] for result in join(parts)["results"]]
    ['p1-f32', 'p2-f32']
    """
    first, *rest = reports
    for other in rest:
        if other["machine"] != first["machine"]:
            raise ValueError(
                f"reports must be of one machine and the same versions, got {first['machine']} and "
                f"{other['machine']}"
            )
    results = {result["label"]: result for report in reports for result in report["results"]}
    skipped = {
        label: reason
        for report in reports
        for label, reason in report["skipped"].items()
        if label not in results
    }
    return {
        "date": max(report["date"] for report in reports),
        "commands": [command for report in reports for command in report["commands"]],
        "machine": first["machine"],
        "skipped": skipped,
        "results": sorted(results.values(), key=lambda result: result["label"].split("-")[0]),
    }


def write(report, folder):
    """Write the report as <date>-<cpu>.md and .json, with the level that all were held to, and
    numbered if a report of that name is there already."""
    cpu = re.sub(
        r"[^a-z0-9]+", "-", re.sub(r"\(\w+\)", "", report["machine"]["cpu"].lower())
    ).strip("-")
    name, number = "-".join(filter(None, (report["date"], cpu, report.get("level")))), 1
    stem = name
    while Path(folder, f"{stem}.md").exists():
        number += 1
        stem = f"{name}-{number}"
    path = Path(folder, f"{stem}.md")
    write_to(report, path)
    return path


def write_to(report, path):
    """Write the report to a file, and every round to a .json file next to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(report), encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
