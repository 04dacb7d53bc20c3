"""Four of the networks for scenes.

FCN, DeepLabV3+, RetinaNet and FCOS on one residual backbone, as PyTorch modules.

Each takes uint8 pixels [N,1,128,128], normalised in the graph. What follows the last neuron (the
resize of the class scores, sigmoids, the decoding of boxes) is the readout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from architectures import ResidualBlock, chain, conv
from scenes import CLASSES, SIDE
from torch import Tensor, nn

MEAN, STD = 0.2, 0.25
WIDTHS = (16, 24, 48, 72)
"""Channels after the stem and the three stages, at strides 2, 4, 8 and 16 (8 where the last stage
is dilated).
"""
LEVELS = (8, 16)
"""Strides of the detectors' pyramid."""
WIDTH = 48
"""Channels of the pyramid and of all heads."""
ANCHORS = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
"""Heights and widths of RetinaNet's anchors, in units of the base size."""
BASE_SIZE = 3.0
"""Side of the square anchor, in strides."""
PRIOR = 0.02
"""What an untrained detector takes for the probability of a garment."""


class Normalise(nn.Module):
    """Pixels 0 to 255 to about zero mean and unit variance."""

    def forward(self, x: Tensor) -> Tensor:
        """Any type to float32."""
        return (x.float() / 255 - MEAN) / STD


