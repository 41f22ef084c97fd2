"""
Digits: learning curve and early stopping
=========================================

The handwritten digits that come with nncore, 8 x 8 pixels each: mini-batches
with Adam, a fifth of the training images held out, and the weights of the best
epoch kept.
"""

import matplotlib.pyplot as plt
import numpy as np

import nncore as nn

X, labels = nn.datasets.load_digits("train")
X_test, labels_test = nn.datasets.load_digits("test")
X, X_test = X / 16, X_test / 16  # grey levels from 0 to 1

np.random.seed(0)
net = nn.Sequential(
    [nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10), nn.SoftMax()], nn.NLL()
)
stop = nn.callbacks.EarlyStopping(patience=10)
history = net.fit(
    X,
    labels,
    epochs=200,
    optimizer="adam",
    lrate=0.003,
    validation=0.2,
    callbacks=[stop],
    seed=0,
)
print(f"best epoch: {stop.best_epoch} of {len(history['loss'])}")
print(f"test accuracy: {net.score(X_test, labels_test):.4f}")

# %%
# :func:`nncore.plot_history` draws the lists that `fit` returns. The
# validation loss has stopped falling, while the training loss still falls:
# more epochs would overfit. The dotted line is the best epoch.

ax = nn.plot_history(history)
ax.axvline(stop.best_epoch, color="gray", linestyle=":")
plt.show()

# %%
# The confusion matrix shows which digit was taken for which.

predicted = net.predict(X_test)
confusion = np.zeros((10, 10), int)
np.add.at(confusion, (labels_test, predicted), 1)
figure, ax = plt.subplots(figsize=(5, 4.4), layout="constrained")
ax.imshow(np.log1p(confusion), cmap="Blues")
for (row, column), count in np.ndenumerate(confusion):
    if count:
        colour = "white" if row == column else "black"
        ax.text(
            column,
            row,
            count,
            ha="center",
            va="center",
            color=colour,
            fontsize="small",
        )
ax.set(xticks=range(10), yticks=range(10), xlabel="predicted", ylabel="label")
plt.show()

# %%
# The test images that the network gets wrong, with the label and the
# prediction.

wrong = np.flatnonzero(predicted != labels_test)[:8]
figure, axes = plt.subplots(
    1, len(wrong), figsize=(9, 1.6), layout="constrained"
)
for ax, k in zip(axes, wrong, strict=True):
    ax.imshow(X_test[:, k].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{labels_test[k]} as {predicted[k]}", fontsize="small")
    ax.set_axis_off()
plt.show()
