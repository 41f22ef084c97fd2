"""Mistakes of a user, one in each line that says so: mypy --strict and pyright must find them all,
and nothing else."""

import numpy as np

import nncore as nn

X, Y = np.zeros((2, 8)), np.zeros(8, np.int64)
net = nn.Sequential([nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.SoftMax()], nn.NLL())
net.fit(X, Y, epohcs=3)  # wrong
net.fit(X, Y, optimizer="adm")  # wrong
net.fit(X, Y, lr=0.1)  # wrong
net.fit(X, Y, reduction="average")  # wrong
net.fit(X, Y, epochs="3")  # wrong
net.fit(X, Y, callbacks=3)  # wrong
net.partial_fit(X, Y, lr=0.1)  # wrong
net.sgd(X, Y, epochs=3)  # wrong
net.learner(rate=0.1)  # wrong
net.trian()  # wrong
nn.Linear("a", 3)  # wrong
nn.Linear(2)  # wrong
nn.Linear(2, 3, init="glorott")  # wrong
nn.LeakyReLU("steep")  # wrong
nn.Sequential([nn.Linear(2, 3), "relu"])  # wrong
nn.Sequential([nn.Linear(2, 3)], "nll")  # wrong
nn.Sequential([nn.Linear(2, 3)], nn.NLL)  # wrong
nn.Sequential([nn.Linear(2, 3), nn.ReLU])  # wrong
nn.optimizers.Adam(0.001)  # wrong
nn.optimizers.Adam(lr=0.001)  # wrong
nn.optimizers.Momentum("much")  # wrong
nn.callbacks.EarlyStopping(patience="long")  # wrong
nn.datasets.load_digits("tset")  # wrong
nn.schedules.Cosine(0.1)  # wrong
nn.Lineer(2, 3)  # wrong
nn.use_backend("cuda")  # wrong
net.evaluate(X, Y).loss  # wrong
net.fit(X, Y).keys() + 1  # wrong
loss: str = net.partial_fit(X, Y)  # wrong
net.save(3)  # wrong
net.predict(X, batch_size=3)  # wrong
net.predict(X).argmx()  # wrong
net.predictor().predict(X)  # wrong
net.predictor()(X[:, 0], out="y")  # wrong
net.learner(lrate=0.1)(X[:, 0])  # wrong
net.learner(lrate=0.1).fit(X, Y)  # wrong
net.evaluate(X, Y, class_weight=nn.NLL)  # wrong
