"""scikit-learn's own classes, whatever names `patch` has put in their place."""

from sklearn.neural_network import _multilayer_perceptron, _stochastic_optimizers

ScikitClassifier = _multilayer_perceptron.MLPClassifier
ScikitRegressor = _multilayer_perceptron.MLPRegressor
SGDOptimizer = _stochastic_optimizers.SGDOptimizer
AdamOptimizer = _stochastic_optimizers.AdamOptimizer
