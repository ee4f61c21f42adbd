# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What several tests share: recorded outputs, small networks with interesting weights, gradients as NumPy arrays."""

import collections
import os
import pickle
import zipfile

import numpy as np
import official_files
import pytest
from mindspore import ParameterTuple, Tensor, context, nn, ops

from src.model.SRFlowNet import SRFlowNet

TESTS = os.path.dirname(os.path.abspath(__file__))
# Recorded outputs too big for the repository stand beside it, in ../shared/golden.
GOLDEN_FOLDERS = (
    os.path.join(TESTS, "golden"),
    os.path.join(os.path.dirname(os.path.dirname(TESTS)), "shared", "golden"),
)
MODES = {"graph": context.GRAPH_MODE, "pynative": context.PYNATIVE_MODE}


# ---------------------------------------------------------------------------------------------------------------------
# Recorded outputs of the official code


class Recording(dict):
    """The arrays of a recording by name; a test that asks for one which is not here is skipped and says so."""

    def __init__(self, name, arrays):
        super().__init__(arrays)
        self.name = name

    def __missing__(self, key):
        pytest.skip(
            f"{self.name} is not here (looked in {' and '.join(GOLDEN_FOLDERS)}), and what stands in for it "
            f"has no {key!r}"
        )


def golden_path(name):
    """The file's path, or that of a stand-in (see official_files); the test is skipped, and says so, without either."""
    path = _find(name)
    if path is not None:
        return path
    if name in official_files.SCALES:
        return official_files.stand_in_pth(GOLDEN_FOLDERS[0], name)
    return pytest.skip(f"recorded outputs {name} are not here (looked in {' and '.join(GOLDEN_FOLDERS)})")


def golden(name):
    """The arrays of a recorded .npz file by name, or of a stand-in; the test is skipped without either."""
    if _find(name) is None and name in official_files.OUTPUTS:
        return Recording(name, official_files.stand_in_outputs(golden, name))
    with np.load(golden_path(name)) as file:
        return {key: file[key] for key in file.files}


def _find(name):
    paths = [os.path.join(folder, name) for folder in GOLDEN_FOLDERS]
    return next((path for path in paths if os.path.isfile(path)), None)


def golden_state(name):
    """A recorded .pth state dict, name -> float32 array, without `flowUpsamplerNet.f.*`, which nothing reads."""
    state = read_pth(golden_path(name))
    return {key: value for key, value in state.items() if not key.startswith("flowUpsamplerNet.f.")}


def golden_images(data, noisy=True):
    """(hr, lr) of recorded data as the network takes them, float32; hr with the recorded dequantisation noise."""
    hr = data["hr"].astype(np.float32) / np.float32(255)
    if noisy:
        hr = hr + (data["noise"] - np.float32(0.5)) / np.float32(32)
    return hr, data["lr"].astype(np.float32) / np.float32(255)


def read_pth(path):
    """A state dict of float32 tensors saved by `torch.save` (zip form), name -> array, without torch."""
    with zipfile.ZipFile(path) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        with archive.open(pickled) as file:
            return dict(_TensorUnpickler(file, archive, os.path.dirname(pickled)).load())


class _TensorUnpickler(pickle.Unpickler):
    """Knows the three names that a state dict of float32 tensors needs, and refuses every other."""

    def __init__(self, file, archive, folder):
        super().__init__(file)
        self.archive, self.folder = archive, folder

    def find_class(self, module, name):
        allowed = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch", "FloatStorage"): np.dtype("<f4"),
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"refused: {module}.{name}")
        return allowed[module, name]

    def persistent_load(self, pid):
        _, dtype, key, _, count = pid
        return np.frombuffer(self.archive.read(f"{self.folder}/data/{key}"), dtype, count)


def _rebuild_tensor(storage, offset, size, stride, *_):
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()


# ---------------------------------------------------------------------------------------------------------------------
# Networks


def tiny_network(scale=4):
    """The network of the recorded outputs: `tiny` at scale 4, `tiny_8x` at scale 8."""
    levels = {4: 3, 8: 4}[scale]
    return SRFlowNet(
        scale,
        nf=64,
        nb=4,
        gc=32,
        blocks=[0, 1, 2, 3],
        K={4: 2, 8: 1}[scale],
        n_transitions=2,
        split_levels=levels - 2,
        hidden=64,
        eps=1e-4,
    )


def normal(seed, *shape):
    """Standard normal float32 numbers, the same for the same seed."""
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def shapes(cell):
    """Parameter name -> shape."""
    return {parameter.name: tuple(parameter.shape) for parameter in cell.get_parameters()}


