"""
Activations and their derivatives
=================================

The activations of hidden layers, drawn from the modules themselves: `forward`
gives the value, and `backward` of ones gives the derivative.
"""

import matplotlib.pyplot as plt
import numpy as np

import nncore as nn

z = np.linspace(-4, 4, 401)[None]
modules = [
    nn.Tanh(),
    nn.Sigmoid(),
    nn.ReLU(),
    nn.LeakyReLU(0.1),
    nn.GELU(),
    nn.SiLU(),
]
figure, axes = plt.subplots(
    2, 3, figsize=(9, 5), sharex=True, layout="constrained"
)
for ax, module in zip(axes.flat, modules, strict=True):
    ax.plot(z[0], module.forward(z)[0], label="f(z)")
    ax.plot(
        z[0],
        module.backward(np.ones_like(z))[0],
        label="f′(z)",
        linestyle="--",
    )
    ax.set_title(repr(module), fontsize="small")
    ax.grid(alpha=0.3)
axes[0, 0].legend()
plt.show()
