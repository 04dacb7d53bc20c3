"""Three Fashion-MNIST classifiers that hardly know a ReLU, as PyTorch modules.

A ViT, a ConvNeXt and a MobileNet-v3: layer normalisation, GELU, softmax attention, hard-swish, and
squeeze-and-excitation, written as timm and torchvision write them.
"""

from __future__ import annotations

import torch
from architectures import chain, conv
from torch import Tensor, nn

EPSILON = 1e-6
"""What layer normalisation adds to the variance, in ViTs and ConvNeXts."""
LAYER_SCALE = 0.1
"""What a ConvNeXt block's answer is multiplied by before it is trained."""


class Attention(nn.Module):
    """Self-attention of several heads over tokens [N,T,C]."""

    def __init__(self, width: int, heads: int) -> None:
        """Build the layers."""
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens by softmax(Q K^T / sqrt(d)) V."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        share = (query * self.scale @ key.transpose(-2, -1)).softmax(-1)
        mixed = (share @ value).transpose(1, 2).reshape(batch, tokens, width)
        out: Tensor = self.project(mixed)
        return out


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each behind a layer normalisation and beside a skip."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        """Build the layers."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width, EPSILON)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, EPSILON)
        self.mlp = chain(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """A vision transformer: patches of 4x4, learned positions, four blocks, mean over tokens."""

    def __init__(self, width: int = 56, heads: int = 2, hidden: int = 112, depth: int = 4) -> None:
        """Build the layers."""
        super().__init__()
        self.embed = nn.Conv2d(1, width, 4, 4)
        self.position = nn.Parameter(0.02 * torch.randn(1, 49, width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, EPSILON)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N,10] of images [N,1,28,28]."""
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        out: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return out


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of [N,C,H,W]."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise at each place."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, layer normalisation, a perceptron with GELU, a layer scale and a skip."""

    def __init__(self, width: int) -> None:
        """Build the layers."""
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, 1, 3, groups=width)
        self.norm = nn.LayerNorm(width, EPSILON)
        self.fc1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        rows = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        rows = self.gamma * self.fc2(self.act(self.fc1(rows)))
        return x + rows.permute(0, 3, 1, 2)


class SqueezeExcitation(nn.Module):
    """Scale each channel by a hard sigmoid of what the means of all channels say."""

    def __init__(self, width: int, squeezed: int) -> None:
        """Build the layers."""
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(width, squeezed, 1)
        self.act = nn.ReLU()
        self.fc2 = nn.Conv2d(squeezed, width, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the gates."""
        out: Tensor = x * self.gate(self.fc2(self.act(self.fc1(self.pool(x)))))
        return out


class ExcitedResidual(nn.Module):
    """MobileNet-v3's block: 1x1 expansion (if wider), depthwise, gates, linear projection."""

    def __init__(self, cin: int, mid: int, cout: int, kernel: int = 3, stride: int = 1) -> None:
        """Build the layers."""
        super().__init__()
        self.expand = conv(cin, mid, 1, act=nn.Hardswish) if mid > cin else nn.Identity()
        self.depthwise = conv(mid, mid, kernel, stride, groups=mid, act=nn.Hardswish)
        self.excite = SqueezeExcitation(mid, mid // 4)
        self.project = conv(mid, cout, 1)
        self.skip = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + out if self.skip else out


def vit() -> nn.Module:
    """A ViT: 49 tokens of 56 channels, two heads."""
    return ViT()


def convnext() -> nn.Module:
    """A ConvNeXt: patches of 2x2, two blocks at 14x14 pixels and three at 7x7."""
    shallow, deep = 20, 48
    return chain(
        stem=nn.Conv2d(1, shallow, 2, 2),
        norm=ChannelNorm(shallow, EPSILON),
        stage1=nn.Sequential(*(ConvNextBlock(shallow) for _ in range(2))),
        down=chain(norm=ChannelNorm(shallow, EPSILON), conv=nn.Conv2d(shallow, deep, 2, 2)),
        stage2=nn.Sequential(*(ConvNextBlock(deep) for _ in range(3))),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        top=nn.LayerNorm(deep, EPSILON),
        head=nn.Linear(deep, 10),
    )


def mobilenetv3() -> nn.Module:
    """A MobileNet-v3: five blocks, kernels of 3x3 and 5x5, three identity skips."""
    return chain(
        stem=conv(1, 16, act=nn.Hardswish),
        block1=ExcitedResidual(16, 16, 24, stride=2),
        block2=ExcitedResidual(24, 72, 24),
        block3=ExcitedResidual(24, 96, 48, 5, 2),
        block4=ExcitedResidual(48, 144, 48, 5),
        block5=ExcitedResidual(48, 144, 48, 5),
        top=conv(48, 192, 1, act=nn.Hardswish),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(192, 128),
        act=nn.Hardswish(),
        head=nn.Linear(128, 10),
    )
