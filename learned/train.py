"""Training with Lightning: the task, its data, and `fit`, which a configuration file describes."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import pickle
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cscopt import checks, io
from learned import parts, weights
from learned.cista import he_init
from learned.data.images import read_folder
from learned.data.sr import Batches, SRPatches, bundled
from learned.evaluate import means, score

Loss = Literal["l1", "l2"]


class SuperResolution(lightning.LightningModule):
    """A network and the recipe that trains it: loss, optimiser, schedule.

    Parameters
    ----------
    network : Module
        `RLCSC`, `CRNetA` or `CRNetB`.
    loss : {"l1", "l2"}
    optimizer : {"adam", "adamw", "sgd"}
    learning_rate, weight_decay, momentum : float
        `momentum` is SGD's.
    schedule : {"constant", "step", "cosine"}
        "step" multiplies by `step_factor` every `step_every` steps; "cosine" falls to a hundredth at the last.
    warmup : int
        Steps in which the learning rate rises from zero.
    init : {"he", "calm"}
        "calm" also multiplies S by a half and zeroes H, so that recursions are stable and training begins at the
        interpolated picture.
    compile : bool
        Compile the network (torch.compile).
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss = "l2",
        optimizer: Literal["adam", "adamw", "sgd"] = "adamw",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        schedule: Literal["constant", "step", "cosine"] = "cosine",
        step_every: int = 1000,
        step_factor: float = 0.1,
        warmup: int = 0,
        init: Literal["he", "calm"] = "calm",
        compile: bool = False,  # noqa: A002
    ) -> None:
        super().__init__()
        checks.positive_number(learning_rate, "learning_rate")
        self.network = network.to(memory_format=torch.channels_last)
        self.loss, self.optimizer, self.schedule = loss, optimizer, schedule
        self.learning_rate, self.weight_decay, self.momentum = learning_rate, weight_decay, momentum
        self.step_every, self.step_factor, self.warmup, self.compiled = step_every, step_factor, warmup, compile
        self.network.apply(he_init)
        if init == "calm":
            calm(self.network)

    def setup(self, stage: str) -> None:
        if self.compiled:
            self.network.compile()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["network"] = {"name": type(self.network).__name__, "options": self.network.options}

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], number: int) -> Tensor:
        given, target, scales = batch
        given, target = (t.contiguous(memory_format=torch.channels_last) for t in (given, target))
        scale = int(scales[0]) if self.network.enlarges else None
        difference = self.network(given, scale) - target
        loss = difference.abs().mean() if self.loss == "l1" else difference.square().mean()
        if not torch.isfinite(loss.detach()):
            raise FloatingPointError(f"the loss is not finite at step {self.global_step}; lower learning_rate")
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[str, Any], number: int) -> None:
        scales = self.network.scales or (2, 3, 4)
        name, picture = batch
        for scale, mean in means(score(self.network, {name: picture}, scales)).items():
            self.log(f"val/psnr_x{scale}", mean["psnr"], prog_bar=True, batch_size=1, on_epoch=True)

    def configure_optimizers(self) -> Any:
        parameters, rate, decay = self.network.parameters(), self.learning_rate, self.weight_decay
        optimizer: torch.optim.Optimizer
        if self.optimizer == "sgd":
            optimizer = torch.optim.SGD(parameters, rate, self.momentum, weight_decay=decay)
        else:
            kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
            optimizer = kind(parameters, rate, weight_decay=decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def rate_factor(self, step: int) -> float:
        """Learning rate of a step, relative to `learning_rate`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.schedule == "step":
            return float(self.step_factor ** (step // self.step_every))
        if self.schedule == "cosine":
            done = (step - self.warmup) / max(1, self.trainer.max_steps - self.warmup)
            return 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2
        return 1.0


class SRData(lightning.LightningDataModule):
    """Patches to train on (see `SRPatches`) and whole pictures to validate on.

    Parameters
    ----------
    sources : sequence of str
        Folders of pictures, or "bundled".
    validation : str, optional
        Folder of pictures whose PSNR is logged; "bundled" is scikit-image's `astronaut` and `coins`.
    workers : int
        Processes that prepare batches; 0: none but this.
    scales, patch, batch_size, shrink, seed, strict
        See `SRPatches`.
    """

    def __init__(
        self,
        sources: Sequence[str] = ("bundled",),
        validation: str | None = None,
        scales: Sequence[int] = (2, 3, 4),
        patch: int = 33,
        batch_size: int = 128,
        shrink: Sequence[float] = (1.0, 0.7, 0.5, 0.4),
        workers: int = 0,
        seed: int = 0,
        strict: bool = False,
    ) -> None:
        super().__init__()
        self.sources, self.validation, self.workers = list(sources), validation, workers
        self.options = {
            "scales": list(scales), "patch": patch, "batch_size": batch_size, "shrink": list(shrink), "seed": seed,
            "strict": strict,
        }  # fmt: skip

    def train_dataloader(self) -> Batches:
        trainer = self.trainer
        assert trainer is not None
        network = trainer.lightning_module.network
        options = dict(self.options, seed=self.options["seed"] * trainer.world_size + trainer.global_rank)
        patches = SRPatches(self.sources, interpolate=not network.enlarges, colour=network.channels == 3, **options)
        on_card = trainer.strategy.root_device.type == "cuda"
        return Batches(patches, trainer.global_step, trainer.max_steps, self.workers, pin=on_card)

    def val_dataloader(self) -> Any:
        if self.validation is None:
            return []
        pictures = bundled() if self.validation == "bundled" else read_folder(self.validation, self.options["strict"])
        if self.validation == "bundled":
            pictures = {k: pictures[k] for k in ("astronaut", "coins")}
        return DataLoader(list(pictures.items()), batch_size=None, collate_fn=tuple)  # type: ignore[arg-type]


def calm(network: nn.Module) -> None:
    """Halve S and zero H: recursions that do not grow, and an output that begins at zero."""
    with torch.no_grad():
        network.body.codes.S.weight.mul_(0.5)
        network.H.weight.zero_()


class Command(LightningCLI):
    """Lightning's command line with the three settings of a run: its folder, averaging, and how often to save."""

    def add_arguments_to_parser(self, parser: Any) -> None:
        parser.add_argument("--run", type=str, default="runs/last", help="folder of checkpoints, logs and weights")
        parser.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights; 0: none")
        parser.add_argument("--save_every", type=int, default=1000, help="steps between two checkpoints")

    def instantiate_trainer(self, **options: Any) -> lightning.Trainer:
        folder, ema = Path(self.config.run), self.config.ema
        if not 0 <= ema < 1:
            raise ValueError(f"ema must be in [0, 1); got {ema}")
        checkpoint = ModelCheckpoint(
            folder, "last", every_n_train_steps=self.config.save_every, enable_version_counter=False
        )
        callbacks = [EMAWeightAveraging(decay=ema)] if ema else []
        loggers = [CSVLogger(folder, "log", ""), TensorBoardLogger(folder, "tensorboard", "")]
        options |= {"callbacks": [*callbacks, checkpoint], "logger": loggers, "default_root_dir": str(folder)}
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
        Go on from the run's last checkpoint, exactly, if there is one.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, or a value in it is out of range.
    """
    began = time.time()
    command = parse(config, overrides)
    folder, trainer = Path(command.config.run), command.trainer
    last = folder / "last.ckpt"
    if resume and not last.exists() and parts.parts(last):
        parts.join(last)
    if last.exists() and not resume:
        raise ValueError(f"{folder} holds a run already; go on with --resume, or choose another --run")
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        trainer.fit(command.model, command.datamodule, ckpt_path=last if last.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    target = folder / "weights.safetensors"
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
            return Command(
                SuperResolution, SRData, run=False, args=["--config", str(config), *overrides],
                save_config_callback=None, seed_everything_default=0, parser_kwargs={"exit_on_error": False},
            )  # fmt: skip
        except argparse.ArgumentError as error:
            raise ValueError(f"{config}: {error}") from error


def export(checkpoint: str | Path, target: str | Path) -> None:
    """Write the weights of a checkpoint (averaged, where it averages) as a safetensors file."""
    io.check_target(target, (".safetensors",))
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        about, tensors = state["network"], state["state_dict"]
    except (KeyError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{checkpoint} is not a checkpoint of learned: {error}") from error
    network = weights.NETWORKS[about["name"]](**about["options"])
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    weights.save(network, target, {"steps": state["global_step"], "torch": torch.__version__})


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
