"""A training run, as a configuration file describes it: `fit`, its checkpoints, and the weights it writes."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import pickle
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cscopt import checks, io
from learned import parts, weights
from learned.task import SRData, SuperResolution

_WEIGHTS = "weights.safetensors"


class Keeper(lightning.Callback):
    """Keeps the state in one file, every some steps, at the last step, and when the time is over, which it watches.

    The file is written beside the old one and takes its place.

    Parameters
    ----------
    path : Path
    every : int
        Steps from one time to the next.
    minutes : float, optional
        Time of this call, after which training stops.
    """

    def __init__(self, path: Path, every: int, minutes: float | None) -> None:
        self.path, self.every = path, checks.count(every, "save_every", 1)
        self.deadline = math.inf
        if minutes is not None:
            self.deadline = time.monotonic() + 60 * checks.positive_number(minutes, "minutes")

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        over = trainer.strategy.broadcast(time.monotonic() > self.deadline)
        if over:
            trainer.should_stop = True
        if over or step % self.every == 0 or step == trainer.max_steps:
            temporary = self.path.with_name(f".{self.path.name}.new")
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                os.replace(temporary, self.path)


class Command(LightningCLI):
    """Lightning's command line with the settings of a run: its folder, averaging, saving, and time."""

    def add_arguments_to_parser(self, parser: Any) -> None:
        parser.add_argument("--run", type=str, default="runs/last", help="folder of checkpoints, logs and weights")
        parser.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights; 0: none")
        parser.add_argument("--save_every", type=int, default=1000, help="steps between two checkpoints")
        parser.add_argument("--minutes", type=float, help="stop, and keep the state, after this time")

    def instantiate_trainer(self, **options: Any) -> lightning.Trainer:
        folder, ema = Path(self.config.run), self.config.ema
        if not 0 <= ema < 1:
            raise ValueError(f"ema must be in [0, 1); got {ema}")
        keeper = Keeper(folder / "last.ckpt", self.config.save_every, self.config.minutes)
        averaging = [EMAWeightAveraging(decay=ema)] if ema else []
        loggers = [CSVLogger(folder, "log"), TensorBoardLogger(folder, "tensorboard")]
        options |= {"callbacks": [*averaging, keeper], "logger": loggers, "default_root_dir": str(folder)}
        options["enable_checkpointing"] = False
        given = self.config.trainer
        if isinstance(given.val_check_interval, int) and given.max_steps > 0:
            options["val_check_interval"] = min(given.val_check_interval, given.max_steps)
        return super().instantiate_trainer(**options)


