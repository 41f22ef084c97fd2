"""How networks train and predict; the methods of Sequential call these modules.

validate.py    what is refused before a call starts
labels.py      labels as people have them, as columns
logits.py      the loss and its gradient from the logits
compile.py     the compiled program of a network, or the reason why there is none
session.py     one training at a time, signals between steps, what a failure puts back
cache.py       whether a program still fits its network; programs kept for the next call
progress.py    what a training shows of itself
sgd.py         sgd: one sample a step
mini_gd.py     mini_gd: the course's mini-batches
fit.py         fit and partial_fit: epochs, optimisers, validation, callbacks
predict.py     outputs, classes, losses and scores
explain.py     nncore.explain: which path a call takes, and why
"""