def set_parameters(cell, state):
    """Give every parameter its value in `state`, which must have exactly the cell's names and shapes."""
    assert shapes(cell) == {name: value.shape for name, value in state.items()}
    for parameter in cell.get_parameters():
        parameter.set_data(Tensor(state[parameter.name]))


def arrays(cell):
    """Parameter name -> a copy of its value."""
    return {parameter.name: parameter.asnumpy().copy() for parameter in cell.get_parameters()}


def randomise(cell, seed=0):
    """Strong random weights for any part of the network: no layer is near the identity, all are well invertible."""
    random = np.random.RandomState(seed)
    for parameter in cell.get_parameters():
        shape, name = tuple(parameter.shape), parameter.name
        if name.endswith("invconv.weight") or (len(shape) == 2 and shape[0] == shape[1]):
            rotation = np.linalg.qr(random.randn(*shape))[0]
            value = rotation * np.exp(0.3 * random.randn(shape[0], 1))
        elif name.endswith("logs"):
            value = 0.1 * random.randn(*shape)
        elif name.endswith("bias"):
            value = 0.3 * random.randn(*shape)
        else:
            last = name.endswith((".4.weight", "conv.weight"))  # of a coupling's network or a split: milder, as what
            value = (0.5 if last else 1.0) * random.randn(*shape) / np.sqrt(np.prod(shape[1:]))  # they scale explodes
        parameter.set_data(Tensor(value.astype(np.float32)))
    return cell


# ---------------------------------------------------------------------------------------------------------------------
# Formulas


def conv_reference(x, weight):
    """Convolution with zero padding from its definition: x (N, C, H, W), weight (O, C, k, k), float64."""
    x, weight = x.astype(np.float64), weight.astype(np.float64)
    k, (_, _, height, width) = weight.shape[2], x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    return sum(
        np.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + height, j : j + width])
        for i in range(k)
        for j in range(k)
    )


# ---------------------------------------------------------------------------------------------------------------------
# Gradients


class Weighted(nn.Cell):
    """Σ weights·cell(x)."""

    def __init__(self, cell, weights):
        super().__init__(auto_prefix=False)
        self.cell, self.output_weights = cell, Tensor(weights)

    def construct(self, x):
        return ops.ReduceSum()(self.cell(x) * self.output_weights)


class ParameterGradients(nn.Cell):
    """(inputs...) -> d Σ f(inputs) / d parameter, for every parameter of `cell` or those given; f: cell's output."""

    def __init__(self, cell, parameters=None):
        super().__init__(auto_prefix=False)
        self.cell = cell
        self.parameters = ParameterTuple(cell.get_parameters() if parameters is None else parameters)
        self.grad = ops.GradOperation(get_by_list=True)

    def construct(self, *inputs):
        return self.grad(self.cell, self.parameters)(*inputs)

    def values(self, *inputs):
        """Pairs (parameter, its gradient as an array), for inputs that are arrays."""
        gradients = self(*[Tensor(value) for value in inputs])
        return [(parameter, gradient.asnumpy()) for parameter, gradient in zip(self.parameters, gradients)]

    def by_name(self, *inputs):
        """The gradients as arrays by the parameter's name, for inputs that are arrays."""
        return {parameter.name: gradient for parameter, gradient in self.values(*inputs)}


class InputGradients(nn.Cell):
    """(sens, input) -> gradient of Σ sens·cell(input) with respect to the input."""

    def __init__(self, cell):
        super().__init__(auto_prefix=False)
        self.cell = cell
        self.grad = ops.GradOperation(sens_param=True)

    def construct(self, sens, x):
        return self.grad(self.cell)(x, sens)


def jacobian(cell, x):
    """d cell(x)/dx of one image, x (1, ...): float64 (outputs, inputs).

    The images of a batch do not influence each other: with one copy of x for each output, each asked for its own
    output's gradient, one pass backwards gives the whole Jacobian.
    """
    output_shape = cell(Tensor(x)).shape
    size = int(np.prod(output_shape))
    copies = np.repeat(x, size, axis=0)
    sens = np.eye(size, dtype=np.float32).reshape((size,) + tuple(output_shape[1:]))
    return InputGradients(cell)(Tensor(sens), Tensor(copies)).asnumpy().reshape(size, -1).astype(np.float64)


def together_in_one(arrays):
    """All values of arrays by name as one float64 vector, in order of the names."""
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)]).astype(np.float64)
