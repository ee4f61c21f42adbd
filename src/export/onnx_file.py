# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The network as two ONNX graphs, built from its parameters: what an image needs once, and what each sample needs.

    encoder: lr                   -> conditions
    decoder: latents, conditions  -> hr

They compute what `SRFlowNet.condition` and `FlowUpsamplerNet.inverse` do. What the parameters alone determine is
computed here, in float64: an ActNorm is part of the convolution before it, and in decoding the inverses of a step's
1×1 convolution and ActNorm are one 1×1 convolution, together with those of the transition steps where they follow.

docs/elsewhere.md names all inputs and outputs. Only NumPy and the package `onnx` are needed.
"""

import json
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from src.network_names import split_levels

# All operators are older than this opset, which onnxruntime reads since 1.17.
OPSET, IR_VERSION = 20, 9
ENCODER, DECODER = "encoder", "decoder"
LOGSCALE_FACTOR = 3.0  # of Conv2dZeros
RESIDUAL_SCALE, SLOPE = 0.2, 0.2  # of RRDBNet: the residuals' factor, and LeakyReLU's
SCALE_SHIFT = 2.0  # a scale is sigmoid(h + 2) + eps
CONDITIONS = ("hidden", "shift", "scale")  # of a step


def build_graphs(arrays, opt, float16=False, size=None, metadata=None):
    """Build both graphs of a network.

    Args:
        arrays: the network's parameters by official name, float32. Those of IMAGE_ONLY may be missing.
        opt: Options of the network.
        float16: whether the convolutions' weights are stored in float16. The graphs cast them to float32, in which
            everything is computed.
        size: (height, width) of lr, even, if it is fixed; None: any even size. The size of the batch is never fixed.
        metadata: dict of further texts for the files.

    Returns:
        The encoder and the decoder, each an onnx.ModelProto.

    Raises:
        ValueError: a 1×1 weight that cannot be inverted, a weight too large for float16, or no package `onnx`.
    """
    try:
        import onnx  # here, as only this needs it
    except ImportError as error:
        raise ValueError(f"onnx: cannot be imported ({error}); pip install -r requirements_onnx.txt") from None
    levels, sizes, models = _levels(opt), _Sizes(size), []
    metadata = dict(metadata or {}, scale=str(opt.scale), latents=json.dumps(_described_latents(levels)))
    for kind, build in ((ENCODER, _build_encoder), (DECODER, _build_decoder)):
        graph = _Graph(onnx, arrays, float16)
        build(graph, opt, levels, sizes)
        models.append(graph.model(f"SRFlow {kind}", dict(metadata, graph=kind)))
    return tuple(models)


class _Level(NamedTuple):
    """A level of the flow.

    Attributes:
        number: from 1.
        channels: C of its maps.
        kept: how many of them go on to the next level.
        transitions, steps: of each step without and with a coupling, the beginning of its parameters' names.
        split: the beginning of the split's, or None.
        resolution: (times, over): its maps' sides are those of lr, times one, over the other.
    """

    number: int
    channels: int
    kept: int
    transitions: List[str]
    steps: List[str]
    split: Optional[str]
    resolution: Tuple[int, int]

    def conditions(self):
        """Return for each step with a coupling the names of its CONDITIONS."""
        return [[f"level{self.number}.step{k + 1}.{kind}" for kind in CONDITIONS] for k in range(len(self.steps))]


def _levels(opt):
    """Return the levels of the network that Options describe, level 1 first."""
    flow, levels, channels, number = opt.network_G.flow, [], 3, 0
    for level in range(flow.L):
        channels, number = 4 * channels, number + 1  # the squeeze
        steps = [f"flowUpsamplerNet.layers.{number + k}." for k in range(flow.additionalFlowNoAffine + flow.K)]
        number += len(steps)
        split = f"flowUpsamplerNet.layers.{number}." if level < split_levels(opt) else None
        number += split is not None
        kept = channels // 2 if split else channels
        doublings = flow.L - 2 - level
        resolution = (2**doublings, 1) if doublings >= 0 else (1, 2)
        plain = flow.additionalFlowNoAffine
        levels.append(_Level(level + 1, channels, kept, steps[:plain], steps[plain:], split, resolution))
        channels = kept
    return levels


def _latents(levels):
    """Return (name, channels, resolution) of each latent, those of the splits first."""
    named = [(f"latent{level.number}", level.channels - level.kept, level.resolution) for level in levels[:-1]]
    last = levels[-1]  # which never splits
    return [latent for latent in named if latent[1]] + [(f"latent{last.number}", last.kept, last.resolution)]


def _described_latents(levels):
    return {name: [channels, *resolution] for name, channels, resolution in _latents(levels)}


class _Sizes:
    """Shapes of inputs and outputs, with names where the size is not fixed."""

    def __init__(self, size):
        self.size = size

    def shape(self, channels, resolution=(1, 1), count="batch"):
        times, over = resolution
        if self.size is not None:
            return [count, channels] + [side * times // over for side in self.size]
        before, after = f"{times}*" if times > 1 else "", f"/{over}" if over > 1 else ""
        return [count, channels] + [before + side + after for side in ("height", "width")]


# ---------------------------------------------------------------------------------------------------------------------
# The encoder


def _build_encoder(graph, opt, levels, sizes):
    network = opt.network_G
    graph.input("lr", sizes.shape(3))
    fea, blocks = graph.convolve("lr", "RRDB.conv_first"), []
    for number in range(network.nb):
        fea = _rrdb(graph, fea, f"RRDB.RRDB_trunk.{number}.")
        if number in network.flow.stackRRDB.blocks:
            blocks.append(fea)
    own, stacked = graph.op("Add", fea, graph.convolve(fea, "RRDB.trunk_conv")), _joined(graph, blocks)
    features = [_Whole(graph, _joined(graph, maps)) for maps in ([own, stacked], _halved(graph, own, stacked))]
    for number in range(1, len(levels) - 1):
        own = graph.leaky_relu(graph.convolve(graph.doubled(own), f"RRDB.upconv{number}"))
        features.insert(0, _Phases(graph, own, network.nf, stacked))
        stacked = graph.doubled(stacked)
    for level, ft in zip(levels, features):
        _add_conditions(graph, opt, level, sizes, ft)


def _rrdb(graph, x, prefix):
    """Add a block of the trunk. A dense block's factor is in the weights of its last convolution."""
    inside = x
    for dense_block in ("RDB1.", "RDB2.", "RDB3."):
        maps = [inside]
        for k in range(1, 5):
            maps.append(graph.leaky_relu(graph.convolve(_joined(graph, maps), f"{prefix}{dense_block}conv{k}")))
        last = graph.convolve(_joined(graph, maps), f"{prefix}{dense_block}conv5", RESIDUAL_SCALE)
        inside = graph.op("Add", last, inside)
    # The product is a convolution of each channel by itself. Through one onnxruntime keeps its blocked layout, through
    # Mul it does not, and 60 of 1,040 ms went into reordering (full network, 40×40).
    channels = graph.arrays[f"{prefix}RDB1.conv5.bias"].size
    factor = graph.store(np.full((channels, 1, 1, 1), RESIDUAL_SCALE, np.float32))
    return graph.op("Add", graph.op("Conv", inside, factor, kernel_shape=[1, 1], group=channels), x)


