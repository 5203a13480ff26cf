"""A convolutional backbone cut where it still has a grid: images in, (B, regions, channels) out."""

import contextlib
import functools
import itertools
from collections import OrderedDict
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.network.config import ConfigError, EncoderConfig
from model.network.efficientnet import LITE2, SIZE, efficientnet_lite2
from model.network.inception import Convolution, inception_v3
from model.network.packed import PackedConvolution


def torchvision_models() -> Any:
    """`torchvision.models`, which all backbones need but those written here. Raises ConfigError without it."""
    try:
        from torchvision import models
    except ImportError as error:
        raise ConfigError(f"this encoder needs the package torchvision ({error})") from error
    return models


def to_square(image: Image.Image | npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """A picture, or its pixels of shape (H, W, 3), squashed to what the encoder sees: (size, size, 3) RGB.

    Nothing is cropped away.
    """
    return resized(image, (size, size))


def resized(image: Image.Image | npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A picture, or its pixels of shape (H, W, 3), in another size (width, height): (height, width, 3) RGB.

    It is Pillow's `resize` with BICUBIC, within two levels of 255, in a fifth of the time.
    """
    if isinstance(image, Image.Image) and image.mode != "RGB":
        image = image.convert("RGB")
    pixels = torch.from_numpy(np.require(image, np.uint8, "W"))[None].permute(0, 3, 1, 2)
    found = functional.interpolate(pixels, size[::-1], mode="bicubic", antialias=True)
    return np.ascontiguousarray(found[0].permute(1, 2, 0).numpy())


def _until(whole: nn.Module, last: str) -> nn.Sequential:
    """The children of `whole` up to and including `last`, one after the other, under their own names."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, module in whole.named_children():
        layers[name] = module
        if name == last:
            break
    return nn.Sequential(layers)


def build_backbone(name: str) -> nn.Sequential:
    """A fresh backbone up to its last grid; its tensors have torchvision's names (efficientnet_lite2: its package's).

    inception_v3 ends with Mixed_7a, the ResNets with layer4, AlexNet and VGG before their last pooling (as in Show,
    Attend and Tell), the others with all of `features`. Raises ConfigError where torchvision is needed and absent.
    """
    if name == "inception_v3":
        return inception_v3()
    if name == LITE2:
        return efficientnet_lite2()
    whole = torchvision_models().get_model(name, weights=None)
    if hasattr(whole, "layer4"):
        return _until(whole, "layer4")
    if isinstance(whole.features[-1], nn.MaxPool2d):
        whole.features = whole.features[:-1]
    return _until(whole, "features")


def encoder_config(name: str, size: int = 0) -> EncoderConfig:
    """The configuration of a backbone by its name: its input size and normalisation, and the grid it gives.

    size: pixels a side of its input; 0: as it was trained with. Raises ConfigError for an unknown name or a size that
    is too small, or without torchvision where it is needed.
    """
    known = EncoderConfig(name=name)  # scaled to [-1, 1], as in TensorFlow
    if name == "inception_v3":
        usual, mean, std = known.image_size, known.mean, known.std
    elif name == LITE2:
        usual, mean, std = SIZE, (127 / 255,) * 3, (128 / 255,) * 3
    else:
        inputs: Any = torchvision_models().get_model_weights(name).DEFAULT.transforms()
        [usual], mean, std = inputs.crop_size, tuple(inputs.mean), tuple(inputs.std)
    size = size or usual
    try:
        with torch.device("meta"):  # shapes alone
            _, channels, rows, columns = build_backbone(name).eval()(torch.zeros(1, 3, size, size)).shape
    except RuntimeError as error:
        raise ConfigError(f"{name} cannot see pictures of {size} pixels a side ({error})") from None
    return EncoderConfig(name, size, rows, columns, channels, mean, std)


@functools.lru_cache(16)
@torch.inference_mode(False)
def _levels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """Of each channel, in levels of 255: (3, 1, 1). Kept on the device: copying it there waits for what runs."""
    return torch.tensor(values, device=device).mul_(255.0).view(3, 1, 1)


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
            images = self.normalised(images).to(next(self.parameters()).dtype)
        grid: Tensor = self.backbone(images.contiguous(memory_format=torch.channels_last))  # (B, C, rows, columns)
        return grid.flatten(2).transpose(1, 2)  # (B, regions, C)

    def normalised(self, images: Tensor) -> Tensor:
        """Pixels, uint8 RGB, as float32 of the same shape."""
        mean, std = (_levels(values, images.device) for values in (self.config.mean, self.config.std))
        return images.float().sub_(mean).div_(std)

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

    @torch.inference_mode()
    def pack(self) -> Self:
        """Lay its convolutions out for this processor, in place: same output, faster. For inference on a CPU.

        After `fuse`, and in the dtype that it computes in. Does nothing where that is not possible.
        """
        if not PackedConvolution.possible(next(self.parameters()).dtype):
            return self
        shapes: dict[nn.Module, torch.Size] = {}
        hooks = [
            module.register_forward_pre_hook(lambda module, given: shapes.update({module: given[0].shape[1:]}))
            for module in self.modules()
            if type(module) is nn.Conv2d and module.padding_mode == "zeros" and module.bias is not None
        ]
        side = self.config.image_size
        self(torch.zeros(1, 3, side, side, dtype=torch.uint8))
        for hook in hooks:
            hook.remove()
        for parent in list(self.modules()):
            for name, module in parent.named_children():
                relu = isinstance(module, Convolution)
                convolution = module.conv if isinstance(module, Convolution) else module
                if isinstance(convolution, nn.Conv2d) and convolution in shapes:
                    with contextlib.suppress(RuntimeError):  # one that oneDNN cannot compute here stays as it is
                        setattr(parent, name, PackedConvolution(convolution, shapes.pop(convolution), relu=relu))
        return self