def fit(config: str | Path, overrides: Sequence[str] = (), resume: bool = False) -> Path:
    """Train what a configuration file describes; returns the weights it wrote.

    Parameters
    ----------
    config : str or Path
        YAML file with `run`, `ema`, `save_every`, `model` (see `SuperResolution`), `data` (see `SRData`) and
        `trainer` (Lightning's).
    overrides : sequence of str
        Such as "--trainer.max_steps=100".
    resume : bool
        Go on from the run's last checkpoint, exactly, if there is one. A run that is at its end already is left as it
        is; its weights are written, if they are missing or of an earlier step.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, or a value in it is out of range.
    """
    began = time.time()
    command = parse(config, overrides)
    folder, trainer = Path(command.config.run), command.trainer
    last = folder / "last.ckpt"
    if resume and not last.exists() and parts.exist(last):
        parts.join(last)
    if last.exists():
        if not resume:
            raise ValueError(f"{folder} holds a run already; go on with --resume, or choose another --run")
        step = _check_same(last, command)["global_step"]
        if step >= trainer.max_steps:  # of which Lightning would leave the raw weights
            if _steps_of(folder / _WEIGHTS) != step:
                export(last, folder / _WEIGHTS, {"config": Path(config).read_text(), "overrides": " ".join(overrides)})
            return folder / _WEIGHTS
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        try:
            trainer.fit(command.model, command.datamodule, ckpt_path=last if last.exists() else None, weights_only=True)
        except SystemExit as error:  # Lightning leaves this way after Ctrl-C
            raise KeyboardInterrupt from error
    target = folder / _WEIGHTS
    if trainer.is_global_zero:
        numbers = {k: f"{float(v):.3f}" for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        about = {"config": Path(config).read_text(), "overrides": " ".join(overrides), "steps": trainer.global_step,
                 "seconds of the last call": round(time.time() - began), "torch": torch.__version__}  # fmt: skip
        weights.save(command.model.network, target, {**about, **numbers})
    return target


def parse(config: str | Path, overrides: Sequence[str] = ()) -> Command:
    """Trainer, task and data of a configuration file; see `fit`."""
    if not Path(config).is_file():
        raise FileNotFoundError(f"there is no file {config}")
    with _quiet():
        try:
            command = Command(
                SuperResolution, SRData, run=False, args=["--config", str(config), *overrides],
                save_config_callback=None, seed_everything_default=0, parser_kwargs={"exit_on_error": False},
            )  # fmt: skip
        except (argparse.ArgumentError, MisconfigurationException) as error:
            raise ValueError(f"{config}: {error}") from error
    if command.trainer.max_steps < 1:
        raise ValueError(f"{config}: trainer.max_steps must say for how many steps to train")
    if command.model.network.enlarges and command.trainer.world_size > 1:
        raise ValueError(f"{config}: trainer.devices must be 1 for a network with parts of their own for each scale")
    if command.trainer.accumulate_grad_batches != 1:
        raise ValueError(f"{config}: trainer.accumulate_grad_batches must be 1; a larger data.batch_size does the same")
    return command


def _steps_of(path: Path) -> int | None:
    """Steps after which weights were written; None where there are none."""
    return int(weights.load(path).provenance["steps"]) if path.exists() else None


def export(checkpoint: str | Path, target: str | Path, about: Mapping[str, Any] | None = None) -> None:
    """Write the weights of a checkpoint (averaged, where it averages) as a safetensors file."""
    io.check_target(target, (".safetensors",))
    state = _read(checkpoint)
    made, tensors = state["network"], state["state_dict"]
    try:
        network = weights.NETWORKS[made["name"]](**made["options"])
        network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{checkpoint} does not fit its network: {error}".replace("\n", " ")) from error
    weights.save(network, target, {**(about or {}), "steps": state["global_step"], "torch": torch.__version__})


def _read(checkpoint: str | Path) -> dict[str, Any]:
    """What a checkpoint holds; nothing in it can run code."""
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"there is no file {checkpoint}")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if {"network", "state_dict", "global_step"} <= set(state):
            return dict(state)
    except (TypeError, RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{checkpoint} is not a whole checkpoint of learned ({type(error).__name__})") from error
    raise ValueError(f"{checkpoint} is not a checkpoint of learned")


def _check_same(checkpoint: Path, command: Command) -> dict[str, Any]:
    """What a checkpoint holds, if its run began with this network, optimiser and averaging."""
    state, model = _read(checkpoint), command.model
    group = state["optimizer_states"][0]["param_groups"][0]
    pairs = {
        "model.network": (state["network"], model.about),
        "model.optimizer": (state.get("optimizer"), model.optimizer),
        "model.learning_rate": (group["initial_lr"], model.learning_rate),
        "model.weight_decay": (group["weight_decay"], model.weight_decay),
        "model.momentum": (group.get("momentum", model.momentum), model.momentum),
        "ema": ("averaging_state" in state, command.config.ema > 0),
    }
    for name, (before, now) in pairs.items():
        if before != now:
            raise ValueError(f"{checkpoint} is of a run with another {name}: {before}, now {now}")
    return state


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what Lightning says of itself (hardware, tips, names that its dependencies have changed)."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning|jsonargparse")
            yield
    finally:
        logger.setLevel(level)
