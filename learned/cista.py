"""Super-resolution by convolutional sparse coding with a learned ISTA: CISTA, RL-CSC, CRNet-A, CRNet-B."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cscopt import checks


class CISTA(nn.Module):
    """Convolutional ISTA with learned filters: z₀ = ReLU(W ⊗ y), z⁺ = ReLU(W ⊗ y + S ⊗ z).

    It is non-negative ISTA where W = flip(f)/L, S = I − flip(f) ⊗ f / L and the bias is −λ/L; here W and
    S (and the bias, if wanted) are free, and S is shared by all recursions.

    Parameters
    ----------
    features : int
        Channels of the input y.
    maps : int
        Sparse maps z.
    recursions : int, default 25
        Applications K of S.
    bias : bool, default False
        Learn −λ/L; the published networks do without.
    support : int, default 3
        Odd side of W's filters.
    recursion_support : int, default 3
        Odd side of S's filters.

    Source: Zhang, Liu and Yu 2018 (RL-CSC), eq. 9; 2019 (CRNet), eq. 8.
    """

    def __init__(
        self, features: int, maps: int, recursions: int = 25, bias: bool = False, support: int = 3,
        recursion_support: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.recursions = checks.count(recursions, "recursions")
        for name, value in (("features", features), ("maps", maps)):
            checks.count(value, name, 1)
        for name, value in (("support", support), ("recursion_support", recursion_support)):
            if checks.count(value, name, 1) % 2 == 0:
                raise ValueError(f"{name} must be odd; got {value}")
        self.W = nn.Conv2d(features, maps, support, padding=support // 2, bias=bias)
        self.S = nn.Conv2d(maps, maps, recursion_support, padding=recursion_support // 2, bias=False)

    def forward(self, y: Tensor) -> Tensor:
        drive = self.W(y)
        z = torch.relu(drive)
        for _ in range(self.recursions):
            z = torch.relu_(self.S(z).add_(drive))
        return z


class SparseCoder(nn.Module):
    """What all networks here have in the middle: a CISTA, and the synthesis W₂ of features from its maps."""

    def __init__(self, features: int, maps: int, recursions: int) -> None:
        super().__init__()
        self.codes = CISTA(features, maps, recursions)
        self.synthesis = conv(maps, features)

    def forward(self, features: Tensor) -> Tensor:
        return self.synthesis(self.codes(features))


class RLCSC(nn.Module):
    """RL-CSC: a picture enlarged by interpolation plus H(W₂ ⊗ CISTA(F₁(F₀(picture)))).

    Parameters
    ----------
    features : int, default 128
        Feature maps n₀ of F₀, F₁ and W₂.
    maps : int, default 256
        Sparse maps m₀.
    recursions : int, default 25
    residual : bool, default True
        Add the input to the output, so that the network learns the difference.

    Attributes
    ----------
    reach : int
        Pixels of the input around one that its output depends on.

    Notes
    -----
    Input and output are luminance pictures (batch, 1, H, W) of one size, scaled to [0, 1].

    Source: Zhang, Liu and Yu 2018.
    """

    channels, enlarges = 1, False

    def __init__(self, features: int = 128, maps: int = 256, recursions: int = 25, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.F0 = conv(self.channels, features)
        self.F1 = conv(features, features)
        self.body = SparseCoder(features, maps, recursions)
        self.H = conv(features, self.channels)
        self.scales: tuple[int, ...] | None = None
        self.reach = recursions + 5
        self.options: dict[str, Any] = {
            "features": features, "maps": maps, "recursions": recursions, "residual": residual,
        }  # fmt: skip
        self.apply(he_init)

    def forward(self, picture: Tensor, scale: int | None = None) -> Tensor:
        check_channels(self, picture)
        features = torch.relu(self.F1(torch.relu(self.F0(picture))))
        out = self.H(self.body(features))
        return out + picture if self.residual else out


class CRNetA(RLCSC):
    """CRNet-A: RL-CSC's body, trained on interpolated pictures of several scales at once.

    Parameters
    ----------
    features, maps, recursions, residual
        As in `RLCSC`.
    scales : sequence of int, default (2, 3, 4)
        Scales it is trained for.

    Source: Zhang, Liu and Yu 2019, section 3.3.
    """

    def __init__(
        self,
        features: int = 128,
        maps: int = 256,
        recursions: int = 25,
        residual: bool = True,
        scales: Sequence[int] = (2, 3, 4),
    ) -> None:
        super().__init__(features, maps, recursions, residual)
        self.scales = _scales(scales)
        self.options["scales"] = list(self.scales)

    def forward(self, picture: Tensor, scale: int | None = None) -> Tensor:
        check_scale(self, scale)
        return super().forward(picture, scale)


class CRNetB(nn.Module):
    """CRNet-B: works at low resolution, in colour, with parts of its own before and after for each scale.

    Parameters
    ----------
    features : int, default 64
    maps : int, default 1024
    recursions : int, default 25
    scales : sequence of int, default (2, 3, 4)

    Notes
    -----
    Input (batch, 3, h, w) and output (batch, 3, scale · h, scale · w) are RGB in [0, 1]. Each scale has a
    residual unit of two 3×3 convolutions before the shared body and a pixel shuffle after it; the last
    convolution is shared.

    Source: Zhang, Liu and Yu 2019, section 3.4; Lim et al. 2017 (the scale-specific parts).
    """

    channels, enlarges = 3, True

    def __init__(
        self, features: int = 64, maps: int = 1024, recursions: int = 25, scales: Sequence[int] = (2, 3, 4)
    ) -> None:
        super().__init__()
        self.scales = _scales(scales)
        self.options = {"features": features, "maps": maps, "recursions": recursions, "scales": list(self.scales)}
        self.reach = recursions + 9
        self.register_buffer("mean", torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1))
        self.F0 = conv(self.channels, features, bias=True)
        self.before = nn.ModuleDict({str(s): ResidualUnit(features) for s in self.scales})
        self.F1 = conv(features, features, bias=True)
        self.body = SparseCoder(features, maps, recursions)
        self.after = nn.ModuleDict({str(s): upsampler(features, s) for s in self.scales})
        self.H = conv(features, self.channels, bias=True)
        self.apply(he_init)

    def forward(self, picture: Tensor, scale: int | None = None) -> Tensor:
        check_channels(self, picture)
        key = str(check_scale(self, scale))
        features = self.before[key](self.F0(picture - self.mean))
        features = features + self.body(torch.relu(self.F1(features)))
        return self.H(self.after[key](features)) + self.mean


class ResidualUnit(nn.Module):
    """x + conv(ReLU(conv(x)))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first, self.second = conv(features, features, bias=True), conv(features, features, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(x)))


