# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Dictionaries, and banks of them
#
# Which filters? Those with which a set of pictures $y_k$ has the sparsest codes:
#
# $$\min_{\|d_m\| = 1} \; \sum_k \min_{x_k} \;
# \tfrac12 \Big\| \sum_m d_m * x_{mk} - y_k \Big\|^2 + \lambda \sum_m \| x_{mk} \|_1 .$$
#
# The online learner codes one picture at a time, and keeps of its codes only their correlations with one another and
# with the picture: all that a quadratic function of the filters needs, in a few small arrays.

# %%
import matplotlib.pyplot as plt
import numpy as np

import cscopt
from cscopt import ConvDictionaryLearning, datasets, lowpass, plot

plt.rcParams["figure.dpi"] = 75


def high(name, side=192):
    picture = datasets.picture(name)
    return lowpass.split(picture[None, None])[1][0, 0, :side, :side]


images = [high(name) for name in ("astronaut", "coffee", "chelsea", "moon", "brick", "grass")]
camera = lowpass.split(datasets.picture("camera")[None, None])[1][0, 0, 80:272, 160:352]

# %% [markdown]
# ## Watch the atoms form
#
# From noise, in six passes over six pictures.

# %%
learner = ConvDictionaryLearning(
    n_filters=25, support=(8, 8), lam=0.1, zero_mean=True, init="noise", max_epochs=6, stop_below=0, random_state=0
)
learner.fit(images)
print(f"{learner.n_iter_} steps, {learner.learned_.seconds:.1f} s")
stages = learner.learned_.snapshots
_, axes = plt.subplots(1, 4, figsize=(14, 3.8), layout="constrained")
for axis, epoch in zip(axes, (0, 1, 2, 6), strict=True):
    axis.imshow(plot.mosaic(cscopt.ConvDictionary(stages[epoch]), 5), cmap="gray")
    axis.set_title(f"epochs: {epoch}")
    axis.set_axis_off()

# %%
_, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.plot(learner.history_["step"], learner.history_["objective"], ".-")
_ = axis.set(xlabel="step", ylabel="objective of the step's picture")

# %% [markdown]
# The same learner fits scikit-learn's pipelines and searches: `fit`, `partial_fit`, `transform`, `inverse_transform`,
# `score`. Codes are sparse lists.

# %%
codes = learner.transform([camera])[0]
print(codes)
rebuilt = learner.inverse_transform([codes])[0]
print(f"error {np.linalg.norm(rebuilt - camera) / np.linalg.norm(camera):.1%} of the high-pass part")

# %% [markdown]
# ## A small bank
#
# A bank is a folder of dictionaries, each in a file of its own with its provenance inside. A specification in YAML
# names the data and a grid of options; `cscopt bank build SPEC.yaml -o BANK` runs what is missing, in parallel, and
# goes on where it was killed.

# %%
import tempfile
from pathlib import Path

from cscopt.bank import build

SPEC = """
data: {skimage: [astronaut, coffee, chelsea, moon, brick], tile: 160, at_most: 8}
holdout: 1
engine: {name: online, constraint: {zero_mean: true}}
max_epochs: 2
grid:
  - {n_filters: [8, 16, 32], support: 8, lam: 0.1, beta: 5}
  - {n_filters: 16, support: [5, 12], lam: 0.1, beta: 5}
"""
folder = Path(tempfile.mkdtemp())
(folder / "spec.yaml").write_text(SPEC)
bank = build(folder / "spec.yaml", folder / "bank")
for entry in bank:
    print(f"{entry.name}: held out {entry.held_out:.3f}, {entry.seconds:.1f} s")

# %% [markdown]
# ## The same picture with each
#
# At one λ and one low-pass, the least objective is the best description. Each is certified to a gap of 1e-3, so that
# the order is no accident of a solver that stopped early.

# %%
scores = bank.scores(datasets.picture("camera")[80:272, 160:352], lam=0.1, beta=5.0)
for score in scores:
    print(f"{score.objective:8.4f}  {score.entry.name}")

_, axes = plt.subplots(1, len(scores), figsize=(3 * len(scores), 3.4), layout="constrained")
for axis, score in zip(axes, scores, strict=True):
    axis.imshow(plot.mosaic(score.entry.load()), cmap="gray")
    axis.set_title(f"{score.objective:.3f}")
    axis.set_axis_off()
