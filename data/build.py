"""Learn the shipped dictionaries from scikit-image's bundled pictures: python data/build.py

`camera` is left out, so that the demo codes a picture the filters have not seen.
"""

import hashlib
import time
from pathlib import Path

import numpy as np

import cscopt
from cscopt import ConvDictionary, datasets, lowpass
from cscopt.dictlearn import sporco

PICTURES = ("astronaut", "coffee", "chelsea", "rocket", "moon", "coins", "brick", "grass", "gravel")
TILE, LAM, EPOCHS, SEED, BETA = 192, 0.1, 6, 0, 5.0


def tiles() -> list[np.ndarray]:
    """High-passed tiles of all pictures, those with hardly any detail left out."""
    found = []
    for name in PICTURES:
        high = lowpass.split(datasets.picture(name)[None, None], BETA)[1][0, 0]
        rows, columns = (n // TILE for n in high.shape)
        for r in range(rows):
            for c in range(columns):
                tile = high[r * TILE : (r + 1) * TILE, c * TILE : (c + 1) * TILE]
                if tile.std() > 0.02:
                    found.append(tile)
    return found


def main() -> None:
    """Learn natural-8x8x32 and write it beside this file."""
    images = tiles()
    began = time.time()

    def report(done: int, total: int) -> None:
        print(f"\rstep {done} of {total}, {time.time() - began:.0f} s", end="", flush=True)

    learned = sporco.learn(images, 32, (8, 8), LAM, epochs=EPOCHS, seed=SEED, callback=report)
    print()
    digest = hashlib.sha256(b"".join(tile.tobytes() for tile in images)).hexdigest()
    provenance = {
        "name": "natural-8x8x32",
        "engine": "sporco.dictlrn.onlinecdl.OnlineConvBPDNDictLearn",
        "command": "python data/build.py",
        "pictures": ", ".join(PICTURES) + " (scikit-image's bundled pictures, grey)",
        "data_sha256": digest,
        "tiles": f"{len(images)} of {TILE}x{TILE}",
        "lowpass_beta": str(BETA),
        "lam": str(LAM),
        "epochs": str(EPOCHS),
        "seed": str(SEED),
        "cscopt": cscopt.__version__,
        "wall_seconds": f"{time.time() - began:.0f}",
    }
    order = np.argsort(-np.asarray(_use(learned, images[0])))
    dictionary = ConvDictionary(learned.filters[order], provenance)
    dictionary.save(Path(__file__).parent / "natural-8x8x32.safetensors")
    print(dictionary)


def _use(dictionary: ConvDictionary, tile: np.ndarray) -> np.ndarray:
    """How much each filter is used on a tile."""
    problem = cscopt.CSCProblem(tile[None, None], dictionary, LAM)
    codes = cscopt.solve(problem, "admm").codes
    return np.abs(codes[0]).sum(axis=(1, 2))


if __name__ == "__main__":
    main()
