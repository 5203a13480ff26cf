"""Inception v3 up to Mixed_7a (Szegedy et al., arXiv 1512.00567), under torchvision's names for the same layers.

Written here because importing torchvision costs a worker 165 MiB and seconds at its start. Batch normalisation and
pooling are TensorFlow's, where the starting weights come from: epsilon 0.001, and means that leave the padding out.

Shapes: B images, (B, 3, 299, 299) → (B, 1280, 8, 8).
"""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Convolution(nn.Module):
    """A convolution without bias, batch normalisation and ReLU. options: those of `nn.Conv2d`."""

    def __init__(self, inputs: int, outputs: int, size: int | tuple[int, int], **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)), inplace=True)


def _average_pool(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)


def _max_pool(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, kernel_size=3, stride=2)


class BlockA(nn.Module):
    """Keeps the grid: 1 × 1, 5 × 5, and two 3 × 3 convolutions."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 64, 1)
        self.branch5x5_1 = Convolution(inputs, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pooled = self.branch_pool(_average_pool(x))
        return torch.cat([self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, pooled], dim=1)


class BlockB(nn.Module):
    """Halves the grid."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, _max_pool(x)], dim=1)


class BlockC(nn.Module):
    """Keeps the grid: 7 × 7 convolutions in two halves, `width` channels between them."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        across, down = {"size": (1, 7), "padding": (0, 3)}, {"size": (7, 1), "padding": (3, 0)}
        self.branch1x1 = Convolution(inputs, 192, 1)
        self.branch7x7_1 = Convolution(inputs, width, 1)
        self.branch7x7_2 = Convolution(width, width, **across)
        self.branch7x7_3 = Convolution(width, 192, **down)
        self.branch7x7dbl_1 = Convolution(inputs, width, 1)
        self.branch7x7dbl_2 = Convolution(width, width, **down)
        self.branch7x7dbl_3 = Convolution(width, width, **across)
        self.branch7x7dbl_4 = Convolution(width, width, **down)
        self.branch7x7dbl_5 = Convolution(width, 192, **across)
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average_pool(x))], dim=1)


class BlockD(nn.Module):
    """Halves the grid."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(inputs, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(inputs, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), wide, _max_pool(x)], dim=1)


def inception_v3() -> nn.Sequential:
    """A fresh network up to Mixed_7a."""
    return nn.Sequential(
        OrderedDict(
            {
                "Conv2d_1a_3x3": Convolution(3, 32, 3, stride=2),
                "Conv2d_2a_3x3": Convolution(32, 32, 3),
                "Conv2d_2b_3x3": Convolution(32, 64, 3, padding=1),
                "maxpool1": nn.MaxPool2d(3, stride=2),
                "Conv2d_3b_1x1": Convolution(64, 80, 1),
                "Conv2d_4a_3x3": Convolution(80, 192, 3),
                "maxpool2": nn.MaxPool2d(3, stride=2),
                "Mixed_5b": BlockA(192, 32),
                "Mixed_5c": BlockA(256, 64),
                "Mixed_5d": BlockA(288, 64),
                "Mixed_6a": BlockB(288),
                "Mixed_6b": BlockC(768, 128),
                "Mixed_6c": BlockC(768, 160),
                "Mixed_6d": BlockC(768, 160),
                "Mixed_6e": BlockC(768, 192),
                "Mixed_7a": BlockD(768),
            }
        )
    )
