"""Who looks at a training after each epoch: callables, nncore's and scikit-learn's callbacks, a
progress bar."""

import contextlib

from nncore.training.progress import ProgressBar

FITTED = (
    "coefs_ intercepts_ n_layers_ n_outputs_ out_activation_ n_features_in_ feature_names_in_ "
    "classes_ _label_binarizer n_iter_ loss_ loss_curve_"
).split()


@contextlib.contextmanager
def followed(estimator, job):
    """A function to call after each epoch, which says whether the training is to end.

    Callbacks are called with (network, history): estimator.network_, and the lists "loss" and, with
    early stopping, "validation_score", for a classifier without `scoring` also
    "validation_accuracy". A method `finish(network, history)` is called at the end.
    """
    self = estimator
    callbacks = self.callbacks
    callbacks = (callbacks,) if callable(callbacks) else tuple(callbacks or ())
    theirs = not job.incremental and hasattr(self, "_skl_callbacks")
    if not callbacks and not theirs and not self.progress:
        yield None
        return
    history = {"loss": self.loss_curve_}
    if self.early_stopping:
        history["validation_score"] = self.validation_scores_
        if self.scoring is None and hasattr(self, "classes_"):
            history["validation_accuracy"] = self.validation_scores_
    context = _Context(self, job) if theirs else None
    with ProgressBar(self.progress, self.max_iter) as show:

        def after_epoch():
            show(history)
            answers = []
            if callbacks:
                network = self.network_
                answers = [callback(network, history) for callback in callbacks]
            if context is not None:
                answers.append(context.end_epoch())
            return any(answer is True for answer in answers)

        yield after_epoch
        for callback in callbacks:
            getattr(callback, "finish", lambda *_: None)(self.network_, history)
    if context is not None:
        context.end()


class _Context:
    """scikit-learn's callbacks: a task for the fit, and one for each epoch."""

    def __init__(self, estimator, job):
        self.estimator = estimator
        self.data = {"X": job.X, "y": job.y, "metadata": {"sample_weight": job.weights}}
        self.root = estimator._init_callback_context(max_subtasks=estimator.max_iter)
        self.root.call_on_fit_task_begin(estimator=estimator, **self.data)
        self._begin_epoch()

    def _begin_epoch(self):
        self.epoch = self.root.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def _fitted(self):
        state = self.estimator.__dict__
        return {name: state[name] for name in FITTED if name in state}

    def end_epoch(self):
        """End an epoch's task, and begin the next one's; whether the training is to end."""
        stops = self.epoch.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes=self._fitted()
        )
        self.epoch = None
        if not stops and self.estimator.n_iter_ < self.estimator.max_iter:
            self._begin_epoch()
        return bool(stops)

    def end(self):
        """End the fit's task, and that of an epoch that was not run."""
        if self.epoch is not None:
            self.epoch.call_on_fit_task_end(estimator=self.estimator)
        self.root.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes=self._fitted()
        )
