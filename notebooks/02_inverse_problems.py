# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Inverse problems: one prior, many operators
#
# A picture is a smooth part plus a sum of small filters convolved with sparse maps. Data $y$ come from it through a
# known operator $A$ and noise:
#
# $$\min_x \; f\Big(A \big(x_\text{low} + \textstyle\sum_m d_m * x_m\big),\, y\Big) + \lambda \sum_m \| x_m \|_1 .$$
#
# What changes from one problem to the next is $A$ and the data fit $f$; dictionary, solver and certificate stay.

# %%
import matplotlib.pyplot as plt
import numpy as np

import cscopt
from cscopt import datasets, metrics
from cscopt.operators import MRI, Blur, complex_noise, missing_pixels, random_mask, shake_kernel

plt.rcParams["figure.dpi"] = 75
truth = datasets.picture("camera")[80:272, 160:352]
rng = np.random.default_rng(0)


def show(pictures, titles, **options):
    _, axes = plt.subplots(1, len(pictures), figsize=(4 * len(pictures), 4.2), layout="constrained")
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        axis.imshow(np.abs(picture), cmap="gray", vmin=0, vmax=1, **options)
        axis.set_title(title)
        axis.set_axis_off()


def report(found):
    before, after, gap = found.metrics["psnr_first"], found.metrics["psnr"], found.solution.gap
    print(f"{before:.2f} -> {after:.2f} dB, λ {found.lam:.4f}, gap {gap:.1e}, by {found.solution.solver.name}")


# %% [markdown]
# ## Missing pixels
#
# Half of the pixels are gone. $A$ is a mask; the smooth part comes from linear interpolation between what is left.
# A mask is no obstacle to the working set, the fastest solver.

# %%
known = missing_pixels(truth.shape, 0.5, rng=0)
holes = np.where(known, truth, 0).astype(np.float32)
found = cscopt.inpaint(holes, known, truth=truth)
report(found)
show([holes, found.image, truth], ["half of the pixels", "filled in", "truth"])

# %% [markdown]
# ## Impulse noise
#
# Every tenth pixel is black or white. Squares let outliers rule; the ℓ1 data fit does not mind them. The smooth part
# is that of the picture's 3×3 median.

# %%
from scipy.ndimage import median_filter

struck = rng.random(truth.shape) < 0.1
salted = np.where(struck, rng.integers(0, 2, truth.shape), truth).astype(np.float32)
low, _ = cscopt.lowpass.split(median_filter(salted, 3)[None, None], 5.0)
dictionary = cscopt.ConvDictionary.load("natural-8x8x32")
pictures = [salted]
for fit, lam in (("l2", 0.5), ("l1", 1.6)):
    problem = cscopt.CSCProblem(salted[None, None] - low, dictionary, lam, fit=fit)
    solution = cscopt.solve(problem, tol=1e-2, max_iter=500)
    pictures.append((low + solution.reconstruction)[0, 0])
    print(f"{fit}: {metrics.psnr(pictures[-1], truth):.2f} dB, gap {solution.gap:.1e}, by {solution.solver.name}")
print(f"median: {metrics.psnr(median_filter(salted, 3), truth):.2f} dB")
show([*pictures, truth], ["impulse noise", "least squares", "ℓ1 data fit", "truth"])

# %% [markdown]
# ## A shaken camera
#
# What lies just outside a photograph has moved into it. `deblur` takes the scene there for unknown, and where few codes
# are not zero its filters absorb the blur. (With `boundary="circular"` the scene wraps around, as in many a benchmark;
# but a photograph is ruined.)

# %%
kernel = shake_kernel(19, rng=4)
camera = Blur((1, *truth.shape), kernel, "none")
blurred = camera.apply(truth[None, None])[0, 0]
blurred = (blurred + 0.003 * rng.standard_normal(blurred.shape)).astype(np.float32)
found = cscopt.deblur(blurred, kernel, truth=truth[camera.seen])
report(found)
show([kernel / kernel.max(), blurred, found.image, truth[camera.seen]], ["kernel", "blurred", "sharp again", "truth"])

# %% [markdown]
# ## MRI
#
# A quarter of k-space, with noise. Zero filling leaves aliases; sparse codes of the same dictionary, now complex,
# remove most of them.

# %%
from skimage.data import shepp_logan_phantom
from skimage.transform import resize

phantom = resize(shepp_logan_phantom(), (192, 192), anti_aliasing=True).astype(np.float32)
mask = random_mask(phantom.shape, 4, rng=0)
scanner = MRI(mask)
samples = complex_noise(scanner.apply(phantom[None, None].astype(np.complex64)), 0.005, mask, rng=0)
samples = samples[0, 0].astype(np.complex64)
found = cscopt.reconstruct_mri(samples, mask, truth=phantom, beta=16.0)
report(found)
show(
    [mask, scanner.adjoint(samples[None, None])[0, 0], found.image, phantom],
    ["k-space sampled", "zero filling", "reconstructed", "truth"],
)

# %% [markdown]
# ## CT
#
# Sixty parallel projections, 4096 photons a detector pixel. ASTRA computes the projections; where it is absent
# (`pip install 'cscopt[ct]'`), this part is left out.

# %%
try:
    from cscopt.operators import CT, fbp, transmission_noise

    tomograph = CT(phantom.shape, np.arange(60) * np.pi / 60, detectors=275, pixel_size=1 / 40)
except ImportError as error:
    print(error)
else:
    clean = tomograph.apply(phantom[None, None])[0, 0]
    sinogram = transmission_noise(clean, photons=4096, rng=0).astype(np.float32)
    first = fbp(sinogram[None, None], tomograph, filter="hann")[0, 0].astype(np.float32)
    found = cscopt.reconstruct_ct(sinogram, tomograph, first, truth=phantom, lam=0.012, max_iter=400)
    report(found)
    show([sinogram / sinogram.max(), first, found.image, phantom], ["sinogram", "FBP", "reconstructed", "truth"])

# %% [markdown]
# ## Which λ?
#
# Where the noise is known, the residual should be as large as it is (the discrepancy principle): `minimise_l1` finds
# the λ for that, with a certificate of its own. Otherwise a path of λ, each answer the start of the next, shows all.

# %%
noisy = (truth + 0.1 * rng.standard_normal(truth.shape)).astype(np.float32)
low, high = cscopt.lowpass.split(noisy[None, None], 3.0)
problem = cscopt.CSCProblem(high, dictionary, 1.0)
answers = cscopt.path(problem, 12, least=0.05, tol=1e-3)
lams = [float(s.problem.penalty.lam) for s in answers]
scores = [metrics.psnr((low + s.reconstruction)[0, 0], truth) for s in answers]
plt.figure(figsize=(6, 3.2), layout="constrained")
plt.semilogx(lams, scores, "o-")
plt.axvline(0.22, color="gray", linestyle="--", label="2.2 σ, what denoise takes")
plt.xlabel("λ")
plt.ylabel("PSNR (dB)")
plt.legend()
plt.grid(alpha=0.3)
print(f"{sum(s.seconds for s in answers):.1f} s for {len(answers)} answers, each to a gap of 1e-3")
