"""Image quality: PSNR and SSIM, by scikit-image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cscopt.backend import Array, to_numpy


def psnr(image: Array, truth: Array, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio 10 log₁₀(peak² / MSE) in dB; infinite for equal images.

    Parameters
    ----------
    image, truth : array
        Of equal shape. Complex images are compared as complex numbers.
    data_range : float, optional
        The peak; by default 1 if the truth lies in [0, 1], else its largest modulus.
    """
    a, b = to_numpy(image), to_numpy(truth)
    if a.shape != b.shape:
        raise ValueError(f"image and truth must have one shape; got {a.shape} and {b.shape}")
    error = float(np.mean(np.abs(a.astype(np.result_type(a, np.float64)) - b) ** 2))
    peak = _peak(b) if data_range is None else float(data_range)
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def ssim(image: Array, truth: Array, data_range: float | None = None, channel_axis: int | None = None) -> float:
    """Structural similarity of real images with a Gaussian window of σ = 1.5 (Wang et al. 2004)."""
    from skimage.metrics import structural_similarity

    a, b = to_numpy(image), to_numpy(truth)
    if np.iscomplexobj(a) or np.iscomplexobj(b):
        raise TypeError("ssim is of real images; take the moduli of complex ones")
    a, b = a.astype(np.float64), b.astype(np.float64)
    peak = _peak(b) if data_range is None else float(data_range)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(a, b, data_range=peak, channel_axis=channel_axis, **window))


def _peak(truth: Any) -> float:
    if not np.iscomplexobj(truth) and truth.min() >= 0 and truth.max() <= 1:
        return 1.0
    return float(np.abs(truth).max())
