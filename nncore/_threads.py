"""The default number of threads (environment variables, else the usable cores), forks, and
threadpoolctl.
"""

import os
import sys

from nncore._version import __version__


def wanted():
    """Return NNCORE_THREADS, else the first number of OMP_NUM_THREADS, else 0; ValueError for an
    invalid NNCORE_THREADS.
    """
    for name in ("NNCORE_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0].strip()
        if text.isdecimal() and int(text) >= 1:
            return int(text)
        if text and name == "NNCORE_THREADS":
            raise ValueError(f"{name} must be an integer of at least 1, got {text!r}")
    return 0


def usable_cores():
    """Return the number of cores this process may use: its affinity, at most its CPU quota, at
    least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        processors = os.sched_getaffinity(0)
    else:
        processors = range(os.cpu_count() or 1)
    cores = {
        _read(f"/sys/devices/system/cpu/cpu{p}/topology/thread_siblings_list") or p
        for p in processors
    }
    return max(1, min(len(cores), _quota()))


def _read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def _quota(root=""):
    """Return the smallest CPU quota of this process's control groups in whole processors, or
    sys.maxsize.

    A quota limits all groups below its own, so the ancestors of each group count as well. `root` is
    prefixed to all paths.
    """
    least = sys.maxsize
    try:
        folders = list(_control_groups(root))
    except ValueError:  # not the format of Linux
        return least
    for folder in folders:
        words = (_read(f"{root}{folder}/cpu.max") or "").split()
        if not words:
            parts = (f"{root}{folder}/cpu.cfs_{what}_us" for what in ("quota", "period"))
            words = [_read(part) or "" for part in parts]
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
            least = min(least, max(1, int(words[0]) // int(words[1])))
    return least


def _control_groups(root):
    """Yield the folders of this process's CPU control groups (version 1 and 2) and
    their ancestors.
    """
    groups = {}
    for line in (_read(f"{root}/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))  # version 2 names no controllers
    for line in (_read(f"{root}/proc/self/mountinfo") or "").splitlines():
        mount, _, filesystem = line.partition(" - ")
        kind, _, options = filesystem.split(" ", 2)
        controller = {"cgroup2": "", "cgroup": "cpu"}.get(kind)
        if controller not in groups or (controller and controller not in options.split(",")):
            continue
        top, point = map(_unescaped, mount.split(" ")[3:5])
        folder = _below(groups[controller], top, point)
        while len(folder) > len(point):
            yield folder
            folder = os.path.dirname(folder)
        yield point


def _below(group, top, point):
    """Return a group's folder, given that `top` of its hierarchy is mounted at `point`.

    In a container, the group may lie outside `top`; then only `point` itself is visible.
    """
    top = top.rstrip("/")
    inside = f"{group}/".startswith(f"{top}/") and ".." not in group.split("/")
    return f"{point.rstrip('/')}/{group[len(top) :].strip('/')}".rstrip("/") if inside else point


def _unescaped(field):
    """Decode the octal escapes of /proc/self/mountinfo (space, tab, newline, backslash)."""
    for code in ("040", "011", "012", "134"):
        field = field.replace(f"\\{code}", chr(int(code, 8)))
    return field


def in_forked_children(call):
    """Make every forked child call `call` first; Windows has no forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


# ------------------------------------------------------------------ threadpoolctl


def follow_threadpoolctl(core):
    """Make threadpoolctl report and limit nncore's threads, whether it is imported before or after.

    It handles only libraries that are registered with it, found by file name and symbol. core:
    nncore._core, which imports this module.
    """
    if "threadpoolctl" in sys.modules:
        _register(sys.modules["threadpoolctl"], core)
    else:
        sys.meta_path.insert(0, _Watch(core))


def _register(threadpoolctl, core):
    if not hasattr(threadpoolctl, "register"):  # older than 3.2, or another module of that name
        return

    class Controller(threadpoolctl.LibController):
        user_api = internal_api = "nncore"
        filename_prefixes = (os.path.basename(os.path.realpath(core.__file__)).lower(),)
        check_symbols = ("nncore_pool_helpers",)

        def get_num_threads(self):
            return core.get_num_threads()

        def set_num_threads(self, num_threads):
            core.set_num_threads(num_threads)

        def get_version(self):
            return __version__

    threadpoolctl.register(Controller)


class _Watch:
    """Import hook that registers nncore once threadpoolctl is loaded. Importing it here would take
    1.6 ms.
    """

    def __init__(self, core):
        self.core = core

    def find_spec(self, name, path=None, target=None):
        if name != "threadpoolctl":
            return None
        others = [f for f in sys.meta_path if f is not self and hasattr(f, "find_spec")]
        spec = next(filter(None, (f.find_spec(name, path, target) for f in others)), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    _register(module, self.core)

            spec.loader.exec_module = exec_module
        return spec
