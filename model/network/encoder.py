"""A torchvision backbone cut where it still has a grid: images in, (B, regions, channels) out."""

import itertools
from collections import OrderedDict
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision import models
from torchvision.models import inception
from torchvision.models.inception import BasicConv2d, Inception3, InceptionA, InceptionC

from model.network.config import EncoderConfig


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


def _inception() -> nn.Module:
    blocks = [
        BasicConv2d,
        _InceptionA,
        inception.InceptionB,
        _InceptionC,
        inception.InceptionD,
        inception.InceptionE,
        inception.InceptionAux,
    ]
    whole: nn.Module = Inception3(aux_logits=False, init_weights=False, inception_blocks=blocks)
    return whole


def _until(whole: nn.Module, last: str) -> nn.Sequential:
    """The children of `whole` up to and including `last`, one after the other, under their own names."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, module in whole.named_children():
        layers[name] = module
        if name == last:
            break
    return nn.Sequential(layers)


def build_backbone(name: str) -> nn.Sequential:
    """A fresh backbone up to its last grid; its tensors have torchvision's names.

    inception_v3 ends with Mixed_7a, the ResNets with layer4, AlexNet and VGG before their last pooling (as in Show,
    Attend and Tell), the others with all of `features`.
    """
    if name == "inception_v3":
        return _until(_inception(), "Mixed_7a")
    whole = models.get_model(name, weights=None)
    if hasattr(whole, "layer4"):
        return _until(whole, "layer4")
    if isinstance(whole.features[-1], nn.MaxPool2d):
        whole.features = whole.features[:-1]
    return _until(whole, "features")


def encoder_config(name: str) -> EncoderConfig:
    """The configuration of a torchvision backbone: its own input size and normalisation, and the grid that it gives.

    Raises ConfigError for an unknown name.
    """
    if name == "inception_v3":
        return EncoderConfig()  # scaled to [-1, 1], as in TensorFlow
    known = EncoderConfig(name=name)
    inputs: Any = models.get_model_weights(name).DEFAULT.transforms()
    [size] = inputs.crop_size
    with torch.device("meta"):  # shapes alone
        _, channels, rows, columns = build_backbone(known.name).eval()(torch.zeros(1, 3, size, size)).shape
    return EncoderConfig(name, size, rows, columns, channels, tuple(inputs.mean), tuple(inputs.std))


class Encoder(nn.Module):
    """A backbone and its input normalisation; Inception v3 (Szegedy et al., arXiv 1512.00567) up to Mixed_7a unless
    configured otherwise: 299 px → 8 × 8 × 1,280.

    Batch normalisation always uses its stored statistics, in training too: Inception's starting weights carry none
    of their own (mean 0, variance 1), and captioning batches are too small to estimate them.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or EncoderConfig()
        self.backbone = build_backbone(self.config.name)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        images: (B, 3, size, size), uint8 RGB, or float already normalised (Inception: scaled to [-1, 1]).
        Returns (B, regions, channels), regions row by row from the top left.
        """
        if images.dtype == torch.uint8:
            mean, std = (
                torch.tensor(values, device=images.device).mul_(255.0).view(3, 1, 1)
                for values in (self.config.mean, self.config.std)
            )
            images = images.float().sub_(mean).div_(std).to(next(self.parameters()).dtype)
        grid: Tensor = self.backbone(images.contiguous(memory_format=torch.channels_last))  # (B, C, rows, columns)
        return grid.flatten(2).transpose(1, 2)  # (B, regions, C)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def fuse(self) -> Self:
        """Fold each batch normalisation into the convolution before it, in place: same output, faster.

        For inference only. VGG, AlexNet and ConvNeXt have none, and stay as they are.
        """
        self.eval()
        for module in self.modules():
            children = list(module.named_children())
            for (name, layer), (after, norm) in itertools.pairwise(children):
                if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(module, name, fuse_conv_bn_eval(layer, norm))
                    setattr(module, after, nn.Identity())
        return self
