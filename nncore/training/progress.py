"""The progress that a training shows."""

from nncore import _checks, _kinds


def overrides_progress(net):
    """Return whether a network overrides print_accuracy, which then receives every step."""
    return not _kinds.is_library_method(net, "print_accuracy")


class ProgressBar:
    """Context manager whose value, called with the history after each epoch, shows the progress; if
    not requested, it does nothing.
    """

    def __init__(self, progress, epochs):
        self.wanted, self.epochs, self.bar = _checks.switch("progress", progress), epochs, None

    def __enter__(self):
        if not self.wanted:
            return lambda history: None
        try:
            from tqdm import tqdm  # type: ignore[import-untyped, import-not-found, unused-ignore]
        except ImportError:
            return self._line
        self.bar = tqdm(total=self.epochs, unit="epoch")
        return self._advance

    def __exit__(self, *exc_info):
        if self.bar is not None:
            self.bar.close()

    def _advance(self, history):
        self.bar.set_postfix(
            {name.replace("_", " "): f"{values[-1]:.4f}" for name, values in history.items()},
            refresh=False,
        )
        self.bar.update()

    def _line(self, history):
        done = len(history["loss"])
        numbers = "  ".join(
            f"{name.replace('_', ' ')} {values[-1]:.4f}" for name, values in history.items()
        )
        print(f"epoch {done:{len(str(self.epochs))}}/{self.epochs}  {numbers}", flush=True)
