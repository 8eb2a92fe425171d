"""Figures: dictionaries, codes, and how solvers approach the optimum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cscopt.backend import to_numpy
from cscopt.dictionary import ConvDictionary
from cscopt.io import replacing
from cscopt.solvers import Solution


def mosaic(dictionary: ConvDictionary, columns: int | None = None) -> np.ndarray[Any, Any]:
    """Filters of two spatial axes as one picture, each scaled to its largest modulus; values in [0, 1]."""
    if len(dictionary.support) != 2 or dictionary.channels not in (1, 3):
        raise ValueError(f"a mosaic shows grey or RGB filters of two axes; got {dictionary}")
    filters = np.moveaxis(to_numpy(dictionary.filters), 1, -1)
    count, height, width, channels = filters.shape
    columns = columns or math.ceil(math.sqrt(count * 2))
    rows = math.ceil(count / columns)
    sheet = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, channels))
    for m, one in enumerate(filters):
        top, left = 1 + (m // columns) * (height + 1), 1 + (m % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = 0.5 + 0.5 * one / np.abs(one).max()
    return sheet[..., 0] if channels == 1 else sheet


def activity(codes: Any) -> np.ndarray[Any, Any]:
    """Σ_m |x_m| of the first item."""
    return np.abs(to_numpy(codes)[0]).sum(axis=0)


def overview(image: Any, low: Any, solutions: Mapping[str, Solution]) -> Any:
    """Picture, reconstruction, dictionary, where codes are active, and gap against time.

    Parameters
    ----------
    image, low : array, (H, W) or (H, W, 3)
        The picture, and the smooth part that was not coded.
    solutions : mapping of str to Solution
        By name of the method; pictures show the one with the smallest objective.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    best = min(solutions.values(), key=lambda solution: solution.objective)
    coded = np.moveaxis(to_numpy(best.reconstruction)[0], 0, -1).reshape(np.shape(image))
    figure = Figure(figsize=(13, 7.6), layout="constrained")
    axes = figure.subplot_mosaic("abc;dee")
    _show(axes["a"], image, "picture", vmin=0, vmax=1)
    _show(axes["b"], np.clip(low + coded, 0, 1), "reconstruction", vmin=0, vmax=1)
    _show(axes["c"], mosaic(best.problem.dictionary), f"dictionary ({best.problem.dictionary.n_filters} filters)")
    active = activity(best.codes)
    title, peak = f"Σ|x|, {best.nonzeros:,} non-zeros", np.quantile(active, 0.995)
    _show(axes["d"], active, title, cmap="magma", vmin=0, vmax=peak)
    gap_against_time(axes["e"], solutions)
    return figure


def gap_against_time(axes: Any, solutions: Mapping[str, Solution]) -> None:
    """Relative duality gap against seconds, one line a method; of penalties that are not convex the KKT residual."""
    convex = {solution.problem.penalty.convex for solution in solutions.values()}
    if len(convex) > 1:
        raise ValueError("solutions must all have a gap, or all a KKT residual: penalties that are convex, or none")
    known = "gap" if convex == {True} else "kkt_residual"
    for name, solution in solutions.items():
        values, seconds = np.array(solution.history[known]), solution.history["seconds"]
        axes.semilogy(seconds, np.maximum(values, 1e-16), label=name, linewidth=2)
    label = {"gap": "relative duality gap", "kkt_residual": "KKT residual"}[known]
    title = {"gap": "how far from optimal, at most", "kkt_residual": "how far from stationary"}[known]
    axes.set(xlabel="seconds", ylabel=label, title=title)
    axes.grid(visible=True, which="major", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False)


def save(figure: Any, path: str | Path) -> None:
    """Write a figure, complete or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _show(axes: Any, image: Any, title: str, **options: Any) -> None:
    axes.imshow(image, **{"cmap": "gray", **options})
    axes.set_title(title)
    axes.set_axis_off()
