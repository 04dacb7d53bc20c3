"""Three Fashion-MNIST classifiers with ReLU, as PyTorch modules: ResNet, VGG and MobileNet-v2."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


def chain(**layers: nn.Module) -> nn.Sequential:
    """The named layers, one after another."""
    return nn.Sequential(OrderedDict(layers))


def conv(
    cin: int,
    cout: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    act: type[nn.Module] = nn.Identity,
) -> nn.Sequential:
    """Convolution without bias, batch normalisation, activation."""
    layer = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
    return chain(conv=layer, bn=nn.BatchNorm2d(cout), act=act())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: identity, or 1x1 projection on a change of shape."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        """Build the layers."""
        super().__init__()
        self.a = conv(cin, cout, 3, stride, act=nn.ReLU)
        self.b = conv(cout, cout)
        self.shortcut = nn.Identity() if stride == 1 else conv(cin, cout, 1, stride)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = self.act(self.b(self.a(x)) + self.shortcut(x))
        return out


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; identity skip where shapes agree."""

    def __init__(self, cin: int, cout: int, stride: int, expand: int = 3) -> None:
        """Build the layers."""
        super().__init__()
        mid = cin * expand
        self.expand = conv(cin, mid, 1, act=nn.ReLU6)
        self.depthwise = conv(mid, mid, 3, stride, groups=mid, act=nn.ReLU6)
        self.project = conv(mid, cout, 1)
        self.skip = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.skip else out


def resnet() -> nn.Module:
    """A ResNet: identity shortcuts in the first stage, a projection at the head of the others."""
    return chain(
        stem=conv(1, 24, act=nn.ReLU),
        pool=nn.MaxPool2d(2),
        stage1=nn.Sequential(ResidualBlock(24, 24, 1), ResidualBlock(24, 24, 1)),
        stage2=nn.Sequential(ResidualBlock(24, 48, 2), ResidualBlock(48, 48, 1)),
        stage3=nn.Sequential(ResidualBlock(48, 80, 2), ResidualBlock(80, 80, 1)),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        head=nn.Linear(80, 10),
    )


def vgg() -> nn.Module:
    """A VGG: five convolutions, three of them followed by max pooling, and two linear layers."""
    return chain(
        conv1=conv(1, 24, act=nn.ReLU),
        pool1=nn.MaxPool2d(2),
        conv2=conv(24, 48, act=nn.ReLU),
        conv3=conv(48, 48, act=nn.ReLU),
        pool2=nn.MaxPool2d(2),
        conv4=conv(48, 80, act=nn.ReLU),
        conv5=conv(80, 96, act=nn.ReLU),
        pool3=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(0.3),
        fc1=nn.Linear(96 * 3 * 3, 128),
        act1=nn.ReLU(),
        head=nn.Linear(128, 10),
    )


def mobilenet() -> nn.Module:
    """A MobileNet-v2: five inverted residuals, three of them with an identity skip."""
    return chain(
        stem=conv(1, 32, act=nn.ReLU6),
        block1=InvertedResidual(32, 32, 2),
        block2=InvertedResidual(32, 32, 1),
        block3=InvertedResidual(32, 64, 2),
        block4=InvertedResidual(64, 64, 1),
        block5=InvertedResidual(64, 64, 1),
        top=conv(64, 160, 1, act=nn.ReLU6),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        head=nn.Linear(160, 10),
    )