class SelfEnsemble(nn.Module):
    """The mean of a network's answers for the 8 flips and rotations of a picture (CRNet-B+).

    Source: Timofte, Rothe and Van Gool 2016.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.channels, self.enlarges, self.scales = network.channels, network.enlarges, network.scales
        self.reach = network.reach

    def forward(self, picture: Tensor, scale: int | None = None) -> Tensor:
        total: Tensor | None = None
        for turns in range(4):
            for mirrored in (False, True):
                view = torch.rot90(picture, turns, (2, 3))
                answer = self.network(view.flip(3) if mirrored else view, scale)
                answer = torch.rot90(answer.flip(3) if mirrored else answer, -turns, (2, 3))
                total = answer if total is None else total + answer
        assert total is not None
        return total / 8


def conv(inputs: int, outputs: int, bias: bool = False) -> nn.Conv2d:
    """A 3×3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def upsampler(features: int, scale: int) -> nn.Sequential:
    """Convolution and pixel shuffle; powers of two go by factors of 2."""
    factors = [scale]
    if scale & (scale - 1) == 0:
        factors = [2] * (scale.bit_length() - 1)
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [conv(features, features * factor**2, bias=True), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


def he_init(module: nn.Module) -> None:
    """Normal weights of variance 2 / fan-in, zero biases (He et al. 2015)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_channels(network: nn.Module, picture: Tensor) -> None:
    """Refuse a grey picture for a colour network, or the reverse."""
    if picture.ndim != 4 or picture.shape[1] != network.channels:
        raise ValueError(
            f"picture must be (batch, {network.channels}, height, width) for {type(network).__name__}; "
            f"got {tuple(picture.shape)}"
        )


def check_scale(network: nn.Module, scale: int | None) -> int | None:
    """The scale to use, refused if the network was not made for it; may be left out where there is but one."""
    scales = network.scales
    if scale is None and scales is not None and len(scales) == 1:
        return scales[0]
    if scale is None and network.enlarges:
        raise ValueError(f"scale must be given: one of {', '.join(map(str, scales))}")
    if scale is not None and scales is not None and scale not in scales:
        raise ValueError(f"scale must be one the network is trained for ({', '.join(map(str, scales))}); got {scale}")
    return scale


def _scales(scales: Sequence[int]) -> tuple[int, ...]:
    found = tuple(checks.count(s, "scales", 2) for s in scales)
    if not found or len(set(found)) != len(found):
        raise ValueError(f"scales must be distinct and not empty; got {tuple(scales)}")
    return found
