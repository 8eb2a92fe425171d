"""Small banks and specs for the tests, and processes to kill."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import yaml

from cscopt import ConvDictionary, io
from cscopt.bank.entry import write

PATIENCE = 120


def written(folder, **changes):
    given = {
        "data": {"npz": "images.npz"},
        "holdout": 1,
        "seed": 3,
        "max_epochs": 2,
        "grid": {"n_filters": [2, 3], "support": [3], "lam": [0.5, 1], "beta": 2},
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(given | changes))
    return path


def put(folder, filters, lam=0.1, beta=1.0, **told):
    """A dictionary in a bank, as the learner writes it."""
    dictionary = ConvDictionary(np.asarray(filters, np.float32))
    name = f"{len(filters)}-{lam}-{beta}-{dictionary.filters.ravel()[0]:.3f}"
    history = {
        "step": [1.0, 2.0, 3.0, 4.0],
        "seconds": [0.1, 0.2, 0.3, 0.4],
        "objective": [4.0, 3.0, 2.5, 2.25],
        "held_out": [np.nan, 3.5, np.nan, 2.75],
    }
    learned = {"history": history, "usage": np.arange(len(filters))[::-1] % 3 + 0.5, "seconds": 0.4}
    facts = {"lam": lam, "beta": beta, "engine": "online", "seed": 0, "data_sha256": "0" * 64, "steps": 4, "images": 2}
    facts["cscopt"] = "0"
    folder.mkdir(exist_ok=True)
    write(folder / f"{name}.safetensors", dictionary, learned, facts | told)
    return folder / f"{name}.safetensors"


def alive(folder):
    """Processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if any(os.readlink(f).startswith(str(folder)) for f in (entry / "fd").iterdir()):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def until(true, what):
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"no {what} within {PATIENCE} s"
        time.sleep(0.02)


def started(*arguments, **variables):
    environment = {**os.environ, "CSCOPT_NUM_THREADS": "2", "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)


def step_of(state):
    try:
        return json.loads(io.load_tensors(state)[1]["numbers"])["step"]
    except (OSError, ValueError):
        return 0


def busy(folder):
    """A process that is in the middle of learning a dictionary."""
    found = []

    def look():
        for state in (folder / ".work").glob("*.safetensors"):
            if step_of(state) > 4:
                with suppress(OSError, ValueError):
                    found.append(json.loads(state.with_suffix(".lock").read_text())["process"])
        return found

    until(look, "state of 5 steps")
    return found[0]
