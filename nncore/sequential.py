"""Sequential: a chain of modules and a loss, with the course library's contract and what ordinary
use adds to it."""

import numpy as np

from nncore import _backend, _chain, _core, _kinds, _sums, modules, registry, serialization
from nncore.training import compile, fit, mini_gd, predict, sgd

__all__ = ["Sequential", "load"]

# Modules whose forward compiled code may do in their place: Linear, and activations of which all
# that counts is the function of each entry.
_KNOWN = {modules.Linear: (modules.Linear.forward, _core.ACTIVATIONS["none"])} | {
    cls: (cls.forward, _core.ACTIVATIONS[activation.name])
    for cls, activation in registry.ACTIVATIONS.items()
    if activation.keeps_output and not activation.settings
}


@_backend.follow
@_kinds.register
class Sequential:
    """A network: modules applied in order, and the loss that trains them. Samples are columns.

    modules: a list, kept as it is (the caller's own); loss: NLL, BinaryNLL, Squared, Hinge, or any
    object with forward(Ypred, Y) -> float and backward() -> dL/dZ; None for prediction only. Any
    object with forward, backward and step or sgd_step serves as a module, and so does a Sequential,
    whose own loss is not used then.

    forward works in training mode until eval() is called. sgd, mini_gd, fit and partial_fit always
    train, and predict, predict_proba, predictor, evaluate, score and log_likelihood always predict,
    whatever the mode; neither changes it.

    >>> import numpy as np
    >>> import nncore as nn
    >>> X, Y = np.array([[2, 3, 9, 12], [5, 2, 6, 5]]), np.array([[0, 1, 0, 1], [1, 0, 1, 0]])
    >>> np.random.seed(0)
    >>> net = nn.Sequential([nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.SoftMax()], nn.NLL())
    >>> net.sgd(X, Y, iters=2000, lrate=0.005)
    >>> net.predict(X).tolist()
    [1, 0, 1, 0]
    """

    training = True
    optimizer = None  # the one that fit or partial_fit has used last

    def __init__(self, modules, loss=None):
        _chain.check_list(modules, loss)
        self.modules = modules
        self.loss = loss

    # ------------------------------------------------------------------------ the course's contract

    def forward(self, X):
        """The last module's output (n, b) for X (D, b); every module keeps what its backward
        needs."""
        return _core.forward_chain(self.modules, X, _KNOWN)

    def backward(self, delta):
        """Hand dL/dZ of the output back through all modules; returns None."""
        self._hand_back(delta)

    def _hand_back(self, delta):
        """dL/dX for the network around this one, which backward's contract keeps from it."""
        for module in self.modules[::-1]:
            inner = (
                type(module).backward is Sequential.backward
                if isinstance(module, Sequential)
                else False
            )
            delta = module._hand_back(delta) if inner else module.backward(delta)
        return delta

    def sgd_step(self, lrate):
        """One step of every module, by whichever of the names sgd_step and step it has."""
        terms = []  # of the library's modules in a row, which all step or none
        for module in _chain.modules_of(self):
            if _chain.steps_by_library(module):
                terms += module._step_terms(lrate)
                continue
            _core.take_steps(terms)
            terms = []
            step = getattr(module, "sgd_step", None) or module.step
            step(lrate)
        _core.take_steps(terms)

    def step(self, lrate):
        """The same as sgd_step."""
        self.sgd_step(lrate)

    def sgd(self, X, Y, iters=100, lrate=0.005, progress=False):
        """Make `iters` steps of stochastic gradient descent, W ← W − η(t) ∂L/∂W; returns None.

        Each step draws one sample i with np.random.randint(N) and follows the gradient of its loss.
        Nothing is seeded. X is (D, N), Y is (n, N) or labels (N,) as `fit` takes them; any real
        dtype is converted sample by sample. lrate: a number of at least 0 or a function of t = 1,
        2, ..., called before the step's draw (nncore.schedules run inside the compiled loop). The
        weights' own memory is updated.

        A subclass's own print_accuracy is called after each step, as the homework's loop calls it:
        (it, X, Y, cur_loss), it = 0, 1, ... The library's is called only with progress=True; the
        steps between its lines run compiled.

        RuntimeWarning, once, when the loss is not finite. TypeError, ValueError: refused before
        anything is drawn or changed; a function's rate that is negative or not finite, at its step.
        RuntimeError when the network is training already. Ctrl-C leaves the weights of a whole
        step.
        """
        sgd.sgd(self, X, Y, iters, lrate, progress)

    def mini_gd(self, X, Y, iters, lrate, notif_each=None, K=10):
        """`iters` updates of mini-batch gradient descent, each by the gradient summed over K
        samples; returns None.

        Calls np.random.seed(0), then shuffles the samples by np.random.shuffle for each pass over
        them, every pass anew from the order of the one before; a rest of fewer than K samples is
        left out. X (D, N), Y (n, N) and lrate as for sgd; fit has the choices that this contract
        leaves out. notif_each: print iteration, accuracy on X, Y and the batch's loss after so many
        updates each.

        ValueError when K exceeds N; otherwise errors and warnings as sgd.
        """
        mini_gd.mini_gd(self, X, Y, iters, lrate, notif_each, K)

    def print_accuracy(self, it, X, Y, cur_loss, every=250):
        """When it % every == 1, print iteration, accuracy on X, Y and cur_loss as the course
        library does."""
        if it % every == 1:
            class_fun = predict.class_fun(self)
            accuracy = np.mean(class_fun(self.forward(X)) == class_fun(Y))
            print("Iteration =", it, "\tAcc =", accuracy, "\tLoss =", cur_loss, flush=True)

    # --------------------------------------------------------------------------------- ordinary use

    def train(self):
        """Training mode: forward drops out and normalises by the batch. For all modules, those of
        networks inside too; returns self."""
        return self._set_mode(True)

    def eval(self):
        """Prediction mode: forward is what predict_proba computes. For all modules, those of
        networks inside too; returns self."""
        return self._set_mode(False)

    def _set_mode(self, mode):
        for module in (self, *_chain.every_module(self)):
            if hasattr(module, "training"):
                module.training = mode
        return self

    def predict_forward(self, X):
        """The last module's output in prediction mode, whatever the mode is; the library's modules
        keep nothing of it."""
        return _chain.predicted(self.modules, X)

    def fit(
        self,
        X,
        Y,
        epochs=1,
        batch_size=32,
        shuffle=True,
        lrate=None,
        optimizer=None,
        l2=0.0,
        validation=None,
        callbacks=(),
        progress=None,
        seed=None,
        reduction="mean",
    ):
        """Mini-batch training over all samples, `epochs` times; returns the history, {"loss": [mean
        loss a sample of each epoch]}.

        X (D, N); Y (n, N), or (N,): classes 0 .. n − 1 with NLL, and with one output 0 and 1, −1
        and +1 (Hinge) or numbers (Squared). Each batch's loss is taken before its update; the last
        batch of an epoch may be smaller. shuffle: a new order each epoch, from
        np.random.default_rng(seed). lrate: a number or a function of the update t = 1, 2, ... of
        this call; None is 0.1, and 0.001 for RMSprop, Adam and AdamW. optimizer: one of
        nncore.optimizers, whose state is continued, or its name; None is plain SGD. Afterwards
        net.optimizer is the one used. reduction: "mean" averages the gradient over the batch, so
        that the rate does not depend on its size; "sum" adds it up, as sgd does. l2: l2 / 2 times
        the sum of the squares of every W, not W0, is added to each batch's loss, mean or summed as
        reduction says.

        validation: a pair (X, Y), or a fraction of the samples, which the seed's generator takes
        out first; the history then has "validation_loss" (without penalty) and
        "validation_accuracy". callbacks: functions called with (net, history) after each epoch, as
        nncore.callbacks.EarlyStopping; one that returns True ends the training. progress: True
        shows a bar (tqdm) or lines.

        ValueError for NaN or infinity in X or Y and for labels that do not fit; FloatingPointError
        on divergence, naming the step, with weights and optimiser as after the last finite step;
        TypeError for modules that the optimiser cannot train; otherwise as sgd.
        """
        return fit.fit(
            self,
            X,
            Y,
            epochs,
            batch_size,
            shuffle,
            lrate,
            optimizer,
            l2,
            validation,
            callbacks,
            progress,
            seed,
            reduction,
        )

    def partial_fit(
        self, X, Y, batch_size=32, lrate=None, optimizer=None, l2=0.0, reduction="mean"
    ):
        """One pass over X, Y in the order given, for data that come bit by bit; returns the mean
        loss a sample before each update.

        Goes on with net.optimizer (a name of the same kind goes on, too; at first plain SGD), and
        with its number of steps as the schedule's t. Otherwise, arguments and errors as fit.

        >>> import numpy as np
        >>> import nncore
        >>> net = nncore.Sequential([nncore.Linear(2, 1)], nncore.Squared())
        >>> for _ in range(500):
        ...     x = np.random.rand(2, 1)
        ...     loss = net.partial_fit(x, 3 * x[:1] - x[1:], lrate=0.1)
        >>> bool(loss < 0.1)
        True
        """
        return fit.partial_fit(self, X, Y, batch_size, lrate, optimizer, l2, reduction)

    def score(self, X, Y):
        """The share of classes predicted right; with Squared the coefficient of determination R² (1
        is perfect, a constant mean 0).

        X (D, N), Y (n, N) or labels (N,). R² = 1 − Σ (y − a)² / Σ (y − mean y)² of each output,
        averaged over the outputs; an output whose y are all equal counts as 1 where it is met
        exactly, else as 0.
        """
        return predict.score(self, X, Y)

    def predict_proba(self, X):
        """Outputs (n, N) for X (D, N): probabilities when the last module is SoftMax or
        OutputSigmoid.

        RuntimeWarning where an output is NaN, as it is for a sample with a NaN.
        """
        P = predict.outputs(self, X)
        predict.warn_of_nan(predict.nan_samples(P), np.shape(P)[-1])
        return P

    def predictor(self):
        """A frozen, packed copy for prediction: `p = net.predictor()`, then `p(x)` or `p(x,
        out=array)`, in a fraction of a microsecond where the network is small.

        x (D,) gives (n,); x (D, N), samples as columns, gives (n, N). Other real types are
        converted to the network's. Later changes of the network's weights do not show. Threads may
        share it; it can be pickled. TypeError for networks with other modules than the library's
        own, and for weights that are not of one type, float32 or float64.

        >>> import numpy as np
        >>> import nncore
        >>> net = nncore.Sequential([nncore.Linear(2, 3), nncore.SoftMax()])
        >>> p = net.predictor()
        >>> bool(np.allclose(p(np.array([1.0, 2.0])), net.predict_proba([[1.0], [2.0]])[:, 0]))
        True
        """
        return compile.predictor(self)

    def predict(self, X):
        """Classes for X (D, N), by the class_fun of the last module, else of the loss: (N,) int64;
        with Squared the outputs, (n, N).

        RuntimeWarning where an output is NaN: the class of such a sample means nothing, and score
        and evaluate count it wrong.
        """
        class_fun = predict.class_fun(self)
        if class_fun is None:
            raise TypeError(
                "the last module, or the loss, must have a class_fun to predict classes, got "
                f"{type(self.modules[-1]).__name__ if self.modules else 'no module'} and "
                f"{self.loss!r}"
            )
        return class_fun(self.predict_proba(X))

    def evaluate(self, X, Y):
        """(mean loss a sample, accuracy: the share of samples whose class is right), in slices of
        bounded memory.

        The loss is computed from the logits; the accuracy is NaN with Squared and where nothing has
        a class_fun. A sample whose outputs are NaN counts as wrong, with a RuntimeWarning.
        """
        sums, right, labels, undefined = [], 0, 0, 0
        class_fun = predict.judge(self)
        for P, losses, Ys in predict.slices(self, X, Y):
            sums.append(float(_sums.pairwise(np.ravel(losses))))
            undefined += predict.nan_samples(P)
            if class_fun is not None:
                agree = predict.agreement(class_fun, P, Ys)
                right, labels = right + int(np.sum(agree)), labels + np.size(agree)
        predict.warn_of_nan(undefined, np.shape(X)[1])
        return float(_sums.pairwise(sums)) / np.shape(X)[1], right / labels if labels else float(
            "nan"
        )

    def log_likelihood(self, X, Y):
        """log Π P(correct label) over the data = −whole-data-set NLL, in nats."""
        return -float(
            _sums.pairwise(
                [_sums.pairwise(np.ravel(losses)) for _, losses, _ in predict.slices(self, X, Y)]
            )
        )

    def save(self, path):
        """Write the network to a `.npz` file without pickle, atomically: the old file or the new
        one, never half of one."""
        serialization.save(self, path)

    def __repr__(self):
        own = [getattr(m, "parameters", None) for m in self.modules]
        lines = [
            f"{m!r}"
            + (f"  # {count:,} parameters" if count and not isinstance(m, Sequential) else "")
            for m, count in zip(self.modules, own, strict=True)
        ]
        inner = "\n".join(lines).replace("\n", "\n  ")
        return (
            f"{type(self).__name__}([\n  {inner}\n], {self.loss!r})  # {self.parameters:,} "
            f"parameters"
        )

    @property
    def parameters(self):
        """Number of weights of the library's modules."""
        return sum(getattr(m, "parameters", 0) for m in self.modules)


def load(path):
    """Return the network saved at path (str, bytes or os.PathLike).

    ValueError if the file is no such model, OSError if it cannot be opened.

    >>> import os, tempfile
    >>> import nncore as nn
    >>> net = nn.Sequential([nn.Linear(2, 2), nn.SoftMax()], nn.NLL())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(os.path.join(folder, "model.npz"))
    ...     again = nn.load(os.path.join(folder, "model.npz"))
    >>> (again.modules[0].W == net.modules[0].W).all().item()
    True
    """
    return serialization.read(path, Sequential)[0]
