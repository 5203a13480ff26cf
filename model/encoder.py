"""A torchvision backbone cut where it still has a grid: images in, (B, regions, channels) out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import inception
from torchvision.models.inception import BasicConv2d, Inception3, InceptionA, InceptionC

from model.config import EncoderConfig


def _average_pool(x: Tensor) -> Tensor:
    """3 × 3 mean with stride 1 that leaves the padding out, as in TensorFlow, where the weights come from."""
    return functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)


class _InceptionA(InceptionA):  # type: ignore[misc]  # torchvision has no types
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(_average_pool(x)),
        ]


class _InceptionC(InceptionC):  # type: ignore[misc]
    def _forward(self, x: Tensor) -> list[Tensor]:
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return [
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
            self.branch_pool(_average_pool(x)),
        ]


class Encoder(nn.Module):
    """Inception v3 (Szegedy et al., arXiv 1512.00567) up to Mixed_7a: 299 px → 8 × 8 × 1,280.

    Batch normalisation always uses its stored statistics, in training too: the starting weights carry none of
    their own (mean 0, variance 1), and captioning batches are too small to estimate them.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or EncoderConfig()
        blocks = [
            BasicConv2d,
            _InceptionA,
            inception.InceptionB,
            _InceptionC,
            inception.InceptionD,
            inception.InceptionE,
            inception.InceptionAux,
        ]
        whole = Inception3(aux_logits=False, init_weights=False, inception_blocks=blocks)
        self.backbone = nn.Sequential()
        for name, module in whole.named_children():
            self.backbone.add_module(name, module)
            if name == "Mixed_7a":
                break

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        images: (B, 3, size, size), uint8 RGB, or float already scaled to [-1, 1].
        Returns (B, regions, channels), regions row by row from the top left.
        """
        if images.dtype == torch.uint8:
            dtype = next(self.parameters()).dtype
            images = images.to(dtype).sub_(127.5).div_(127.5)
        grid: Tensor = self.backbone(images.contiguous(memory_format=torch.channels_last))  # (B, C, rows, columns)
        return grid.flatten(2).transpose(1, 2)  # (B, regions, C)

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def fuse(self) -> Encoder:
        """Fold each batch normalisation into its convolution, in place: same output, faster. For inference only."""
        self.eval()
        for module in self.modules():
            if isinstance(module, BasicConv2d) and isinstance(module.bn, nn.BatchNorm2d):
                module.conv = fuse_conv_bn_eval(module.conv, module.bn)
                module.bn = nn.Identity()
        return self
