"""SPORCO's online dictionary learner as an engine, for comparison and for the first shipped dictionary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cscopt import checks
from cscopt.backend import require
from cscopt.dictionary import ConvDictionary


def learn(
    images: Sequence[Any],
    n_filters: int,
    support: tuple[int, ...],
    lam: float,
    *,
    epochs: int = 1,
    coding_iterations: int = 50,
    step: tuple[float, float] = (10.0, 20.0),
    seed: int | np.random.Generator = 0,
    callback: Callable[[int, int], None] | None = None,
) -> ConvDictionary:
    r"""Learn single-channel, zero-mean, unit-norm filters from images, one image a step.

    minimise over ‖d_m‖ = 1 and x_k:  Σ_k ½‖Σ_m d_m * x_mk − y_k‖² + λ Σ_m ‖x_mk‖₁

    Parameters
    ----------
    images : sequence of array, (\*space)
        Real images, usually high-passed; each is one step of an epoch.
    n_filters, support : int, tuple of int
        Number and shape of the filters.
    lam : float
        λ > 0 in the units of the images.
    epochs : int, default 1
        Passes over the images, each in a new random order.
    coding_iterations : int, default 50
        ADMM iterations for each image.
    step : (float, float), default (10, 20)
        (a, b) of the step size a / (b + t) of step t.
    seed : int or Generator, default 0
        Of the initial filters and the order of the images.
    callback : callable, optional
        Called with the number of steps done and to do.

    Raises
    ------
    ImportError
        If SPORCO is absent.
    TypeError, ValueError
        If an image is not real, finite and at least as large as the support, or a number is out of range.

    Notes
    -----
    Liu, Garcia-Cardona, Wohlberg and Yin 2018, algorithm 1, by
    ``sporco.dictlrn.onlinecdl.OnlineConvBPDNDictLearn``.
    """
    onlinecdl = require("sporco.dictlrn.onlinecdl", "sporco", "the SPORCO engine")
    checks.count(n_filters, "n_filters", 1)
    checks.count(epochs, "epochs", 1)
    lam = checks.positive_number(lam, "lam")
    stack = [_checked(image, support) for image in images]
    if not stack:
        raise ValueError("images must not be empty")
    random = np.random.default_rng(seed)
    filters = random.standard_normal((*support, n_filters)).astype(np.float32)
    options = onlinecdl.OnlineConvBPDNDictLearn.Options(
        {
            "ZeroMean": True,
            "eta_a": float(step[0]),
            "eta_b": float(step[1]),
            "DataType": np.float32,
            "CBPDN": {
                "MaxMainIter": checks.count(coding_iterations, "coding_iterations", 1),
                "RelStopTol": 1e-3,
                "RelaxParam": 1.8,
                "rho": 50.0 * lam + 0.5,
                "DataType": np.float32,
            },
        }
    )
    learner = onlinecdl.OnlineConvBPDNDictLearn(filters, lam, options, dimN=len(support))
    for epoch in range(epochs):
        for k, index in enumerate(random.permutation(len(stack))):
            learner.solve(stack[index], dimK=0)
            if callback is not None:
                callback(epoch * len(stack) + k + 1, epochs * len(stack))
    learned = np.asarray(learner.getdict()).reshape((*support, n_filters))
    return ConvDictionary.from_sporco(learned.astype(np.float32)).normalized()


def _checked(image: Any, support: tuple[int, ...]) -> Any:
    array = np.asarray(image)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"images must be real; got {array.dtype}")
    array = array.astype(np.float32)
    checks.finite(array, "images")
    if array.ndim != len(support) or any(n < k for n, k in zip(array.shape, support, strict=True)):
        raise ValueError(f"images must have {len(support)} axes and be no smaller than {support}; got {array.shape}")
    return array
