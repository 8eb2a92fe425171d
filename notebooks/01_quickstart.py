# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Quickstart: code a photograph, and know how good the answer is
#
# Convolutional sparse coding writes a picture $y$ as a sum of small filters $d_m$ convolved with sparse maps $x_m$:
#
# $$\min_x \; \tfrac12 \Big\| \sum_m d_m * x_m - y \Big\|_2^2 + \lambda \sum_m \| x_m \|_1 .$$
#
# `cscopt` solves it and says how far from the optimum the answer is *at most*: the relative duality gap.

# %%
import matplotlib.pyplot as plt
import numpy as np

import cscopt
from cscopt import datasets, lowpass, plot

# %% [markdown]
# ## A picture and a dictionary
#
# Filters explain detail; the smooth background is taken out first. Images are `(batch, channel, height, width)`,
# filters `(filter, channel, height, width)`.

# %%
image = datasets.picture("camera")[80:336, 120:376]
low, high = lowpass.split(image[None, None])
dictionary = cscopt.ConvDictionary.load("natural-8x8x32")
print(dictionary)
print("learned from {images} tiles of other pictures, at λ = {lam}, β = {beta}".format(**dictionary.provenance))

figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
for axis, picture, title in zip(
    axes, (image, high[0, 0], plot.mosaic(dictionary)), ("picture", "without its low-pass part", "filters"), strict=True
):
    axis.imshow(picture, cmap="gray")
    axis.set_title(title)
    axis.set_axis_off()

# %% [markdown]
# ## Solve
#
# All checks happen in `CSCProblem`. Above `lambda_max` every code is zero; useful values lie well below.

# %%
problem = cscopt.CSCProblem(high, dictionary, cscopt.L1(0.05))
print(f"λ_max = {problem.lambda_max:.3f}")

solution = cscopt.solve(problem, tol=1e-3)
print(solution)
print(f"{solution.nonzeros} of {solution.codes.size} coefficients are not zero")

# %% [markdown]
# The objective of these codes is at most 0.1 % above the optimum. That is a theorem about this very answer (a dual
# feasible point was computed), not a guess from iterates that stopped moving. `certify` does the same for *any* codes,
# whoever computed them. From codes alone it makes one bound, where the solver keeps the best of its run: here its gap
# is some times as large, and as true.

# %%
rough = np.where(np.abs(solution.codes) > 0.02, solution.codes, 0)
for name, codes in (("solution", solution.codes), ("after a hard threshold", rough)):
    certificate = cscopt.certify(problem, codes)
    print(f"{name:24} objective {certificate.objective[0]:.4f}, gap {certificate.gap[0]:.1e}")

# %% [markdown]
# ## Three solvers
#
# The first compiled run is slow; compiled code is cached for the next time.

# %%
for method in ("admm", "fista", "ista"):
    cscopt.solve(problem, method, max_iter=1)
solutions = {
    method: cscopt.solve(problem, method, tol=1e-3, max_iter=n)
    for method, n in (("admm", 500), ("fista", 500), ("ista", 300))
}
for method, answer in solutions.items():
    print(f"{method:6}{answer.iterations:4} iterations,{answer.seconds:6.2f} s, gap {answer.gap:.1e}, {answer.status}")

figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
plot.gap_against_time(axis, solutions)

# %% [markdown]
# ## Look at the codes

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
coded = low[0, 0] + solution.reconstruction[0, 0]
active = plot.activity(solution.codes)
axes[0].imshow(coded, cmap="gray", vmin=0, vmax=1)
axes[0].set_title("low-pass part + Σ d * x")
axes[1].imshow(active, cmap="magma", vmax=np.quantile(active, 0.995))
axes[1].set_title("where codes are active")
axes[2].imshow(image - coded, cmap="gray", vmin=-0.1, vmax=0.1)
axes[2].set_title("what is left")
for axis in axes:
    axis.set_axis_off()

# %% [markdown]
# ## Variants are arguments
#
# Half of the pixels missing, non-negative codes, nothing assumed beyond the border; and back from an interrupted run.

# %%
mask = np.random.default_rng(0).random(image.shape) > 0.5
holes = cscopt.CSCProblem(high * mask, dictionary, cscopt.L1(0.02, nonnegative=True), mask=mask, boundary="none")
first = cscopt.solve(holes, "fista", tol=1e-2, max_iter=100)
second = cscopt.solve(holes, "fista", tol=1e-2, max_iter=300, state=first.state)
print(first, second, sep="\n")

figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
axes[0].imshow(image * mask, cmap="gray", vmin=0, vmax=1)
axes[0].set_title("half of the pixels")
axes[1].imshow(low[0, 0] + second.reconstruction[0, 0], cmap="gray", vmin=0, vmax=1)
axes[1].set_title("filled in (low-pass part known)")
for axis in axes:
    axis.set_axis_off()
