"""The progress that a training shows."""

import numpy as np

from nncore import _checks, _kinds


def overrides_progress(net):
    """Return whether a network overrides print_accuracy, which then receives every step."""
    return not _kinds.is_library_method(net, "print_accuracy")


class ProgressBar:
    """Context manager whose value, called with the history after each epoch, shows the progress; if
    not requested, it does nothing. progress: "bar", "lines", or True for a bar where tqdm is.
    """

    def __init__(self, progress, epochs):
        self.kind = progress
        if isinstance(progress, str):
            self.wanted = bool(_checks.choice("progress", progress, ("bar", "lines")))
        elif progress is None or isinstance(progress, (bool, np.bool_)):
            self.wanted = bool(progress)
        else:
            raise TypeError(
                f"progress must be True, False, None, 'lines' or 'bar', got {progress!r:.40}"
            )
        self.epochs, self.bar = epochs, None

    def __enter__(self):
        if not self.wanted:
            return lambda history: None
        if self.kind == "lines":
            return self._line
        try:
            from tqdm import tqdm  # type: ignore[import-untyped, import-not-found, unused-ignore]
        except ImportError:
            if self.kind == "bar":
                raise ImportError(
                    "progress='bar' needs tqdm; install it with pip install 'nncore[progress]', or "
                    "write progress='lines'"
                ) from None
            return self._line
        self.bar = tqdm(total=self.epochs, unit="epoch")
        return self._advance

    def __exit__(self, *exc_info):
        if self.bar is not None:
            self.bar.close()

    def _advance(self, history):
        self.bar.set_postfix(_last(history), refresh=False)
        self.bar.update()

    def _line(self, history):
        done = len(history["loss"])
        numbers = "  ".join(f"{name} {value}" for name, value in _last(history).items())
        print(f"epoch {done:{len(str(self.epochs))}}/{self.epochs}  {numbers}", flush=True)


def _last(history):
    """Return the last values by name; callbacks may have added lists that are empty, or not of
    numbers.
    """
    values = {name.replace("_", " "): x[-1] for name, x in history.items() if len(x)}
    return {name: f"{x:.4f}" if isinstance(x, float) else str(x) for name, x in values.items()}
