"""
Schedules: how the step size changes
====================================

`lrate` may be a function of the update t = 1, 2, ... These are the schedules
of `nncore.schedules`, which are evaluated inside the compiled loop.
"""

import matplotlib.pyplot as plt

import nncore as nn

t = range(1, 1001)
schedules = {
    "Constant(0.1)": nn.schedules.Constant(0.1),
    "InverseTime(0.1, decay=0.01)": nn.schedules.InverseTime(0.1, decay=0.01),
    "Power(0.1, power=0.5)": nn.schedules.Power(0.1, power=0.5),
    "Step(0.1, every=300, factor=0.3)": nn.schedules.Step(
        0.1, every=300, factor=0.3
    ),
    "Cosine(0.1, steps=1000)": nn.schedules.Cosine(0.1, steps=1000),
}
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, schedule in schedules.items():
    ax.plot(t, [schedule(k) for k in t], label=name)
ax.set(xlabel="update t", ylabel="step size")
ax.grid(alpha=0.3)
ax.legend(fontsize="small")
plt.show()