def _joined(graph, maps):
    return graph.op("Concat", *maps, axis=1) if len(maps) > 1 else maps[0]


def _halved(graph, own, stacked):
    """Take the mean of every 2×2 of a level's own features, and the even rows and columns of the others."""
    starts, ends, axes, steps = (graph.integers(*values) for values in ((0, 0), (2**31 - 1,) * 2, (2, 3), (2, 2)))
    mean = graph.op("AveragePool", own, kernel_shape=[2, 2], strides=[2, 2])
    return [mean, graph.op("Slice", stacked, starts, ends, axes, steps)]


class _Whole:
    """A level's features ft as one map, with what is computed of them."""

    def __init__(self, graph, ft):
        self.graph, self.ft = graph, ft

    def convolve(self, weight, bias):
        """Convolve ft: a list of one map."""
        return [self.graph.conv(self.ft, weight, bias)]

    def join(self, maps):
        return maps[0]


class _Phases:
    """A level's features ft whose last channels are a map of half the resolution with every row and column twice.

    What is computed of them pixel by pixel is in four maps of half the resolution, the phases: even rows and even
    columns, even rows and odd columns, and so on. In a phase a 3×3 convolution sees only 2×2 different pixels of the
    doubled map, with kernels that are sums of its own. That takes 4/9 of the multiplications.
    """

    def __init__(self, graph, own, own_channels, half):
        """Take ft's own channels, at its resolution, and the rest, at half of it."""
        self.graph, self.own, self.own_channels, self.half = graph, own, own_channels, half

    def convolve(self, weight, bias):
        """Convolve ft: a list of four maps."""
        graph, maps = self.graph, []
        of_own, bias = graph.weight(weight[:, : self.own_channels]), graph.store(np.float32(bias))
        for rows in (0, 1):
            for columns in (0, 1):
                pads = [1 - rows, 1 - columns, rows, columns]
                kernel = graph.weight(_phase(_phase(weight[:, self.own_channels :], 2, rows), 3, columns))
                first = graph.op("Conv", self.own, of_own, bias, kernel_shape=[3, 3], strides=[2, 2], pads=pads)
                rest = graph.op("Conv", self.half, kernel, kernel_shape=[2, 2], pads=pads)
                maps.append(graph.op("Add", first, rest))
        return maps

    def join(self, maps):
        """Put the phases together: four (N, C, H/2, W/2) -> (N, C, H, W)."""
        return self.graph.op("DepthToSpace", _joined(self.graph, maps), blocksize=2, mode="DCR")


