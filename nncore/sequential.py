"""Sequential: a chain of modules and a loss, with the course library's contract and what ordinary use adds to it."""

import numpy as np

from nncore import fitting, modules, serialization, training

__all__ = ["Sequential"]


class Sequential:
    """A network: modules applied in order, and the loss that trains them. Samples are columns.

    modules: a list, kept as it is (the caller's own); loss: NLL, BinaryNLL, Squared, Hinge, or any object with forward(Ypred, Y) -> float
    and backward() -> dL/dZ; None for prediction only. Any object with forward, backward and step or sgd_step serves as a module.

    >>> import numpy as np
    >>> import nncore as nn
    >>> X, Y = np.array([[2, 3, 9, 12], [5, 2, 6, 5]]), np.array([[0, 1, 0, 1], [1, 0, 1, 0]])
    >>> np.random.seed(0)
    >>> net = nn.Sequential([nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.SoftMax()], nn.NLL())
    >>> net.sgd(X, Y, iters=2000, lrate=0.005)
    >>> net.predict(X).tolist()
    [1, 0, 1, 0]
    """

    def __init__(self, modules, loss=None):
        self.modules = modules
        self.loss = loss

    # ------------------------------------------------------------------------------------------ the course's contract

    def forward(self, X):
        """The last module's output (n, b) for X (D, b); every module keeps what its backward needs."""
        for module in self.modules:
            X = module.forward(X)
        return X

    def backward(self, delta):
        """Hand dL/dZ of the output back through all modules; returns None."""
        for module in self.modules[::-1]:
            delta = module.backward(delta)

    def sgd_step(self, lrate):
        """One step of every module, by whichever of the names sgd_step and step it has."""
        for module in self.modules:
            step = getattr(module, "sgd_step", None) or module.step
            step(lrate)

    def step(self, lrate):
        """The same as sgd_step."""
        self.sgd_step(lrate)

    def sgd(self, X, Y, iters=100, lrate=0.005):
        """`iters` steps of stochastic gradient descent; returns None.

        Every step draws one sample i by np.random.randint(N) (nothing is seeded), and steps by lrate along the gradient of its loss:
        W ← W − η(t) ∂L/∂W. X (D, N) and Y (n, N) of any real dtype are converted sample by sample. lrate: a number or a function
        of t = 1, 2, ... (nncore.schedules run inside the compiled loop). The weights' own memory is updated.

        RuntimeWarning, once, when the loss is not finite. TypeError, ValueError: refused before anything is drawn or changed.
        RuntimeError when the network is training already. Ctrl-C leaves the weights of a whole step.
        """
        training.sgd(self, X, Y, iters, lrate)

    def mini_gd(self, X, Y, iters, lrate, notif_each=None, K=10):
        """`iters` updates of mini-batch gradient descent, each by the gradient summed over K samples; returns None.

        Calls np.random.seed(0), then shuffles the samples by np.random.shuffle for each pass over them, every pass anew from the order of
        the one before; a rest of fewer than K samples is left out. X (D, N), Y (n, N) and lrate as for sgd; fit has the choices
        that this contract leaves out. notif_each: print iteration, accuracy on X, Y and the batch's loss after so many updates each.

        ValueError when K exceeds N; otherwise errors and warnings as sgd.
        """
        fitting.mini_gd(self, X, Y, iters, lrate, notif_each, K)

    def print_accuracy(self, it, X, Y, cur_loss, every=250):
        """When it % every == 1, print iteration, accuracy on X, Y and cur_loss as the course library does."""
        if it % every == 1:
            class_fun = training.class_fun(self)
            accuracy = np.mean(class_fun(self.forward(X)) == class_fun(Y))
            print("Iteration =", it, "\tAcc =", accuracy, "\tLoss =", cur_loss, flush=True)

    # ------------------------------------------------------------------------------------------ ordinary use

    def fit(self, X, Y, epochs=1, batch_size=32, shuffle=True, lrate=0.1, seed=None, reduction="mean"):
        """Mini-batch gradient descent over all samples, `epochs` times; returns {"loss": [mean loss a sample of each epoch, nats]}.

        X (D, N), Y (n, N). Each batch's loss is taken before its update; the last batch of an epoch may be smaller. shuffle: a new
        order each epoch from np.random.default_rng(seed). lrate: a number or a function of the update t = 1, 2, ... reduction:
        "mean" averages the gradient over the batch, so that the rate does not depend on its size; "sum" adds it up, as sgd does.

        ValueError for NaN or infinity in X or Y; FloatingPointError on divergence, naming the step, with the last finite weights
        of a whole step kept; otherwise as sgd.
        """
        return training.fit(self, X, Y, epochs, batch_size, shuffle, lrate, seed, reduction)

    def predict_proba(self, X):
        """Outputs (n, N) for X (D, N): probabilities when the last module is SoftMax or OutputSigmoid."""
        return training.outputs(self, X)

    def predictor(self):
        """A frozen, packed copy for prediction: `p = net.predictor()`, then `p(x)` or `p(x, out=array)`, in a fraction of a microsecond
        where the network is small.

        x (D,) gives (n,); x (D, N), samples as columns, gives (n, N). Other real types are converted to the network's. Later changes
        of the network's weights do not show. Threads may share it; it can be pickled. TypeError for networks with other modules than
        the library's own, and for weights that are not of one type, float32 or float64.

        >>> import numpy as np
        >>> import nncore
        >>> net = nncore.Sequential([nncore.Linear(2, 3), nncore.SoftMax()])
        >>> p = net.predictor()
        >>> bool(np.allclose(p(np.array([1.0, 2.0])), net.predict_proba([[1.0], [2.0]])[:, 0]))
        True
        """
        return training.predictor(self)

    def predict(self, X):
        """Classes for X (D, N), by the class_fun of the last module, else of the loss: (N,) int64; with Squared the outputs, (n, N)."""
        class_fun = training.class_fun(self)
        if class_fun is None:
            raise TypeError("the last module, or the loss, must have a class_fun to predict classes, got "
                            f"{type(self.modules[-1]).__name__ if self.modules else 'no module'} and {self.loss!r}")
        return class_fun(self.predict_proba(X))

    def evaluate(self, X, Y):
        """(mean loss a sample, accuracy: the share of samples whose class is right), in slices of bounded memory.

        The loss is computed from the logits; the accuracy is NaN with Squared and where nothing has a class_fun.
        """
        total, right, labels = 0.0, 0, 0
        class_fun = training.class_fun(self) if getattr(self.loss, "classifies", True) else None
        for P, losses, Ys in training.slices(self, X, Y):
            total += float(np.sum(losses, dtype=np.float64))
            if class_fun is not None:
                agree = class_fun(P) == class_fun(Ys)
                right, labels = right + int(np.sum(agree)), labels + np.size(agree)
        return total / np.shape(X)[1], right / labels if labels else float("nan")

    def log_likelihood(self, X, Y):
        """log Π P(correct label) over the data = −whole-data-set NLL, in nats."""
        return -sum(float(np.sum(losses, dtype=np.float64)) for _, losses, _ in training.slices(self, X, Y))

    def save(self, path):
        """Write the network to a `.npz` file without pickle, atomically: the old file or the new one, never half of one."""
        serialization.save(self, path)

    def __repr__(self):
        linears = [m for m in self.modules if isinstance(m, modules.Linear)]
        lines = [f"  {m!r}" + (f"  # {m.parameters:,} parameters" if isinstance(m, modules.Linear) else "") for m in self.modules]
        inner = "\n".join(lines)
        return f"{type(self).__name__}([\n{inner}\n], {self.loss!r})  # {sum(m.parameters for m in linears):,} parameters"
