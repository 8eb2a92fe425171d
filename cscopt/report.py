"""One page about a bank: every dictionary drawn, how it was learned, and where it comes from."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path
from typing import Any

import numpy as np

from cscopt import io
from cscopt.backend import to_numpy
from cscopt.bank import Bank, Entry
from cscopt.bank.words import dictionaries
from cscopt.dictionary import ConvDictionary
from cscopt.plot import mosaic

COLUMNS = (
    *("filters", "support", "channels", "λ", "β", "engine", "seed", "data", "images", "steps", "held out", "seconds"),
    "cscopt",
)
ZOOM = 7
"""Pixels of the screen to a coefficient."""

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.05rem; margin: 0 0 .3rem }
p { margin: .3rem 0; color: #555 } a { color: #1f5fa8; text-decoration: none }
table { border-collapse: collapse; font-size: .85rem; margin: 1rem 0 }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid #e4e4e4 }
th { color: #666; font-weight: 600 } th:first-child, td:first-child { text-align: left }
section { border-top: 1px solid #ddd; padding: 1rem 0; display: flex; flex-wrap: wrap; gap: 1rem 2rem;
  align-items: start }
section > h2, section > p, section > details { flex-basis: 100%; margin: 0 }
img { image-rendering: pixelated; max-width: 100% } svg { overflow: visible }
details table { margin: .4rem 0 } details td { text-align: left; word-break: break-all }
.scroll { overflow-x: auto }
"""


def write_report(bank: Bank, path: str | Path) -> None:
    """Write a bank as one HTML page that needs nothing else: no script, no other file.

    Each dictionary is drawn with its atoms sorted by use, Σ|x_m| of the last epoch; of three axes of space the slice
    with the most energy is shown, and of channels other than grey and colour the first. Beside it stand the mean
    objective of the steps and the held-out one; above and below, the provenance.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file of the bank is gone or not good.
    OSError
        If the page cannot be written.
    """
    io.check_target(path, (".html", ".htm"))
    rows = "\n".join(_row(entry) for entry in bank)
    title = html.escape(f"Bank of dictionaries: {bank.folder.resolve().name}")
    seconds = sum(entry.seconds for entry in bank)
    said = (
        f"{dictionaries(len(bank))}, learned in {_span(seconds)} of work. Atoms are sorted by use, the most used first."
    )
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("name", *COLUMNS))
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f'<h1>{title}</h1><p>{said}</p><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>\n{''.join(map(_section, bank))}</body></html>\n"
    )
    with io.replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def facts(entry: Entry) -> tuple[str, ...]:
    """The columns of a table of entries."""
    held_out = "" if entry.held_out is None else f"{entry.held_out:.5g}"
    told = entry.provenance
    return (
        told["n_filters"],
        "×".join(str(n) for n in entry.support),
        told["channels"],
        f"{entry.lam:g}",
        f"{entry.beta:g}",
        entry.engine,
        told["seed"],
        told["data_sha256"][:8],
        told["images"],
        told["steps"],
        held_out,
        f"{entry.seconds:.0f}",
        told["cscopt"],
    )


def _row(entry: Entry) -> str:
    name = html.escape(entry.name)
    return (
        f'<tr><td><a href="#{name}">{name}</a></td>{"".join(f"<td>{html.escape(c)}</td>" for c in facts(entry))}</tr>'
    )


def _section(entry: Entry) -> str:
    dictionary, usage, name = entry.load(), entry.usage(), html.escape(entry.name)
    order = np.argsort(-usage, kind="stable")
    picture = mosaic(_flat(dictionary, order))
    told = "".join(
        f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in sorted(entry.provenance.items())
    )
    return (
        f'<section id="{name}"><h2>{name}</h2><p>{_use(usage[order])}</p>'
        f'<img alt="atoms of {name}" width="{picture.shape[1] * ZOOM}" src="data:image/png;base64,{_png(picture)}">'
        f"{_curves(entry.history())}<details><summary>provenance</summary><table>{told}</table></details></section>\n"
    )


