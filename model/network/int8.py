"""The encoder in 8-bit integers on ONNX Runtime, for CPUs (Jacob et al., arXiv 1712.05877).

Weights are int8 with a scale for each output channel. Activations are uint8 with a range for each layer, which
`python -m model.training.quantize` measures on training photos; what saturates at 0 is the ReLU itself. The graph is
made at start from the encoder's own weights, in a fraction of a second. Needs what requirements-cpu.txt lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from model.network.config import ConfigError, EncoderConfig
from model.network.device import multiplies_int8
from model.network.encoder import Encoder

INT8_FILE: Final = "encoder-int8.safetensors"  # ranges: a tensor (2,) for each of `rounded`, the least and the largest
LEVELS: Final = 255.0  # of uint8, above the least
OPSET: Final = 17  # of ONNX: the first ONNX Runtime releases for Python 3.11 have it
IR: Final = 8
CONTRIBUTED: Final = "com.microsoft"  # operators of ONNX Runtime's own

Range = tuple[float, float]


def trace(encoder: Encoder) -> fx.GraphModule:
    """A fused encoder's backbone as a graph, in which each average pooling follows the 1 × 1 convolution that read it.

    Both are linear, so they can change places; then there are fewer channels to pool.
    Raises ConfigError for a backbone that is not made of what `build` knows.
    """
    module = fx.symbolic_trace(encoder.backbone)
    for node in module.graph.find_nodes(op="call_function", target=functional.avg_pool2d):
        [convolution] = node.users
        [norm] = convolution.users
        convolution.replace_input_with(node, _read(node))
        with module.graph.inserting_after(norm):
            pool = module.graph.call_function(functional.avg_pool2d, (norm,), node.kwargs)
        norm.replace_all_uses_with(pool, lambda user, pool=pool: user is not pool)
        module.graph.erase_node(node)
    for node in list(module.graph.nodes):
        if isinstance(_module(module, node), nn.Identity):
            node.replace_all_uses_with(_read(node))
            module.graph.erase_node(node)
        elif not _known(module, node):
            raise ConfigError(f"{encoder.config.name} cannot be quantised: {node.format_node()}")
    module.recompile()
    return module


def rounded(module: fx.GraphModule) -> dict[fx.Node, str]:
    """The nodes of `trace` whose outputs are rounded anew, with the names of their ranges."""
    found: dict[fx.Node, str] = {}
    for node in module.graph.nodes:
        if isinstance(_module(module, node), nn.Conv2d):
            found[node] = str(node.target)
        elif node.target is functional.avg_pool2d:
            found[node] = f"{_read(node).target}.pooled"
    return found


def rectified(node: fx.Node) -> bool:
    """Whether nothing but a ReLU reads a node: then that is part of it, and its range is from 0."""
    return all(user.target is functional.relu for user in node.users)


def _read(node: fx.Node) -> fx.Node:
    """The node whose output another takes first."""
    read = node.args[0]
    assert isinstance(read, fx.Node)
    return read


def _module(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _known(module: fx.GraphModule, node: fx.Node) -> bool:
    functions = (functional.relu, functional.avg_pool2d, functional.max_pool2d, torch.cat)
    modules = (nn.Conv2d, nn.MaxPool2d)
    return (
        node.op in ("placeholder", "output") or node.target in functions or isinstance(_module(module, node), modules)
    )


class _Rounded(NamedTuple):
    """A uint8 tensor of the graph, which stands for scale · (q - zero)."""

    name: str
    scale: float
    zero: int = 0

    @classmethod
    def within(cls, name: str, limits: Range) -> _Rounded:
        scale = (limits[1] - limits[0]) / LEVELS
        return cls(name, scale, round(-limits[0] / scale))


class _Graph:
    """An ONNX graph in the making."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._make, self._from_array = helper.make_node, numpy_helper.from_array
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        self.constants.append(self._from_array(np.asarray(values, dtype), f"constant{len(self.constants)}"))
        return str(self.constants[-1].name)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"tensor{len(self.nodes)}"
        self.nodes.append(self._make(operator, list(inputs), [name], **attributes))
        return name

    def parameters(self, tensor: _Rounded) -> tuple[str, str]:
        """Scale and zero point."""
        return self.constant(tensor.scale, np.float32), self.constant(tensor.zero, np.uint8)

    def convolve(self, layer: nn.Conv2d, inputs: _Rounded, weight: Tensor, bias: Tensor, limits: Range) -> _Rounded:
        """weight: (O, I, height, width), bias: (O,), both float64, of `layer` or in place of its own."""
        scales = weight.abs().amax(dim=(1, 2, 3)).clamp(min=1e-12) / 127.0  # (O,)
        found = _Rounded.within("", limits)
        name = self.add(
            "QLinearConv",
            inputs.name,
            *self.parameters(inputs),
            self.constant((weight / scales.view(-1, 1, 1, 1)).round(), np.int8),
            self.constant(scales, np.float32),
            self.constant(np.zeros(len(scales)), np.int8),
            *self.parameters(found),
            self.constant((bias / (scales * inputs.scale)).round(), np.int32),
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            pads=[int(side) for side in layer.padding] * 2,
        )
        return found._replace(name=name)

    def pool(
        self, inputs: _Rounded, limits: Range, kernel_size: int, stride: int, padding: int, **_: object
    ) -> _Rounded:
        """The average, without the padding."""
        found = _Rounded.within("", limits)
        name = self.add(
            "QLinearAveragePool",
            inputs.name,
            *self.parameters(inputs),
            *self.parameters(found),
            kernel_shape=[kernel_size] * 2,
            strides=[stride] * 2,
            pads=[padding] * 4,
            domain=CONTRIBUTED,
        )
        return found._replace(name=name)

    def join(self, parts: list[_Rounded]) -> _Rounded:
        """Their channels, one after the other, in the widest of their ranges."""
        if len(parts) == 1:
            return parts[0]
        found = max(parts, key=lambda part: part.scale)
        inputs = [each for part in parts for each in (part.name, *self.parameters(part))]
        return found._replace(
            name=self.add("QLinearConcat", *self.parameters(found), *inputs, axis=1, domain=CONTRIBUTED)
        )


