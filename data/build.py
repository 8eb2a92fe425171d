"""Learn the shipped dictionaries from scikit-image's bundled pictures: python data/build.py [NAME ...]

`camera` is left out, so that the demo codes a picture the filters have not seen.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

import cscopt
from cscopt import ConvDictionary, datasets, lowpass
from cscopt.dictlearn import Constraint, Online, Sporco, initial_filters, learn
from cscopt.dictlearn.engine import Engine

GREY = ("astronaut", "coffee", "chelsea", "rocket", "moon", "coins", "brick", "grass", "gravel")
COLOUR = ("astronaut", "coffee", "chelsea", "rocket")
TILE, LAM, BETA, EPOCHS, SEED = 192, 0.1, 5.0, 10, 0
LIMITS = Constraint(zero_mean=True)
OURS = Online(lam=LAM, constraint=LIMITS)
DICTIONARIES: dict[str, tuple[int, int, Engine]] = {
    "natural-8x8x32": (32, 8, Sporco(lam=LAM, constraint=LIMITS)),  # the first one: figures of the docs rest on it
    "natural-8x8x64": (64, 8, OURS),
    "natural-8x8x96": (96, 8, OURS),
    "natural-12x12x64": (64, 12, OURS),
    "natural-colour-8x8x64": (64, 8, OURS),
}


def tiles(names: tuple[str, ...], grey: bool) -> list[Any]:
    """High-passed tiles (channel, TILE, TILE) of pictures, those with hardly any detail left out."""
    found = []
    for name in names:
        picture = datasets.picture(name, grey)
        picture = np.moveaxis(picture.reshape((*picture.shape[:2], -1)), -1, 0)
        high = lowpass.split(picture[None], BETA)[1][0]
        for r in range(0, high.shape[1] - TILE + 1, TILE):
            for c in range(0, high.shape[2] - TILE + 1, TILE):
                tile = np.ascontiguousarray(high[:, r : r + TILE, c : c + TILE])
                if tile.std() > 0.02:
                    found.append(tile)
    return found


def build(name: str) -> None:
    """Learn one dictionary and write it beside this file, its filters sorted by use."""
    n_filters, support, engine = DICTIONARIES[name]
    colour = "colour" in name
    names = COLOUR if colour else GREY
    images = tiles(names, not colour)
    start = initial_filters(images, n_filters, (support, support), LIMITS, SEED)
    learned = learn(images, engine, start, max_epochs=EPOCHS, random_state=SEED, progress=sys.stderr.isatty())
    provenance = {
        "name": name,
        "engine": f"{type(engine).__module__}.{type(engine).__qualname__}",
        "command": f"python data/build.py {name}",
        "pictures": ", ".join(names) + f" (scikit-image's bundled pictures, {'colour' if colour else 'grey'})",
        "data_sha256": hashlib.sha256(b"".join(tile.tobytes() for tile in images)).hexdigest(),
        "tiles": f"{len(images)} of {TILE}x{TILE}",
        "beta": str(BETA),
        "lam": str(LAM),
        "epochs": str(EPOCHS),
        "seed": str(SEED),
        "version": cscopt.__version__,
        "seconds": f"{learned.seconds:.0f}",
        "objective": f"{np.mean(learned.history['objective'][-len(images) :]):.6g} (mean over the last epoch)",
    }
    order = np.argsort(-learned.usage)
    dictionary = ConvDictionary(np.ascontiguousarray(learned.dictionary.filters[order]), provenance)
    dictionary.save(Path(__file__).parent / f"{name}.safetensors")
    print(f"{name}: {dictionary}, {learned.seconds:.0f} s, {provenance['objective']}", flush=True)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or DICTIONARIES:
        build(chosen)