def _flat(dictionary: ConvDictionary, order: Any) -> ConvDictionary:
    """Filters in an order, grey or in colour, of two axes."""
    filters = to_numpy(dictionary.filters)[order]
    if dictionary.channels != 3:
        filters = filters[:, :1]
    if len(dictionary.support) == 1:
        filters = filters[:, :, None]
    if len(dictionary.support) == 3:
        energy = (filters**2).sum(axis=(1, 3, 4))
        filters = filters[np.arange(len(filters)), :, np.argmax(energy, axis=1)]
    return ConvDictionary(filters + np.finfo(filters.dtype).eps)  # a first channel may be zero


def _png(picture: Any) -> str:
    import imageio.v3

    values = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return base64.b64encode(imageio.v3.imwrite("<bytes>", values, extension=".png")).decode()


def _use(usage: Any) -> str:
    """How evenly atoms are used."""
    total = float(usage.sum())
    if total == 0:
        return "No atom was used in the last epoch."
    half = int(np.searchsorted(np.cumsum(usage), total / 2)) + 1
    unused = int((usage == 0).sum())
    return f"Half of Σ|x| is in {half} of {len(usage)} atoms; {unused} were not used in the last epoch."


def _curves(history: dict[str, list[float]]) -> str:
    """Objective of the steps, on an axis at the left, and the held-out one, on an axis at the right, as a drawing."""
    steps, means = _averaged(history)
    measured = [(s, v) for s, v in zip(history["step"], history["held_out"], strict=True) if math.isfinite(v)]
    series = [("objective, mean of the steps", "#707070", list(zip(steps, means, strict=True)))]
    series += [("held out", "#1f5fa8", measured)] if measured else []
    if not steps:
        return ""
    last, width, height = max(s for _, _, points in series for s, _ in points), 360, 160
    drawn = [f'<path d="M0 0V{height}H{width}V{0 if measured else height}" fill="none" stroke="#bbb"/>']
    for k, (name, colour, points) in enumerate(series):
        low, high = min(v for _, v in points), max(v for _, v in points)
        places = [
            (width * s / max(last, 1), height * (high - v) / (high - low) if high > low else height / 2)
            for s, v in points
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>' for x, y in places)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>{dots}')
        at, side = (-6, width + 6)[k], ("end", "start")[k]
        marks = [
            (width * k, -14, ("start", "end")[k], name),
            (at, 10 if high > low else height / 2 + 4, side, f"{high:.4g}"),
        ]
        marks += [(at, height, side, f"{low:.4g}")] if high > low else []
        drawn += [f'<text x="{x}" y="{y}" text-anchor="{a}" fill="{colour}">{text}</text>' for x, y, a, text in marks]
    drawn.append(f'<text x="{width}" y="{height + 16}" text-anchor="end">step {last:.0f}</text>')
    return (
        f'<svg class="curves" role="img" aria-label="Learning curves" viewBox="-60 -28 {width + 120} {height + 52}" '
        f'width="{width + 120}" font-size="11" '
        f'font-family="system-ui, sans-serif" fill="#666">{"".join(drawn)}</svg>'
    )


def _averaged(history: dict[str, list[float]]) -> tuple[list[float], list[float]]:
    """Means over epochs, which end where something is measured on held-out images; else over a fortieth of the steps.

    Images differ more than epochs do. A row stands for the steps since the row before.
    """
    steps, values = np.asarray(history["step"]), np.asarray(history["objective"])
    ends = np.flatnonzero(np.isfinite(history["held_out"])) + 1
    if len(ends) < 2:
        ends = np.unique(np.linspace(0, len(steps), min(len(steps), 40) + 1).round().astype(int))
    groups = [group for group in np.split(np.arange(len(steps)), ends) if len(group)]
    weights = np.diff(steps, prepend=0)
    return [float(steps[g].max()) for g in groups], [float(np.average(values[g], weights=weights[g])) for g in groups]


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
