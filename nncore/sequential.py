"""Sequential: a chain of modules and a loss, with the course library's contract and more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Never, Self

import numpy as np

from nncore import _backend, _chain, _checks, _core, _kinds, _names, training
from nncore._preprocessing import Attribute, Preprocessing
from nncore._sequence import ModuleSequence, Text, summary
from nncore._types import (
    Array,
    ArrayLike,
    Callback,
    ClassWeight,
    Integer,
    Layer,
    Learner,
    LossLike,
    OptimizerName,
    Predictor,
    Rate,
    Reduction,
    Samples,
    Scaling,
    Seed,
    StrPath,
)
from nncore.training import objects, plain

if TYPE_CHECKING:
    from nncore.optimizers import Optimizer
    from nncore.training.history import History

__all__ = ["Sequential", "load"]


@_backend.follow
@_kinds.register
class Sequential(ModuleSequence):
    """A network: modules applied in order, and the loss that trains them.

    Samples are columns. forward works in training mode until eval() is called. sgd, mini_gd, fit
    and partial_fit always train, and predict, predict_proba, predictor, evaluate, score and
    log_likelihood always predict, whatever the mode; they do not change it.

    A network is a sequence of its modules: net[0], net[-1], len(net), `for module in net`; net[:-1]
    is a network of the same modules, without a loss. net(X) is net.forward(X). Sizes that do not
    fit are refused when the network is first used, as weights may be replaced until then.

    Parameters
    ----------
    modules : list
        The modules; the list is kept, not copied. Any object with forward, backward and step or
        sgd_step works as a module. So does a Sequential, whose own loss is then ignored.
    loss : object, optional
        NLL(), BinaryNLL(), Squared(), Absolute(), Huber(), Hinge(), or any object with
        forward(Ypred, Y) -> float and backward() -> dL/dZ; None for prediction only.

    Attributes
    ----------
    modules : list
        The modules.
    loss : object or None
        The loss.
    training : bool
        True in training mode.
    optimizer : nncore.optimizers.Optimizer or None
        The optimizer of the last call of fit or partial_fit.
    scaling : dict or None
        {"shift", "factor"}, as `datasets.fit_scaling` returns it: every method that takes data
        trains on or predicts for (x − shift) ⊙ factor. forward, backward and predict_forward do
        not scale.
    target_scaling : dict or None
        The same for the targets of a regression: predictions are z / factor + shift.
    classes : ndarray of shape (n,) or None
        The labels of the outputs, integers or texts: `predict` returns them, and one-dimensional
        labels must be among them. By default they are 0 .. n − 1.
    feature_names : list of str or None
        The names of the inputs, for `nncore predict` and your own use.
    target_name : str or None
        The name of the labels, likewise.

    Raises
    ------
    TypeError
        If `modules` is not a list, or an element or the loss is a class or a name instead of an
        object; the error says what to write, such as NLL() for NLL, "nll" or "cross-entropy".

    Examples
    --------
    >>> import numpy as np
    >>> import nncore as nn
    >>> X = np.array([[2, 3, 9, 12], [5, 2, 6, 5]])
    >>> Y = np.array([[0, 1, 0, 1], [1, 0, 1, 0]])
    >>> np.random.seed(0)
    >>> layers = [nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.SoftMax()]
    >>> net = nn.Sequential(layers, nn.NLL())
    >>> net.sgd(X, Y, iters=2000, lrate=0.005)
    >>> net.predict(X).tolist()
    [1, 0, 1, 0]
    """

    training: bool = True
    optimizer: Optimizer | None = None
    scaling: Attribute[Scaling, Mapping[str, Any]] = Attribute("scaling")
    target_scaling: Attribute[Scaling, Mapping[str, Any]] = Attribute("target_scaling")
    classes: Attribute[Array, ArrayLike] = Attribute("classes")
    feature_names: Attribute[list[str], Iterable[str]] = Attribute("feature_names")
    target_name: Attribute[str, str] = Attribute("target_name")
    _preprocessing: Preprocessing | None = None  # what these five hold; None if all are
    _flat = False  # whether it was trained on numbers (N,); see predict
    modules: list[Any]
    loss: Any
    _kernels: Any  # the live backend's, set by nncore._backend

    if TYPE_CHECKING:  # set by nncore, as nncore.sklearn is above this module

        def to_sklearn(self, classes: ArrayLike | None = None) -> Any: ...

    @_names.answering_with(objects.misplaced)
    def __init__(self, modules: Sequence[Layer], loss: LossLike | None = None) -> None:
        objects.check_list(modules, loss)
        self.modules = modules  # type: ignore[assignment]  # a tuple is kept, too
        self.loss = loss

    # ------------------------------------------------------------------------ the course's contract

    def forward(self, X: ArrayLike) -> Array:
        """Return the last module's output; every module keeps the arrays for its backward.

        Parameters
        ----------
        X : array_like of shape (D, b)
            The samples.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs.
        """
        try:
            return _core.forward_chain(self.modules, X, plain.FORWARD)
        except (AttributeError, TypeError, ValueError):
            found = training.validate.about_failed(self, X)
            if found is None:
                raise
            raise found from None

    def backward(self, delta: ArrayLike) -> None:
        """Propagate dL/dZ of the output back through all modules.

        Parameters
        ----------
        delta : array_like of shape (n, b)
            The gradient, as the loss's backward returns it.
        """
        self._back(delta, False)

    def _input_gradient(self, delta):
        """Return dL/dX for the enclosing network; backward's contract returns None."""
        return self._back(delta, True)

    def _back(self, delta, wanted):
        return _core.backward_chain(
            list(self.modules), delta, plain.METHODS, self._backward_of, wanted
        )

    @staticmethod
    def _backward_of(module, delta):
        """Return dL/dInput of a module or an inner network, by its own methods."""
        inner = isinstance(module, Sequential) and type(module).backward is Sequential.backward
        return module._input_gradient(delta) if inner else module.backward(delta)

    def sgd_step(self, lrate: float) -> None:
        """Make one step of every module, by its sgd_step or step.

        Parameters
        ----------
        lrate : float
            The step size.
        """
        if type(self.modules) is list and _core.step_chain(self.modules, lrate, plain.METHODS):
            return
        terms = []  # of consecutive library modules, which all step or none
        for module in _chain.modules_of(self):
            if _chain.steps_by_library(module):
                terms += module._step_terms(lrate)
                continue
            _core.take_steps(terms)
            terms = []
            step = getattr(module, "sgd_step", None) or module.step
            step(lrate)
        _core.take_steps(terms)

    def step(self, lrate: float) -> None:
        """Make one step of every module; the same as sgd_step.

        Parameters
        ----------
        lrate : float
            The step size.
        """
        self.sgd_step(lrate)

    @_names.answering
    def sgd(
        self,
        X: Samples,
        Y: ArrayLike,
        iters: Integer = 100,
        lrate: Rate = 0.005,
        progress: bool = False,
    ) -> None:
        """Make `iters` steps of stochastic gradient descent, W ← W − η(t) ∂L/∂W, in place.

        Each step draws one sample i with np.random.randint(N) and follows the gradient of its loss.
        Nothing is seeded.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (D, N)
            The samples, of any real dtype; converted sample by sample.
        Y : array_like of shape (n, N) or (N,)
            The labels, as for `fit`.
        iters : int
            The number of steps.
        lrate : float or callable
            The step size, at least 0, or a function of t = 1, 2, ..., called before the step's
            draw. nncore.schedules run inside the compiled loop.
        progress : bool
            True calls the library's print_accuracy after each step; the steps between its lines run
            compiled. A subclass's own print_accuracy is always called after each step, as in the
            homework's loop: (it, X, Y, cur_loss), it = 0, 1, ...

        Raises
        ------
        TypeError, ValueError
            For invalid arguments, before anything is drawn or changed; for a negative or non-finite
            result of a rate function, at its step.
        RuntimeError
            If the network is already training.

        Warns
        -----
        RuntimeWarning
            Once, if the loss is non-finite.

        Notes
        -----
        Ctrl-C leaves the weights of a whole step.
        """
        training.sgd.sgd(self, X, Y, iters, lrate, progress)

    @_names.answering
    def mini_gd(
        self,
        X: Samples,
        Y: ArrayLike,
        iters: Integer,
        lrate: Rate,
        notif_each: Integer | None = None,
        K: Integer = 10,
    ) -> None:
        """Make `iters` updates of mini-batch gradient descent, each summed over K samples.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (D, N)
            The samples.
        Y : array_like of shape (n, N) or (N,)
            The labels.
        iters : int
            The number of updates.
        lrate : float or callable
            The step size, as for `sgd`.
        notif_each : int, optional
            Print iteration, accuracy on X, Y (R² for losses of numbers) and the batch's loss after
            each `notif_each` updates.
        K : int
            The batch size.

        Raises
        ------
        ValueError
            If K exceeds N. Otherwise errors and warnings are those of `sgd`.

        See Also
        --------
        fit : Training with a choice of shuffling, optimizer and reduction.

        Notes
        -----
        mini_gd calls np.random.seed(0), then shuffles the samples by np.random.shuffle for each
        pass over them, starting from the order of the previous pass. A remainder of fewer than K
        samples is left out.
        """
        training.mini_gd.mini_gd(self, X, Y, iters, lrate, notif_each, K)

    def print_accuracy(
        self, it: int, X: ArrayLike, Y: ArrayLike, cur_loss: float, every: int = 250
    ) -> None:
        """Print iteration, accuracy on X, Y and cur_loss if it % every == 1, as the course does.

        Losses of numbers, which have no accuracy, print R² in its place.

        Parameters
        ----------
        it : int
            The iteration, from 0.
        X : array_like of shape (D, N)
            The samples, as `forward` takes them.
        Y : array_like of shape (n, N) or (N,)
            The labels.
        cur_loss : float
            The current loss.
        every : int
            The number of iterations between lines.
        """
        if it % every == 1:
            score = training.predict.progress_score(self, self.forward(X), Y)
            print("Iteration =", it, *score, "\tLoss =", cur_loss, flush=True)

    # --------------------------------------------------------------------------------- ordinary use

    def train(self) -> Self:
        """Switch all modules, also in inner networks, to training mode.

        In training mode `forward` applies Dropout and normalises by the batch's statistics.

        Returns
        -------
        Sequential
            The network itself.
        """
        return self._set_mode(True)

    def eval(self) -> Self:
        """Switch all modules, also in inner networks, to prediction mode.

        In prediction mode forward computes the same as predict_proba.

        Returns
        -------
        Sequential
            The network itself.
        """
        return self._set_mode(False)

    def _set_mode(self, mode):
        for module in (self, *_chain.every_module(self)):
            if hasattr(module, "training"):
                module.training = mode
        return self

    def predict_forward(self, X: ArrayLike) -> Array:
        """Return the last module's output in prediction mode, whatever the mode.

        The library's modules keep nothing of it.

        Parameters
        ----------
        X : array_like of shape (D, b)
            The samples.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs.
        """
        try:
            return _chain.predicted(self.modules, X)
        except (AttributeError, TypeError, ValueError):
            found = training.validate.about_failed(self, X)
            if found is None:
                raise
            raise found from None

    @_names.answering
    def fit(
        self,
        X: Samples | Iterable[tuple[Samples, ArrayLike] | tuple[Samples, ArrayLike, ArrayLike]],
        Y: ArrayLike | None = None,
        epochs: Integer = 1,
        batch_size: Integer = 32,
        shuffle: bool = True,
        lrate: Rate | None = None,
        optimizer: Optimizer | OptimizerName | None = None,
        l2: float = 0.0,
        validation: tuple[Samples, ArrayLike] | float | None = None,
        callbacks: Callback | Iterable[Callback] | None = (),
        progress: bool | Literal["bar", "lines"] | None = None,
        seed: Seed = None,
        reduction: Reduction = "mean",
        shuffle_window: Integer | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> History:
        """Train in mini-batches over all samples, `epochs` times.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (D, N), or iterable of (X, Y)
            The samples. Without Y: blocks of samples and labels, of any sizes, for data larger than
            memory. Each block is one pass in a random order, and is released before the next one is
            asked for. An iterator that can be read only once takes one epoch.
        Y : array_like of shape (n, N) or (N,), optional
            The labels. (N,) holds classes 0 .. n − 1 for NLL and, for a network of one output, 0
            and 1, −1 and +1 (Hinge) or numbers (Squared, Absolute, Huber).
        epochs : int
            The number of passes.
        batch_size : int
            Samples per batch; the last batch of an epoch may be smaller.
        shuffle : bool
            True draws a new order in each epoch from np.random.default_rng(seed).
        lrate : float or callable, optional
            The step size, or a function of the update t = 1, 2, ... of this call. The default is
            0.1, and 0.001 for RMSprop, Adam and AdamW.
        optimizer : nncore.optimizers.Optimizer or str, optional
            The optimizer, whose state is continued, or the name of a new one, in any case; plain
            SGD by default. Afterwards net.optimizer is the one used.
        l2 : float
            Adds l2 / 2 times the sum of the squares of every W, not W0, to each batch's loss, mean
            or summed as `reduction` says.
        validation : tuple or float, optional
            A pair (X, Y), or, unless X is blocks, the fraction of the samples that the seed's
            generator holds out first. The history then has "validation_loss" (without penalty) and
            "validation_accuracy", or "validation_r2" for losses of numbers, as `evaluate` says.
        callbacks : callable or iterable of callables
            Called with (net, history) after each epoch, such as nncore.callbacks.EarlyStopping; one
            that returns True ends the training.
        progress : bool or {"bar", "lines"}, optional
            "lines" prints a line per epoch, "bar" shows a progress bar (tqdm), True a bar if tqdm
            is installed, else lines.
        seed : int or object, optional
            For np.random.default_rng, which draws the order and the held-out samples.
            np.random.seed does not reach it: alone, it makes the weights repeatable and not the
            training. `nncore.set_seed` covers both.
        reduction : {"mean", "sum"}
            "mean" averages the gradient over the batch, so the rate does not depend on the batch
            size; "sum" adds it up, as `sgd` does.
        shuffle_window : int, optional
            Shuffles within windows of so many consecutive samples, and the order of the windows,
            instead of all samples, so that a file larger than memory is read window by window.
        sample_weight : array_like of shape (N,), optional
            The weight w_i of each sample, at least 0: a batch's loss is Σ w_i L_i, divided by the
            number of its samples if reduction is "mean". Weights are not normalised: twice the
            weights are twice the gradient. With blocks, give blocks (X, Y, sample_weight).
        class_weight : dict, "balanced" or array_like, optional
            The weight of each sample by its class, times its sample_weight: a dict {class: weight}
            (other classes weigh 1), one weight per class in order, or "balanced" for N / (K N_c),
            where N_c of the N training samples are of class c and K classes occur. The classes are
            those of net.classes, such as {"cat": 2.0}; by default 0 .. n − 1, 0 and 1 for BinaryNLL
            with one output, −1 and +1 for Hinge.
        clip_value : float, optional
            Bounds every entry g of a step's gradient: g ← max(−clip_value, min(g, clip_value)).
        clip_norm : float, optional
            Bounds the norm of a step's gradient, taken over all weights together:
            g ← g min(1, clip_norm / (‖g‖ + 1e-6)). The gradient that is clipped is what
            `reduction` says, with the penalty's; the weight decay of AdamW is not part of it.

        Returns
        -------
        History
            A dict, {"loss": [mean loss per sample of each epoch]}, with a method `plot`. Each
            batch's loss is computed before its update; with weights it is the mean of w_i L_i.

        Raises
        ------
        ValueError
            For NaN or infinity in X or Y, and for labels that do not fit. The weights are those
            before the call; with blocks, those after the block before the one that is named.
        FloatingPointError
            If the training diverges; names the step. Weights and optimizer are those after the last
            finite step.
        TypeError
            For modules that the optimizer cannot train.
        RuntimeError
            If the network is already training.

        See Also
        --------
        partial_fit : One pass over data that arrive in parts.
        sgd : The course's algorithm.
        """
        settings = (
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
            shuffle_window,
            sample_weight,
            class_weight,
            clip_value,
            clip_norm,
        )
        if Y is None:
            return training.blocks.fit(self, X, *settings)
        return training.fit.fit(self, X, Y, *settings)

    @_names.without_unknown
    def partial_fit(
        self,
        X: Samples,
        Y: ArrayLike,
        batch_size: Integer = 32,
        lrate: Rate | None = None,
        optimizer: Optimizer | OptimizerName | None = None,
        l2: float = 0.0,
        reduction: Reduction = "mean",
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        **unknown: Never,  # costs nothing, unlike _names.answering
    ) -> float:
        """Make one pass over X, Y in the given order, for data that arrive in parts.

        The call continues net.optimizer, also if `optimizer` is the name of its kind; without one
        it starts plain SGD. A schedule's t is the optimizer's number of steps.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (D, N)
            The samples.
        Y : array_like of shape (n, N) or (N,)
            The labels, as for `fit`.
        batch_size : int
            Samples per batch.
        lrate : float or callable, optional
            The step size, as for `fit`.
        optimizer : nncore.optimizers.Optimizer or str, optional
            The optimizer, as for `fit`.
        l2 : float
            The penalty, as for `fit`.
        reduction : {"mean", "sum"}
            As for `fit`.
        sample_weight : array_like of shape (N,), optional
            The weight of each sample, as for `fit`.
        class_weight : dict or array_like, optional
            The weight of each class, as for `fit`, but not "balanced".
        clip_value : float, optional
            The bound on the gradient's entries, as for `fit`.
        clip_norm : float, optional
            The bound on the gradient's norm, as for `fit`.

        Returns
        -------
        float
            The mean loss per sample, before each update; with weights the mean of w_i L_i.

        See Also
        --------
        fit : Raises the same errors.

        Examples
        --------
        >>> import numpy as np
        >>> import nncore
        >>> net = nncore.Sequential([nncore.Linear(2, 1)], nncore.Squared())
        >>> for _ in range(500):
        ...     x = np.random.rand(2, 1)
        ...     loss = net.partial_fit(x, 3 * x[:1] - x[1:], lrate=0.1)
        >>> bool(loss < 0.1)
        True
        """
        if unknown:
            _names.refuse(Sequential.partial_fit, unknown)
        if sample_weight is class_weight is clip_value is clip_norm is None:
            return training.fit.partial_fit(self, X, Y, batch_size, lrate, optimizer, l2, reduction)
        return training.fit.partial_fit(
            self,
            X,
            Y,
            batch_size,
            lrate,
            optimizer,
            l2,
            reduction,
            sample_weight,
            class_weight,
            clip_value,
            clip_norm,
        )

    @_names.answering
    def learner(
        self,
        lrate: Rate | None = None,
        optimizer: Optimizer | OptimizerName | None = None,
        l2: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> Learner:
        """Return an object that learns from one sample, or one block, per call.

        `learn = net.learner(0.1)`, then `loss = learn(x, y)`, makes the step of `partial_fit` in
        less than a microsecond for a small network: the network, the optimizer and the rate are
        checked once. It is the counterpart of `predictor`, for online learning.

        x (D,) is a sample, and y its class, its number or its vector (n,). X (D, K), samples as
        columns, with Y (n, K) or (K,) as for `fit`, is a block, of which one step is made. Other
        real types are converted to the network's.

        Parameters
        ----------
        lrate : float or callable, optional
            The step size, as for `partial_fit`.
        optimizer : nncore.optimizers.Optimizer or str, optional
            The optimizer, as for `partial_fit`, which continues net.optimizer.
        l2 : float
            The penalty, as for `fit`.
        clip_value : float, optional
            The bound on the gradient's entries, as for `fit`.
        clip_norm : float, optional
            The bound on the gradient's norm, as for `fit`.

        Returns
        -------
        Learner
            A callable and context manager. `learn(x, y)` returns the mean loss per sample before
            the step; `learn.predict(x)` the outputs for x (D,) or (D, K), as a predictor of the
            present weights; `learn.sync()` makes the network's arrays current, which they are after
            each call; `learn.close()`, or the end of a `with` block, ends the training.

        Raises
        ------
        ValueError, TypeError
            For arguments that `partial_fit` refuses; also from a call of the learner, which then
            changes nothing.
        FloatingPointError
            From a call that diverges; the weights are those before it.
        RuntimeError
            If the network is training. Until the learner is closed or deleted the network counts as
            training: other methods that train it raise. Those that predict do not.

        See Also
        --------
        partial_fit : The same steps, checked at each call.
        predictor : Predicts by a frozen copy.

        Notes
        -----
        W and W0 are the network's own arrays: writes to them, new arrays, and changes of the
        modules, the loss or the optimizer count from the next call. A learner cannot be pickled or
        copied, but its network can. After a fork the child's learner trains the child's network.

        Examples
        --------
        >>> import numpy as np
        >>> import nncore
        >>> net = nncore.Sequential([nncore.Linear(2, 1)], nncore.Squared())
        >>> with net.learner(lrate=0.1) as learn:
        ...     for _ in range(500):
        ...         x = np.random.rand(2)
        ...         loss = learn(x, 3 * x[0] - x[1])
        >>> bool(loss < 0.1)
        True
        """
        return training.learner.learner(self, lrate, optimizer, l2, clip_value, clip_norm)

    def score(self, X: Samples, Y: ArrayLike) -> float:
        """Return the accuracy, or R² for a loss of numbers: Squared, Absolute or Huber.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (D, N)
            The samples.
        Y : array_like of shape (n, N) or (N,)
            The labels.

        Returns
        -------
        float
            The second value of `evaluate`: the share of correct classes, or the coefficient of
            determination (1 is perfect, the constant mean gives 0).

        Notes
        -----
        R² = 1 − Σ (y − a)² / Σ (y − mean y)² for each output, averaged over the outputs. An output
        whose y are all equal counts as 1 if it is met exactly, else as 0.
        """
        return self.evaluate(X, Y)[1]

    def predict_proba(self, X: Samples) -> Array:
        """Return the outputs: probabilities if the last module is SoftMax or OutputSigmoid.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (D, N)
            The samples.

        Returns
        -------
        ndarray of shape (n, N)
            The outputs.

        Warns
        -----
        RuntimeWarning
            If an output is NaN, as it is for a sample with a NaN.
        """
        if self._preprocessing is None:
            P = training.predict.outputs(self, X)
        else:
            P = training.predict.prepared_outputs(self, X)
        training.predict.warn_of_nan(training.predict.nan_samples(P), np.shape(P)[-1])
        return P

    def predictor(self) -> Predictor:
        """Return a frozen, packed copy for fast prediction.

        `p = net.predictor()`, then `p(x)` or `p(x, out=array)`, takes a fraction of a microsecond
        for a small network. x (D,) gives (n,); x (D, N), samples as columns, gives (n, N). Other
        real types are converted to the network's.

        Returns
        -------
        Predictor
            A callable. Later changes of the network's weights do not affect it. Threads may share
            it, and it can be pickled.

        Raises
        ------
        TypeError
            For networks with modules other than the library's own, and for weights that are not all
            float32 or all float64.

        Examples
        --------
        >>> import numpy as np
        >>> import nncore
        >>> net = nncore.Sequential([nncore.Linear(2, 3), nncore.SoftMax()])
        >>> p = net.predictor()
        >>> outputs = net.predict_proba([[1.0], [2.0]])[:, 0]
        >>> bool(np.allclose(p(np.array([1.0, 2.0])), outputs))
        True
        """
        return training.compile.predictor(self)

    # Array is NDArray[Any]: the loss and net.classes decide whether these are integers, texts or
    # numbers, and a union of them would refuse int(net.predict(X)[0]) and net.predict(X) - y.
    def predict(self, X: Samples) -> Array:
        """Return the classes, or the numbers of a regression.

        The classes come from `class_fun` of the last module or, without one, of the loss.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (D, N)
            The samples.

        Returns
        -------
        ndarray of shape (N,) or (n, N)
            The classes, (N,), int64 or of the type of net.classes. With losses of numbers, such as
            Squared, the outputs: (N,) if the network has one output and was trained on Y (N,), else
            (n, N). `fit` sets this shape anew; partial_fit, sgd and mini_gd set it for a network
            that has not been trained before. It is saved with the model. `forward`,
            `predict_proba` and predictors always give (n, N).

        Raises
        ------
        TypeError
            If neither the last module nor the loss has a class_fun.

        Warns
        -----
        RuntimeWarning
            If an output is NaN: the class of such a sample is meaningless, and `score` and
            `evaluate` count it as wrong.
        """
        class_fun = training.predict.class_fun(self)
        if class_fun is None:
            raise TypeError(
                "the last module, or the loss, must have a class_fun to predict classes, got "
                f"{type(self.modules[-1]).__name__ if self.modules else 'no module'} and "
                f"{self.loss!r}"
            )
        P = self.predict_proba(X)
        answers = class_fun(P)
        if self._preprocessing is not None:
            answers = training.preparation.labels(self, answers, np.shape(P)[0])
        return training.predict.flat(self, answers) if self._flat else answers

    @_names.answering
    def evaluate(
        self,
        X: Samples,
        Y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
    ) -> tuple[float, float]:
        """Return the mean loss per sample, and the accuracy, or R² for a loss of numbers.

        The samples are evaluated in slices of bounded memory.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (D, N)
            The samples.
        Y : array_like of shape (n, N) or (N,)
            The labels.
        sample_weight : array_like of shape (N,), optional
            The weight w_i of each sample, at least 0, not all 0. Both results are then weighted
            means, such as Σ w_i L_i / Σ w_i.
        class_weight : dict, "balanced" or array_like, optional
            The weight of each sample by its class, times its sample_weight, as for `fit`. With
            "balanced" the accuracy is the mean of the classes' accuracies.

        Returns
        -------
        loss : float
            The mean loss per sample, computed from the logits.
        score : float
            The fraction of samples with the correct class; NaN if there is no class_fun. With
            Squared, Absolute and Huber R², as `score` defines it.

        Warns
        -----
        RuntimeWarning
            If an output is NaN; such a sample counts as wrong.
        """
        return training.predict.evaluate(self, X, Y, None, sample_weight, class_weight=class_weight)

    def log_likelihood(self, X: Samples, Y: ArrayLike) -> float:
        """Return log Π P(correct label) over the data, in nats: minus the summed NLL.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (D, N)
            The samples.
        Y : array_like of shape (n, N) or (N,)
            The labels.

        Returns
        -------
        float
            The log-likelihood.
        """
        return training.predict.log_likelihood(self, X, Y)

    def save(self, path: StrPath) -> None:
        """Write the network to a `.npz` file without pickle, atomically.

        A program that reads the file meanwhile gets the old one or the new one, never a part.

        Parameters
        ----------
        path : path_like
            The file. No suffix is added.

        Raises
        ------
        TypeError
            For modules other than the library's own.
        OSError
            If the file cannot be written.

        See Also
        --------
        nncore.load : Load it.
        """
        from nncore import serialization

        serialization.save(self, path)

    def summary(self) -> Text:
        """Return a table of the modules: place, module, shape of the output, parameters.

        Returns
        -------
        str
            The table. `print(net.summary())` prints it; a notebook shows it as it is. N is the
            number of samples, and ? a size that only a module of your own knows. A last line,
            `data:`, names scalings and classes if the network has any.
        """
        return summary(self)

    def __repr__(self) -> str:
        own = [getattr(m, "parameters", None) for m in self.modules]
        lines = [
            f"{m!r}"
            + (f"  # {count:,} parameters" if count and not isinstance(m, Sequential) else "")
            for m, count in zip(self.modules, own, strict=True)
        ]
        inner = "\n".join(lines).replace("\n", "\n  ")
        return (
            f"{type(self).__name__}([\n  {inner}\n], {self.loss!r})  # {self.parameters:,} "
            f"parameters{'' if self._preprocessing is None else self._preprocessing.summary}"
        )

    @property
    def parameters(self) -> int:
        """The number of weights of the library's modules."""
        return sum(getattr(m, "parameters", 0) for m in self.modules)


def load(path: StrPath, scaling: bool = True) -> Sequential:
    """Load a network that `Sequential.save` or `nncore train` has written.

    Parameters
    ----------
    path : str, bytes or os.PathLike
        The file.
    scaling : bool
        False gives the bare network, whose scaling, target_scaling, classes, feature_names and
        target_name are None: for programs that scale their data themselves.

    Returns
    -------
    Sequential
        The network.

    Raises
    ------
    ValueError
        If the file is not an nncore model.
    OSError
        If it cannot be opened.

    See Also
    --------
    Sequential.save : Write the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import nncore as nn
    >>> net = nn.Sequential([nn.Linear(2, 2), nn.SoftMax()], nn.NLL())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(os.path.join(folder, "model.npz"))
    ...     again = nn.load(os.path.join(folder, "model.npz"))
    >>> (again.modules[0].W == net.modules[0].W).all().item()
    True
    """
    from nncore import serialization

    return serialization.read(path, Sequential, _checks.switch("scaling", scaling))[0]
