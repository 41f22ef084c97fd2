"""
Online learning while the data drift
====================================

A stream of points whose classes move. :meth:`nncore.Sequential.learner`
predicts each point first and learns it afterwards; a copy that stopped
learning early falls behind.
"""

import matplotlib.pyplot as plt
import numpy as np

import nncore as nn

SAMPLES = 20_000
rng = np.random.default_rng(0)
points = rng.uniform(-2, 2, (SAMPLES, 2))
angle = (
    np.pi * np.clip(np.arange(SAMPLES) / SAMPLES - 0.3, 0, 0.4) / 0.4
)  # turns by 180 degrees
along = np.cos(angle) * points[:, 0] + np.sin(angle) * points[:, 1]
labels = (along > 0).astype(int)

np.random.seed(0)
layers = [nn.Linear(2, 10), nn.Tanh(), nn.Linear(10, 2), nn.SoftMax()]
net = nn.Sequential(layers, nn.NLL())
right, right_frozen = np.zeros(SAMPLES, bool), np.zeros(SAMPLES, bool)
frozen = net.predictor()
with net.learner(lrate=0.1) as learn:
    for t, (x, label) in enumerate(zip(points, labels, strict=True)):
        if t == int(0.3 * SAMPLES):
            frozen = net.predictor()
        right[t] = learn.predict(x).argmax() == label
        learn(x, label)
        right_frozen[t] = (
            right[t] if t < 0.3 * SAMPLES else frozen(x).argmax() == label
        )

# %%
# The share of correct predictions among the last 500. Every prediction was
# made before the label was used, so this is a test accuracy: it is called
# prequential.

window = np.ones(500) / 500
figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
for hits, name in (
    (right, "goes on learning"),
    (right_frozen, "frozen before the drift"),
):
    ax.plot(
        np.arange(499, SAMPLES), np.convolve(hits, window, "valid"), label=name
    )
ax.axvspan(
    0.3 * SAMPLES,
    0.7 * SAMPLES,
    color="gray",
    alpha=0.15,
    label="the classes turn",
)
ax.set(
    xlabel="samples seen", ylabel="accuracy over the last 500", ylim=(0, 1.02)
)
ax.legend(loc="lower left")
plt.show()
print(f"prequential accuracy: {right.mean():.3f}")
print(f"that of the frozen copy: {right_frozen.mean():.3f}")
