# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Super-resolution: classical sparse coding against an unrolled network
#
# A small picture $y$ is what is left of a large one $v$ after bicubic shrinking, $y = A v$. Three ways back:
#
# 1. **bicubic** interpolation, the yardstick;
# 2. **convolutional sparse coding**: $v = v_\text{low} + \sum_m d_m * x_m$ with
#    $\min_x \tfrac12 \| A \sum_m d_m * x_m - (y - A v_\text{low}) \|_2^2 + \lambda \| x \|_1$. The filters were learned
#    once, from other pictures, for no task in particular, and FISTA knows $A$;
# 3. **CRNet-A**, an unrolled ISTA whose convolutions were trained for just this task.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import cscopt
import learned
from cscopt import datasets, lowpass, metrics
from cscopt.operators import Bicubic
from learned.data.images import crop_to_multiple, eight_bits, resize

# %% [markdown]
# ## The protocol
#
# Pictures and low resolution have 8 bits; `scale` pixels at each border do not count. Neither the filters nor the
# network have seen these pictures.

# %%
scale = 3
pictures = {
    "camera": datasets.picture("camera")[64:364, 96:396],
    "text": datasets.picture("text")[:, :447],
    "clock": datasets.picture("clock"),
}
truth = {name: crop_to_multiple(eight_bits(255 * image), scale) for name, image in pictures.items()}
small = {name: eight_bits(resize(image, 1 / scale)) for name, image in truth.items()}
print({name: f"{small[name].shape} → {image.shape}" for name, image in truth.items()})

# %% [markdown]
# ## Classical: FISTA through the resampling operator
#
# The smooth part comes from interpolation; the codes explain what it leaves of the *small* picture, at full
# resolution. `solve` needs the operator and its adjoint, and nothing else changes.

# %%
dictionary = cscopt.ConvDictionary.load("natural-8x8x32")


def posed(low):
    """The smooth part of the enlarged picture, and the problem of its detail."""
    y = (low / 255).astype(np.float32)[None, None]
    smooth = lowpass.split((resize(low, scale) / 255).astype(np.float32)[None, None])[0]
    shrink = Bicubic(smooth.shape[1:], 1 / scale)
    return smooth, cscopt.CSCProblem(y - shrink.apply(smooth), dictionary, 0.001, forward=shrink)


def classical(low):
    """Enlarge by convolutional sparse coding."""
    smooth, problem = posed(low)
    solution = cscopt.solve(problem, "fista", tol=1e-2, max_iter=200)
    return eight_bits(255 * (smooth + solution.reconstruction)[0, 0])


# %% [markdown]
# ## Unrolled: CRNet-A
#
# `crnet-a-small` was trained on the 291 pictures that the super-resolution literature trains on, for ×2, ×3 and ×4
# at once, on two CPU cores. Where its weights come from is inside the file.

# %%
network = learned.load("crnet-a-small")
print({k: v for k, v in network.provenance.items() if k != "config"})

# %%
methods = {
    "bicubic": lambda low: learned.enlarge(None, low, scale),
    "CSC, FISTA": classical,
    "CRNet-A (small)": lambda low: learned.enlarge(network, low, scale),
}
numbers = {
    "bicubic": 0,
    "CSC, FISTA": int(np.prod(dictionary.filters.shape)),
    "CRNet-A (small)": sum(p.numel() for p in network.parameters()),
}
inside = (slice(scale, -scale),) * 2
rows, answers = [], {}
for name, low in small.items():
    for method, enlarge in methods.items():
        began = time.perf_counter()
        answers[name, method] = enlarge(low)
        seconds = time.perf_counter() - began
        pair = answers[name, method][inside].astype(float), truth[name][inside].astype(float)
        rows.append(
            {
                "picture": name,
                "method": method,
                "PSNR": metrics.psnr(*pair, 255),
                "SSIM": metrics.ssim(*pair, 255),
                "seconds": seconds,
                "numbers learned": numbers[method],
            }
        )
table = pd.DataFrame(rows).set_index(["picture", "method"])
table.round({"PSNR": 2, "SSIM": 4, "seconds": 2})

# %% [markdown]
# ## Side by side

# %%
parts = {"camera": (slice(30, 130), slice(110, 210)), "text": (slice(20, 120), slice(60, 160))}
figure, axes = plt.subplots(len(parts), 4, figsize=(13, 7), layout="constrained")
for line, (name, part) in zip(axes, parts.items(), strict=True):
    shown = {"original": truth[name], **{m: answers[name, m] for m in methods}}
    for axis, (title, image) in zip(line, shown.items(), strict=True):
        axis.imshow(image[part], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        psnr = "" if title == "original" else f", {table.loc[(name, title), 'PSNR']:.2f} dB"
        axis.set_title(title + psnr, fontsize=10)
        axis.set_axis_off()

# %% [markdown]
# ## What each knows
#
# The classical answer comes with a certificate, takes any operator $A$, and its 2,048 numbers know nothing of
# super-resolution. The network has a hundred times as many, knows one task, and answers without iterating to
# convergence. Below: how the classical answer gets better as FISTA goes on, and where its codes are.

# %%
name = "camera"
smooth, problem = posed(small[name])
track = []


def watch(iterate):
    """PSNR at this point."""
    image = 255.0 * (smooth + iterate.reconstruction)[0, 0]
    track.append((iterate.iteration, metrics.psnr(image[inside], truth[name][inside].astype(float), 255), iterate.gap))


solution = cscopt.solve(problem, "fista", tol=0, max_iter=200, callback=watch)
iterations, quality, gaps = np.array(track).T
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
axes[0].plot(iterations, quality)
axes[0].axhline(table.loc[(name, "bicubic"), "PSNR"], color="gray", linestyle=":", label="bicubic")
axes[0].axhline(
    table.loc[(name, "CRNet-A (small)"), "PSNR"], color="tab:orange", linestyle="--", label="CRNet-A (small)"
)
axes[0].set(xlabel="iterations of FISTA", ylabel="PSNR (dB)")
axes[0].legend()
axes[1].semilogy(iterations, gaps)
axes[1].set(xlabel="iterations of FISTA", ylabel="relative duality gap")
axes[2].imshow(np.abs(solution.codes[0]).sum(0), cmap="magma", vmax=np.abs(solution.codes[0]).sum(0).max() / 3)
axes[2].set_title("where the codes are")
axes[2].set_axis_off()
print(f"{solution.nonzeros / solution.codes.size:.1%} of the coefficients are not zero")
