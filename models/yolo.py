"""The detector in the manner of YOLOv8, as a PyTorch module.

SiLU, C2f blocks and SPPF in the backbone, a pyramid that goes down and up again, three scales, a
head of two branches on each, boxes as mean distances to the four sides. It takes uint8 pixels
[N,1,128,128], normalised in the graph; its boxes are decoded in the graph, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from architectures import chain, conv
from scene_networks import Normalise, centres, resize
from scenes import CLASSES
from torch import Tensor, nn

STRIDES = (8, 16, 32)
"""Strides of the three scales."""
WIDTHS = (12, 20, 32, 48, 56)
"""Channels of the backbone at strides 2, 4, 8, 16 and 32."""
BRANCH = 32
"""Channels of the heads' branches."""
BINS = 8
"""Distances to a side a head tells the probabilities of: 0 to 7 strides."""
PRIOR = 0.01
"""What an untrained detector takes for the probability of a garment."""

unit = partial(conv, act=nn.SiLU)
"""Convolution, batch normalisation, SiLU."""


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, with a skip if wanted."""

    def __init__(self, width: int, skip: bool) -> None:
        """Build the layers."""
        super().__init__()
        self.a, self.b, self.skip = unit(width, width), unit(width, width), skip

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = self.b(self.a(x))
        return x + out if self.skip else out


class C2f(nn.Module):
    """Two halves, a bottleneck behind the second, all three joined: a cross-stage partial block."""

    def __init__(self, cin: int, cout: int, skip: bool = False) -> None:
        """Build the layers."""
        super().__init__()
        self.half = cout // 2
        self.enter = unit(cin, cout, 1)
        self.bottleneck = Bottleneck(self.half, skip)
        self.leave = unit(3 * self.half, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        first, second = self.enter(x).split(self.half, 1)
        out: Tensor = self.leave(torch.cat([first, second, self.bottleneck(second)], 1))
        return out


class SPPF(nn.Module):
    """Fast spatial pyramid pooling: the same max pool three times in a row, all answers joined."""

    def __init__(self, width: int) -> None:
        """Build the layers."""
        super().__init__()
        self.enter = unit(width, width // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = unit(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        found = [self.enter(x)]
        for _ in range(3):
            found.append(self.pool(found[-1]))
        out: Tensor = self.leave(torch.cat(found, 1))
        return out


class Backbone(nn.Module):
    """Five convolutions of stride 2, a C2f behind all but the first, SPPF at the end."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        a, b, c, d, e = WIDTHS
        self.normalise = Normalise()
        self.stem = unit(1, a, stride=2)
        self.stage1 = chain(down=unit(a, b, stride=2), mix=C2f(b, b, True))
        self.stage2 = chain(down=unit(b, c, stride=2), mix=C2f(c, c, True))
        self.stage3 = chain(down=unit(c, d, stride=2), mix=C2f(d, d, True))
        self.stage4 = chain(down=unit(d, e, stride=2), mix=C2f(e, e, True), pool=SPPF(e))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at strides 8, 16 and 32."""
        fine = self.stage2(self.stage1(self.stem(self.normalise(x))))
        middle = self.stage3(fine)
        return fine, middle, self.stage4(middle)


class Neck(nn.Module):
    """A pyramid from the coarse scale to the fine one and back again."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        fine, middle, coarse = WIDTHS[2:]
        self.up1, self.up2 = resize(2, "nearest"), resize(2, "nearest")
        self.top_down1 = C2f(middle + coarse, middle)
        self.top_down2 = C2f(fine + middle, fine)
        self.down1, self.down2 = unit(fine, fine, stride=2), unit(middle, middle, stride=2)
        self.bottom_up1 = C2f(fine + middle, middle)
        self.bottom_up2 = C2f(middle + coarse, coarse)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> list[Tensor]:
        """Features at the same three strides."""
        middle = self.top_down1(torch.cat([self.up1(coarse), middle], 1))
        fine = self.top_down2(torch.cat([self.up2(middle), fine], 1))
        middle = self.bottom_up1(torch.cat([self.down1(fine), middle], 1))
        coarse = self.bottom_up2(torch.cat([self.down2(middle), coarse], 1))
        return [fine, middle, coarse]


def branch(cin: int, cout: int, bias: float) -> nn.Sequential:
    """3x3, 3x3 and 1x1: one branch of a head; `bias` is what it says before it is trained."""
    last = nn.Conv2d(BRANCH, cout, 1)
    nn.init.constant_(last.bias, bias)
    return chain(a=unit(cin, BRANCH), b=unit(BRANCH, BRANCH), last=last)


class YOLO(nn.Module):
    """No anchors and no centre-ness: at each place ten class scores and four distances."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.backbone, self.neck = Backbone(), Neck()
        prior = float(torch.logit(torch.tensor(PRIOR)))
        self.box = nn.ModuleList(branch(c, 4 * BINS, 1.0) for c in WIDTHS[2:])
        self.score = nn.ModuleList(branch(c, CLASSES, prior) for c in WIDTHS[2:])
        self.mean = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.mean.weight.copy_(torch.arange(BINS, dtype=torch.float32)[None, :, None, None])
        places = centres(STRIDES)
        self.register_buffer("middle", (places[:, :2] / places[:, 2:]).T[None].contiguous())
        self.register_buffer("stride", places[:, 2].contiguous())

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the distances [N,32,A] (side by side: 8 of each side) and classes [N,10,A]."""
        features = self.neck(*self.backbone(x))
        return _joined(self.box, features), _joined(self.score, features)

    def decode(self, distances: Tensor) -> Tensor:
        """Logits of the distances [N,32,A] to boxes [N,A,4]."""
        count, _, places = distances.shape
        shares = distances.view(count, 4, BINS, places).transpose(1, 2).softmax(1)
        before, behind = self.mean(shares).view(count, 4, places).split(2, 1)
        corners = torch.cat([self.middle - before, self.middle + behind], 1)
        return (corners * self.stride).transpose(1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [N,A,4] (x1, y1, x2, y2 in pixels) and scores [N,A,10]."""
        distances, logits = self.raw(x)
        return self.decode(distances), logits.sigmoid().transpose(1, 2)


def _joined(heads: nn.ModuleList, features: Sequence[Tensor]) -> Tensor:
    """Each scale's head on its features, all places side by side: [N,columns,A]."""
    found = [head(level).flatten(2) for head, level in zip(heads, features, strict=True)]
    return torch.cat(found, 2)
