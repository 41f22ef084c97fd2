"""One contestant in a process of its own: `worker.py ROW CONTESTANT THREADS [LEVEL]`, driven by
peers.py over a pipe.

Thread pools and the state of the vector units of one library thus cannot slow another. The first
line written is {"units", "deviation"}, or {"missing"} or {"error"} with a sentence; then each line
read, a number of repetitions, is answered by {"seconds", "note"}: the time they took, and what the
contestant has to say of it.
"""

import json
import os
import sys
import time

import levels
from pinning import pin

LONG_CALL = 0.5  # seconds of a call from which on what it finds in the caches does not matter


def prepare(row, name, threads):
    """The checked Contest, and the first line to write.

    ValueError if the answer differs from the reference's.
    """
    import contestants
    import workloads

    workload = workloads.WORKLOADS[row]
    contest = contestants.of(workload, threads)[name](workload, threads)
    # A peak has no answer: it does no network's work, and is there to be compared with.
    deviation = None if contest.answer is None else workloads.check(workload, contest.answer)
    return contest, {"units": contest.units, "deviation": deviation}


def main(row, name, threads, level=""):
    # Replies go to a copy of stdout, so that nothing a library prints can get between them.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    pin(threads)
    if level:
        levels.hold(level)
    try:
        contest, greeting = prepare(row, name, threads)
    except (ImportError, FileNotFoundError) as problem:
        print(json.dumps({"missing": str(problem)}), file=replies)
        return
    except Exception as problem:
        # The other contestants go on: whatever a library raises is this one's result.
        print(json.dumps({"error": f"{type(problem).__name__}: {problem}"}), file=replies)
        return
    print(json.dumps(greeting), file=replies)
    run, self_timed, note = contest.run, contest.self_timed, contest.note
    del contest  # and its answer, which may be large
    last = 0.0
    for line in sys.stdin:
        repetitions = int(line)
        if last < LONG_CALL:
            run()  # brings code and data back into the caches that the others have used
        start = time.perf_counter()
        if self_timed:
            seconds = sum(run() for _ in range(repetitions))
        else:
            for _ in range(repetitions):
                run()
            seconds = time.perf_counter() - start
        last = seconds / repetitions
        print(json.dumps({"seconds": seconds, "note": note()}), file=replies)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