class Backbone(nn.Module):
    """Stem and three stages of residual blocks; returns the features after each stage."""

    def __init__(self, dilated: bool = False) -> None:
        """`dilated`: the last stage keeps its input's size: dilated convolutions, no stride."""
        super().__init__()
        stem, a, b, c = WIDTHS
        self.normalise = Normalise()
        self.stem = conv(1, stem, stride=2, act=nn.ReLU)
        self.stage1 = nn.Sequential(ResidualBlock(stem, a, 2), ResidualBlock(a, a, 1))
        self.stage2 = nn.Sequential(ResidualBlock(a, b, 2), ResidualBlock(b, b, 1))
        self.stage3 = nn.Sequential(ResidualBlock(b, c, 2))
        if dilated:
            for layer in self.stage3.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.stride = (1, 1)
                    if layer.kernel_size == (3, 3):
                        layer.dilation = layer.padding = (2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at strides 4, 8 and 16 (8 where dilated)."""
        first = self.stage1(self.stem(self.normalise(x)))
        second = self.stage2(first)
        return first, second, self.stage3(second)


def resize(factor: int, mode: str = "bilinear") -> nn.Upsample:
    """Enlargement by a whole number."""
    return nn.Upsample(
        scale_factor=factor, mode=mode, align_corners=False if mode == "bilinear" else None
    )


class FCN(nn.Module):
    """Fully convolutional network.

    Stages joined at stride 4, one convolution, class scores, resize.
    """

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.backbone = Backbone()
        self.lateral1, self.lateral2, self.lateral3 = (conv(c, WIDTH, 1) for c in WIDTHS[1:])
        self.up3, self.up2 = resize(2), resize(2)
        self.join = nn.ReLU()
        self.head = conv(WIDTH, WIDTH, act=nn.ReLU)
        self.score = nn.Conv2d(WIDTH, CLASSES + 1, 1)
        self.up = resize(4)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores [N,11,128,128]; 0 is the background."""
        first, second, third = self.backbone(x)
        deep = self.lateral2(second) + self.up3(self.lateral3(third))
        out: Tensor = self.up(
            self.score(self.head(self.join(self.lateral1(first) + self.up2(deep))))
        )
        return out


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling.

    1x1, two dilations and the whole image's mean, side by side, then joined.
    """

    def __init__(self, cin: int, cmid: int, cout: int, size: int, rates: Sequence[int]) -> None:
        """`size`: side of the features in pixels."""
        super().__init__()
        self.point = conv(cin, cmid, 1, act=nn.ReLU)
        self.dilated = nn.ModuleList(conv(cin, cmid, act=nn.ReLU) for _ in rates)
        for branch, rate in zip(self.dilated, rates, strict=True):
            branch.conv.dilation = branch.conv.padding = (rate, rate)
        self.image = chain(pool=nn.AdaptiveAvgPool2d(1), project=conv(cin, cmid, 1, act=nn.ReLU))
        self.spread = resize(size)
        self.project = conv(cmid * (2 + len(rates)), cout, 1, act=nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size."""
        branches = [
            self.point(x),
            *(branch(x) for branch in self.dilated),
            self.spread(self.image(x)),
        ]
        out: Tensor = self.project(torch.cat(branches, 1))
        return out


class DeepLab(nn.Module):
    """DeepLabV3+: dilated backbone, ASPP, one convolution at stride 4 that also sees the first
    stage, resize.
    """

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.backbone = Backbone(dilated=True)
        self.aspp = ASPP(WIDTHS[3], 24, WIDTH, SIDE // 8, (2, 4))
        self.low = conv(WIDTHS[1], 16, 1, act=nn.ReLU)
        self.up2 = resize(2)
        self.head = conv(WIDTH + 16, WIDTH, act=nn.ReLU)
        self.score = nn.Conv2d(WIDTH, CLASSES + 1, 1)
        self.up = resize(4)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores [N,11,128,128]; 0 is the background."""
        first, _, third = self.backbone(x)
        joined = torch.cat([self.up2(self.aspp(third)), self.low(first)], 1)
        out: Tensor = self.up(self.score(self.head(joined)))
        return out


class Pyramid(nn.Module):
    """Feature pyramid: the deeper stage resized onto the shallower one, a convolution on each."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.lateral2, self.lateral3 = (conv(c, WIDTH, 1) for c in WIDTHS[2:])
        self.up = resize(2, "nearest")
        self.smooth2, self.smooth3 = (conv(WIDTH, WIDTH, act=nn.ReLU) for _ in range(2))

    def forward(self, second: Tensor, third: Tensor) -> tuple[Tensor, Tensor]:
        """Features at strides 8 and 16."""
        deep = self.lateral3(third)
        return self.smooth2(self.lateral2(second) + self.up(deep)), self.smooth3(deep)


def grouped(cin: int, cout: int) -> nn.Sequential:
    """3x3 convolution, group normalisation, ReLU."""
    return chain(
        conv=nn.Conv2d(cin, cout, 3, 1, 1, bias=False), norm=nn.GroupNorm(8, cout), act=nn.ReLU()
    )


def batched(cin: int, cout: int) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU."""
    return conv(cin, cout, act=nn.ReLU)


def rows(head: nn.Conv2d, features: Sequence[Tensor], columns: int) -> Tensor:
    """A head over all levels: a row for each level, place and anchor, [N,A,columns]."""
    by_level = []
    for level, stride in zip(features, LEVELS, strict=True):
        number = (SIDE // stride) ** 2 * (head.out_channels // columns)
        by_level.append(head(level).permute(0, 2, 3, 1).reshape(-1, number, columns))
    return torch.cat(by_level, 1)


def centres(strides: Sequence[int] = LEVELS) -> Tensor:
    """Places of all levels in the order of `rows`: x, y and stride, [P, 3] in pixels."""
    found = []
    for stride in strides:
        line = (torch.arange(SIDE // stride) + 0.5) * stride
        y, x = torch.meshgrid(line, line, indexing="ij")
        found.append(torch.stack([x, y, torch.full_like(x, stride)], 2).reshape(-1, 3))
    return torch.cat(found)


class Detector(nn.Module):
    """Backbone, pyramid, and two towers that all levels share.

    A subclass says what its heads mean.
    """

    def __init__(self, layer: Callable[[int, int], nn.Module], per_place: int = 1) -> None:
        """`layer` builds a tower's layer; `per_place`: boxes at each place."""
        super().__init__()
        self.backbone, self.pyramid = Backbone(), Pyramid()
        self.class_tower, self.box_tower = layer(WIDTH, WIDTH), layer(WIDTH, WIDTH)
        self.class_score = head(per_place * CLASSES, bias=float(torch.logit(torch.tensor(PRIOR))))
        self.box_offset = head(per_place * 4)

    def towers(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Features of the class tower and of the box tower, by level."""
        levels = self.pyramid(*self.backbone(x)[1:])
        return [self.class_tower(level) for level in levels], [
            self.box_tower(level) for level in levels
        ]


def head(cout: int, bias: float = 0.0) -> nn.Conv2d:
    """3x3 convolution that says next to nothing but its bias before it is trained."""
    layer = nn.Conv2d(WIDTH, cout, 3, 1, 1)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.constant_(layer.bias, bias)
    return layer


class RetinaNet(Detector):
    """Three anchors at each place.

    Offsets of the centre in anchor sizes, logarithms of the ratio of sizes.
    """

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__(batched, len(ANCHORS))
        place = centres()[:, None].expand(-1, len(ANCHORS), -1).reshape(-1, 3)
        shape = torch.tensor([[w, h] for h, w in ANCHORS]).repeat(len(centres()), 1)
        self.register_buffer("middle", place[:, :2].contiguous())
        self.register_buffer("size", shape * BASE_SIZE * place[:, 2:])

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [N,A,10] and offsets [N,A,4]."""
        class_features, box_features = self.towers(x)
        return rows(self.class_score, class_features, CLASSES), rows(
            self.box_offset, box_features, 4
        )

    def decode(self, offsets: Tensor) -> Tensor:
        """Offsets [N,A,4] to boxes [N,A,4]."""
        move, stretch = offsets.split((2, 2), 2)
        middle = self.middle + move * self.size
        half = 0.5 * self.size * stretch.exp()
        return torch.cat([middle - half, middle + half], 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [N,A,4] (x1, y1, x2, y2 in pixels) and scores [N,A,10]."""
        logits, offsets = self.raw(x)
        return self.decode(offsets), logits.sigmoid()

    def anchors(self) -> Tensor:
        """[A,4] x1, y1, x2, y2 in pixels."""
        return torch.cat([self.middle - self.size / 2, self.middle + self.size / 2], 1)


class FCOS(Detector):
    """No anchors: distances to the four sides, as exponentials in strides, and a centre-ness beside
    them.
    """

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__(grouped)
        self.centreness = head(1)
        place = centres()
        self.register_buffer("middle", place[:, :2].contiguous())
        self.register_buffer("unit", 1.5 * place[:, 2:])

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits [N,A,10], offsets [N,A,4] and centre-ness logits [N,A,1]."""
        class_features, box_features = self.towers(x)
        boxed = (rows(self.box_offset, box_features, 4), rows(self.centreness, box_features, 1))
        return rows(self.class_score, class_features, CLASSES), *boxed

    def decode(self, offsets: Tensor) -> Tensor:
        """Offsets [N,A,4] to boxes [N,A,4]."""
        before, behind = (offsets.exp() * self.unit).split((2, 2), 2)
        return torch.cat([self.middle - before, self.middle + behind], 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [N,A,4] (x1, y1, x2, y2 in pixels) and scores [N,A,10] out of class and centre."""
        logits, offsets, centreness = self.raw(x)
        return self.decode(offsets), (logits.sigmoid() * centreness.sigmoid()).sqrt()
