"""How many threads to use where nobody has said: the environment's wish, else the processor cores this process may use."""

import os
import sys


def wanted():
    """NNCORE_THREADS, else OMP_NUM_THREADS (its first number), else 0; ValueError where NNCORE_THREADS is no number from 1."""
    for name in ("NNCORE_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0].strip()
        if text.isdecimal() and int(text) >= 1:
            return int(text)
        if text and name == "NNCORE_THREADS":
            raise ValueError(f"{name} must be a whole number of at least 1, got {text!r}")
    return 0


def usable_cores():
    """Cores among the processors this process may run on, at most the whole part of its control group's quota, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        processors = os.sched_getaffinity(0)
    else:
        processors = range(os.cpu_count() or 1)
    cores = {_read(f"/sys/devices/system/cpu/cpu{p}/topology/thread_siblings_list") or p for p in processors}
    return max(1, min(len(cores), _quota()))


def _read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def _quota():
    """Processors that the control group's quota amounts to, rounded down; sys.maxsize without one."""
    words = (_read("/sys/fs/cgroup/cpu.max") or "").split()
    if not words:
        words = [_read(f"/sys/fs/cgroup/cpu/cpu.cfs_{what}_us") or "" for what in ("quota", "period")]
    if len(words) != 2 or not all(word.isdecimal() for word in words) or int(words[1]) == 0:
        return sys.maxsize
    return max(1, int(words[0]) // int(words[1]))
