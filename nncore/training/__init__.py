"""How networks train and predict; the methods of Sequential call these modules.

validate.py    checks of networks, data, weights and optimizers before a call
preparation.py scaling and classes of a network, applied to the data of a call
objects.py     checks of modules and losses: objects, not classes or names
labels.py      one-dimensional labels as columns
weights.py     weights of samples, given for each or by class
clipping.py    bounds on the gradient of a step
logits.py      the loss and its gradient from the logits
compile.py     the compiled program of a network, or the reason why there is none
session.py     exclusive training, deferred Ctrl-C, undo after a failure
plain.py       modules that compiled code may run without their methods
cache.py       programs kept for a network's next call, and whether they still fit
course.py      around epochs: history, validation, callbacks
history.py     the dict that fit returns
progress.py    progress bars and lines
sgd.py         sgd: one sample per step
mini_gd.py     mini_gd: the course's mini-batches
fit.py         fit and partial_fit: epochs, optimizers, validation, callbacks
predict.py     outputs, classes, losses and scores
explain.py     nncore.explain: which path a call takes, and why

The modules that methods of Sequential name are imported when they are first used.
"""

from typing import TYPE_CHECKING

__all__ = [
    "blocks",
    "compile",
    "fit",
    "learner",
    "mini_gd",
    "predict",
    "preparation",
    "sgd",
    "validate",
]

if TYPE_CHECKING:
    from nncore.training import (
        blocks,
        compile,
        fit,
        learner,
        mini_gd,
        predict,
        preparation,
        sgd,
        validate,
    )
else:

    def __getattr__(name):
        # One import statement each, as in nncore/__init__.py.
        if name == "blocks":
            import nncore.training.blocks

            return nncore.training.blocks
        if name == "compile":
            import nncore.training.compile

            return nncore.training.compile
        if name == "fit":
            import nncore.training.fit

            return nncore.training.fit
        if name == "learner":
            import nncore.training.learner

            return nncore.training.learner
        if name == "mini_gd":
            import nncore.training.mini_gd

            return nncore.training.mini_gd
        if name == "predict":
            import nncore.training.predict

            return nncore.training.predict
        if name == "preparation":
            import nncore.training.preparation

            return nncore.training.preparation
        if name == "sgd":
            import nncore.training.sgd

            return nncore.training.sgd
        if name == "validate":
            import nncore.training.validate

            return nncore.training.validate
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
