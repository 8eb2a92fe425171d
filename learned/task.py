"""What is trained: the super-resolution task (network, loss, optimiser, schedule) and its data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import lightning
import torch
from torch import Tensor, nn

from cscopt import checks
from learned import weights
from learned.cista import he_init
from learned.data.download import locate
from learned.data.images import read_folder
from learned.data.sr import BUNDLED, Batches, SRPatches, bundled
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
        interpolated picture (`CRNetB`, which sees none: at the mean colour).
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
        checks.count(step_every, "step_every", 1)
        if type(network) not in weights.NETWORKS.values():
            raise ValueError(f"network must be one of {', '.join(weights.NETWORKS)}; got {type(network).__name__}")
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
        checkpoint["network"] = self.about
        checkpoint["optimizer"] = self.optimizer

    @property
    def about(self) -> dict[str, Any]:
        """Class and options of the network."""
        return {"name": type(self.network).__name__, "options": self.network.options}

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], number: int) -> Tensor:
        given, target, scales = batch
        given, target = (t.contiguous(memory_format=torch.channels_last) for t in (given, target))
        scale = int(scales[0]) if self.network.enlarges else None
        difference = self.network(given, scale) - target
        loss = difference.abs().mean() if self.loss == "l1" else difference.square().mean()
        if not torch.isfinite(loss.detach()):
            raise FloatingPointError(
                f"the loss is not finite at step {self.global_step}; begin anew with a lower learning_rate"
            )
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
        scales = set(self.options["scales"])
        if network.scales is not None and scales != set(network.scales):
            raise ValueError(f"data.scales must be the network's, {list(network.scales)}; got {sorted(scales)}")
        options = dict(self.options, seed=self.options["seed"] * trainer.world_size + trainer.global_rank)
        patches = SRPatches(self.sources, interpolate=not network.enlarges, colour=network.channels == 3, **options)
        on_card = trainer.strategy.root_device.type == "cuda"
        return Batches(patches, trainer.global_step, trainer.max_steps, self.workers, pin=on_card)

    def val_dataloader(self) -> Any:
        if self.validation is None:
            return []
        if self.validation == BUNDLED:
            pictures = {k: v for k, v in bundled().items() if k in ("astronaut", "coins")}
        else:
            pictures = read_folder(locate(self.validation), self.options["strict"])
        if self.trainer is not None and self.trainer.lightning_module.network.channels == 3:
            grey = [name for name, picture in pictures.items() if picture.ndim == 2]
            if grey:
                raise ValueError(f"data.validation must hold colour pictures for this network; {grey[0]} is grey")
        return Pictures(pictures)


class Pictures:
    """Named pictures, one at a time; every process of a distributed run sees them all."""

    def __init__(self, pictures: dict[str, Any]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        yield from self.pictures.items()


def calm(network: nn.Module) -> None:
    """Halve S and zero H: recursions that do not grow, and an output that begins at zero."""
    with torch.no_grad():
        network.body.codes.S.weight.mul_(0.5)
        network.H.weight.zero_()
