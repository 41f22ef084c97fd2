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
"""