def build(encoder: Encoder, ranges: Mapping[str, Range]) -> bytes:
    """An ONNX model from `pixels`, uint8 (B, size, size, 3), to `grid`, float32 (B, rows, columns, channels).

    encoder: fused, in fp32, on the CPU. Raises ConfigError for one that cannot be quantised, or has other layers.
    """
    from onnx import TensorProto, helper

    graph, config, module = _Graph(), encoder.config, trace(encoder)
    names = rounded(module)
    if set(names.values()) != set(ranges):
        raise ConfigError("the ranges are those of other layers")
    start = _Rounded(graph.add("Transpose", "pixels", perm=[0, 3, 1, 2]), 1.0)
    known: dict[Any, list[_Rounded]] = {}  # of each node; several that are to be joined

    def one(node: Any) -> _Rounded:
        known[node] = [graph.join(known[node])]
        return known[node][0]

    for node in module.graph.nodes:
        first: Any = node.args[0] if node.args else None
        layer = _module(module, node)
        if node.op == "placeholder":
            known[node] = [start]
        elif isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
            if one(first) is start:  # it takes pixels as they are
                mean, std = (torch.tensor(each).double().view(-1, 1, 1) for each in (config.mean, config.std))
                bias = bias - (weight * mean / std).sum(dim=(1, 2, 3))
                weight = weight / (LEVELS * std)
            known[node] = [graph.convolve(layer, one(first), weight, bias, ranges[names[node]])]
        elif node.target is functional.avg_pool2d:
            known[node] = [graph.pool(one(first), ranges[names[node]], **node.kwargs)]
        elif node.target is functional.relu:
            known[node] = known[first]
        elif node.target is torch.cat:
            known[node] = [one(each) for each in first]
        elif node.op == "output":
            parts = [graph.add("DequantizeLinear", part.name, *graph.parameters(part)) for part in known[first]]
            graph.add("Transpose", graph.add("Concat", *parts, axis=1), perm=[0, 2, 3, 1])
            graph.nodes[-1].output[0] = "grid"
        else:  # Inception's largest of 3 × 3
            inputs = one(first)
            known[node] = [inputs._replace(name=graph.add("MaxPool", inputs.name, kernel_shape=[3, 3], strides=[2, 2]))]
    size, grid = config.image_size, (config.rows, config.columns, config.channels)
    made = helper.make_graph(
        graph.nodes,
        config.name,
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", size, size, 3])],
        [helper.make_tensor_value_info("grid", TensorProto.FLOAT, ["batch", *grid])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIBUTED, 1)]
    data: bytes = helper.make_model(made, opset_imports=opsets, ir_version=IR).SerializeToString()
    return data


class Int8Encoder(Encoder):
    """An encoder that runs a model of `build`, for inference alone; it has no parameters."""

    def __init__(self, config: EncoderConfig, model: bytes) -> None:
        import onnxruntime

        nn.Module.__init__(self)
        self.config = config
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        if not multiplies_int8():  # the products of uint8 and int8 are summed in 16 bits there, which saturate
            options.add_session_config_entry("session.x64quantprecision", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding needs the cores
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._session._model_bytes = None  # it would keep them, 10 MiB, for a second session that nothing asks for

    def forward(self, images: Tensor) -> Tensor:
        """As `Encoder.forward`, of uint8 alone."""
        [grid] = self._session.run(None, {"pixels": images.permute(0, 2, 3, 1).contiguous().numpy()})
        return torch.from_numpy(grid).flatten(1, 2)  # (B, regions, C)
