"""Estimators as nncore's own networks."""

from nncore import losses, modules
from nncore.sequential import Sequential

HIDDEN = {"logistic": modules.Sigmoid, "tanh": modules.Tanh, "relu": modules.ReLU}
NAMES = {cls: name for name, cls in HIDDEN.items()}
OUTPUT = {
    "softmax": (modules.SoftMax, losses.NLL),
    "logistic": (modules.OutputSigmoid, losses.BinaryNLL),
}


def network_of(estimator):
    """A Sequential on the estimator's own arrays: training one trains the other."""
    if estimator.out_activation_ == "exp":
        raise AttributeError("network_ needs a loss other than 'poisson': nncore has no Exp module")
    parts = []
    coefs, intercepts = estimator.coefs_, estimator.intercepts_
    for i, (W, w0) in enumerate(zip(coefs, intercepts, strict=True)):
        linear = modules.Linear(*W.shape)
        linear.W, linear.W0 = W, w0.reshape(-1, 1)
        parts.append(linear)
        if i < len(coefs) - 1 and estimator.activation != "identity":
            parts.append(HIDDEN[estimator.activation]())
    unit, loss = OUTPUT.get(estimator.out_activation_, (None, losses.Squared))
    if estimator.loss == "hinge":
        loss = losses.Hinge
    return Sequential(parts if unit is None else [*parts, unit()], loss())