def _phase(weight, axis, phase):
    """Return the two taps along an axis that a kernel of three has for every second pixel of a doubled map.

    Pixel 2i sees the pixels i − 1, i and i of the map that was doubled, and pixel 2i + 1 sees i, i and i + 1.
    """
    first, middle, last = np.moveaxis(weight, axis, 0)
    return np.stack((first, middle + last) if phase == 0 else (first + middle, last), axis)


def _add_conditions(graph, opt, level, sizes, ft):
    """Add the outputs of a level: each step's CONDITIONS.

    hidden is what ft contributes to fAffine's first layer, with that layer's ActNorm. shift and scale are those of the
    affine injection.
    """
    coupling = opt.network_G.flow.CondAffineSeparatedAndCond
    for names, step in zip(level.conditions(), level.steps):
        weight, bias = graph.normalised(step + "affine.fAffine.0")
        hidden = ft.join(ft.convolve(weight[:, level.channels // 2 :], bias))
        prefix = step + "affine.fFeatures."
        maps = [graph.op("Relu", h) for h in ft.convolve(*graph.normalised(prefix + "0"))]
        h = ft.join([_second_layer(graph, h, prefix) for h in maps])
        shift, scale = _shift_scale(graph, h, prefix, level.channels, coupling.eps)
        channels = (coupling.hidden_channels, level.channels, level.channels)
        for name, value, count in zip(names, (hidden, shift, scale), channels):
            graph.output(name, value, sizes.shape(count, level.resolution))


def _second_layer(graph, h, prefix):
    """Add the second layer of a coupling's network, with its ReLU."""
    return graph.op("Relu", graph.conv(h, *graph.normalised(prefix + "2")))


def _shift_scale(graph, h, prefix, channels, eps):
    """Add the last layer of a coupling's network; return shift and scale."""
    weight, bias = graph.scaled(prefix + "4")
    bias[1::2] += SCALE_SHIFT
    shift, odd = graph.split(graph.conv(h, _even_then_odd(weight), _even_then_odd(bias)), channels, channels)
    return shift, graph.op("Add", graph.op("Sigmoid", odd), graph.store(np.float32(eps)))


def _even_then_odd(values):
    return np.concatenate([values[0::2], values[1::2]])


# ---------------------------------------------------------------------------------------------------------------------
# The decoder


def _build_decoder(graph, opt, levels, sizes):
    for name, channels, resolution in _latents(levels):
        graph.input(name, sizes.shape(channels, resolution))
    hidden = opt.network_G.flow.CondAffineSeparatedAndCond.hidden_channels
    for level in levels:
        for names in level.conditions():
            for name, channels in zip(names, (hidden, level.channels, level.channels)):
                graph.input(name, sizes.shape(channels, level.resolution, "images"))
    x = _latents(levels)[-1][0]
    for level in levels[::-1]:
        if level.split:
            x = _inverse_split(graph, level, x)
        x = _inverse_steps(graph, opt, level, x)
        x = graph.op("DepthToSpace", x, blocksize=2, mode="CRD")
    graph.output("hr", x, sizes.shape(3, (opt.scale, 1)))


def _inverse_split(graph, level, z1):
    channels = level.channels - level.kept
    weight, bias = (_even_then_odd(value) for value in graph.scaled(level.split + "conv"))
    mean, logs = graph.split(graph.conv(z1, weight, bias), channels, channels)
    z2 = graph.op("Add", mean, graph.op("Mul", graph.op("Exp", logs), f"latent{level.number}"))
    return _joined(graph, [z1, z2])


def _inverse_steps(graph, opt, level, x):
    """Add the inverses of a level's steps, from the last to the first."""
    eps, kept = opt.network_G.flow.CondAffineSeparatedAndCond.eps, level.channels // 2
    conditions = level.conditions()
    for k in range(len(level.steps))[::-1]:
        prefix, (hidden, shift_ft, scale_ft) = level.steps[k] + "affine.fAffine.", conditions[k]
        z1, z2 = graph.split(x, kept, level.channels - kept)
        weight, _ = graph.normalised(prefix + "0")
        h = graph.op("Relu", graph.op("Add", graph.conv(z1, weight[:, :kept]), hidden))
        shift, scale = _shift_scale(graph, _second_layer(graph, h, prefix), prefix, level.channels - kept, eps)
        z2 = graph.op("Sub", graph.op("Div", z2, scale), shift)
        z = graph.op("Sub", graph.op("Div", _joined(graph, [z1, z2]), scale_ft), shift_ft)
        x = graph.unmix(z, [level.steps[k]] + (level.transitions[::-1] if k == 0 else []))
    return x


# ---------------------------------------------------------------------------------------------------------------------
# A graph that grows


class _Graph:
    """A graph that grows, with the parameters of the network that it is of.

    Values are known by their names. Convolutions keep the size of the map.
    """

    def __init__(self, onnx, arrays, float16):
        self.onnx, self.arrays, self.float16 = onnx, arrays, float16
        self.nodes, self.inputs, self.outputs = [], [], []
        self._stored = {}  # name of an initializer, by its type, shape and content

    def op(self, kind, *inputs, n_outputs=1, **attributes):
        """Add an operator; return the name of its output, or a list of names."""
        name = f"{kind}{len(self.nodes)}"
        outputs = [name] if n_outputs == 1 else [f"{name}.{i}" for i in range(n_outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), outputs, name=name, **attributes))
        return outputs[0] if n_outputs == 1 else outputs

    def conv(self, x, weight, bias=None):
        inputs = [x, self.weight(weight)] + ([] if bias is None else [self.store(np.float32(bias))])
        kernel = weight.shape[2]
        return self.op("Conv", *inputs, kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4)

    def convolve(self, x, name, factor=1.0):
        """Add one of the encoder's convolutions, times a factor."""
        return self.conv(x, factor * self.parameter(name + ".weight"), factor * self.parameter(name + ".bias"))

    def unmix(self, z, steps):
        """Add the inverses of steps' 1×1 convolutions and ActNorms, one after the other, as one convolution.

        Its weight is never float16: its errors would grow from step to step.
        """
        channels = self.arrays[steps[0] + "invconv.weight"].shape[0]
        matrix, offset = np.eye(channels), np.zeros(channels)
        for step in steps:
            inverse = _inverse(self.parameter(step + "invconv.weight"), step + "invconv.weight")
            inverse = np.exp(-self.parameter(step + "actnorm.logs")).reshape(-1, 1) * inverse
            matrix = inverse @ matrix
            offset = inverse @ offset - self.parameter(step + "actnorm.bias").reshape(-1)
        weight, bias = self.store(np.float32(matrix[:, :, None, None])), self.store(np.float32(offset))
        return self.op("Conv", z, weight, bias, kernel_shape=[1, 1])

    def leaky_relu(self, x):
        return self.op("LeakyRelu", x, alpha=SLOPE)

    def doubled(self, x):
        """Repeat every row and column."""
        scales = self.store(np.float32([1, 1, 2, 2]))
        how = dict(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        return self.op("Resize", x, "", scales, **how)

    def split(self, x, *channels):
        return self.op("Split", x, self.integers(*channels), n_outputs=len(channels), axis=1)

    def parameter(self, name):
        return self.arrays[name].astype(np.float64)

    def normalised(self, name):
        """Return weight and bias of a NormalisedConv2d: (w ∗ x + bias)·exp(logs)."""
        factor = np.exp(self.parameter(name + ".actnorm.logs")).reshape(-1)
        bias = self.parameter(name + ".actnorm.bias").reshape(-1)
        return self.parameter(name + ".weight") * factor[:, None, None, None], bias * factor

    def scaled(self, name):
        """Return weight and bias of a Conv2dZeros: (w ∗ x + b)·exp(3·logs)."""
        factor = np.exp(LOGSCALE_FACTOR * self.parameter(name + ".logs")).reshape(-1)
        return self.parameter(name + ".weight") * factor[:, None, None, None], self.parameter(name + ".bias") * factor

    def weight(self, value):
        """Store a convolution's weight; return the name of its float32 values."""
        if not self.float16:
            return self.store(np.float32(value))
        with np.errstate(over="ignore"):
            half = np.float16(value)
        if not np.isfinite(half).all():
            raise ValueError(f"float16: a weight of size {np.abs(value).max():.3g} is beyond it; export without it")
        return self.op("Cast", self.store(half), to=self.onnx.TensorProto.FLOAT)

    def integers(self, *values):
        return self.store(np.int64(values))

    def store(self, value):
        """Store an array, once for all that are equal, and return its name."""
        value = np.ascontiguousarray(value).reshape(np.shape(value))  # which makes numbers one-dimensional
        key = (value.dtype.str, value.shape, value.tobytes())
        return self._stored.setdefault(key, f"array{len(self._stored)}")

    def input(self, name, shape):
        self.inputs.append(self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, shape))

    def output(self, name, value, shape):
        """Let a value be the output of this name."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name=name))
        self.outputs.append(self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, shape))

    def model(self, name, metadata):
        """Return the whole as an onnx.ModelProto."""
        helper = self.onnx.helper
        arrays = [
            self.onnx.numpy_helper.from_array(np.frombuffer(data, dtype).reshape(shape), stored)
            for (dtype, shape, data), stored in self._stored.items()
        ]
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, arrays)
        model = helper.make_model(
            graph,
            producer_name="SRFlow-MindSpore",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        helper.set_model_props(model, metadata)
        return model


def _inverse(weight, name):
    try:
        inverse = np.linalg.inv(weight)
    except np.linalg.LinAlgError:
        inverse = np.full(weight.shape, np.inf)
    if not np.isfinite(inverse).all():
        raise ValueError(f"{name}: a singular matrix, it cannot be inverted; use another checkpoint")
    return inverse
