# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What training and sampling will need of memory, and what there is: told before, not by a crash half an hour later.

The needs are estimates: numbers that must be kept, counted from the network's shapes, times factors that were fitted to
peaks measured on the CPU with MindSpore 2.8.0 and onnxruntime 1.32. `tests/test_memory.py` lists these peaks. On a GPU
nothing was measured.

It needs no MindSpore. Bytes throughout; 1 GB is 10⁹ of them.
"""

import contextlib
import math
import os
import subprocess
from typing import NamedTuple, Tuple

import numpy as np

from src.network_names import COUPLING, describe_shapes, levels_of, shapes_of
from src.tiling import TILE

FLOAT = 4  # bytes of a float32
PROCESS = 0.45e9  # Python with MindSpore and its libraries; on a GPU about as much for CUDA, which was not measured


class Factors(NamedTuple):
    """What computing takes beside the numbers that are counted.

    Attributes:
        layer: bytes that MindSpore's compiler takes for each encoder block and each flow step, in training.
        sampled_layer: the same in sampling.
        encoder, flow: numbers in training for each that the encoder's, or the flow's, backward pass must have.
        frozen: the same of an encoder that is not trained, none of whose numbers is kept.
        weight: numbers for each parameter in sampling.
        sample: numbers in sampling for each that is kept of an LR image.
        recomputes: whether `train.recompute` saves memory.
        process: bytes of a process before it computes.
    """

    layer: float
    sampled_layer: float
    encoder: float
    flow: float
    frozen: float
    weight: float
    sample: float
    recomputes: bool
    process: float = PROCESS


# Fitted to the peaks that tests/test_memory.py lists. Winograd's products are in the encoder's factor. Recomputation,
# measured with nb 4 and K 6, took a third more time and saved nothing.
ARRANGED = Factors(
    layer=55e6, sampled_layer=0, encoder=12.5, flow=1.6, frozen=2.1, weight=4.7, sample=3.8, recomputes=False
)
# Of a training step and a sample each; MindSpore's convolutions unfold their inputs on a CPU.
PLAIN = Factors(layer=45e6, sampled_layer=24e6, encoder=24, flow=24, frozen=4, weight=1, sample=24, recomputes=True)
# On GPU and Ascend nothing was measured. The factors are those of the official PyTorch code, on a CPU.
ON_DEVICE = Factors(layer=0, sampled_layer=0, encoder=2.8, flow=2.8, frozen=0.5, weight=1, sample=8, recomputes=True)
# Of samples by onnxruntime on the CPU, measured with the shipped weights; the process is Python with its libraries.
ONNX = Factors(
    layer=0, sampled_layer=0, encoder=0, flow=0, frozen=0, weight=1.6, sample=1.25, recomputes=False, process=0.1e9
)
INITIALISING = 750  # numbers for each HR pixel of the whole batch while it initialises the ActNorms; measured with nb 4


def factors_of(arranged, target):
    """Return the Factors of an implementation, arranged (`cpu`) or not (`plain`), on a device."""
    if target == "CPU":
        return ARRANGED if arranged else PLAIN
    return ARRANGED._replace(layer=0) if arranged else ON_DEVICE


class Network(NamedTuple):
    """What of a network its memory depends on.

    Attributes:
        scale: of super-resolution, s.
        blocks: number of RRDB blocks.
        nf, gc: channels of the encoder, and growth channels in its dense blocks.
        steps: number of coupling steps of each level, from the first; empty for an encoder alone.
        hidden: channels within the couplings' networks.
        features: channels of what conditions the flow.
        of_encoder, of_flow: numbers of parameters.
    """

    scale: int
    blocks: int
    nf: int
    gc: int
    steps: Tuple[int, ...]
    hidden: int
    features: int
    of_encoder: int
    of_flow: int

    @property
    def layers(self):
        """Parts that the compiler sees: encoder blocks and flow steps."""
        return self.blocks + sum(self.steps)

    @property
    def kept_by_encoder(self):
        """Numbers for each LR pixel that the backward pass of the encoder needs: the inputs of all convolutions."""
        return self.blocks * 3 * (self.nf + 4 * self.gc)

    @property
    def kept_by_image(self):
        """The same of what makes the encoder's own image, from the first enlargement on; for each HR pixel."""
        return self.nf * (2 + sum(4.0**-k for k in range(1, int(math.log2(self.scale)) + 1)))

    @property
    def kept_by_flow(self):
        """The same of the flow, for each HR pixel: each step has two networks of two hidden layers."""
        return 8 * self.hidden * self._steps_by_pixel

    @property
    def conditions(self):
        """Numbers for each HR pixel that sampling keeps of an LR image: features, and what each step makes of them."""
        features = self.features * sum(0.25**level for level in range(1, len(self.steps) + 1))
        return features + 2 * self.hidden * self._steps_by_pixel

    @property
    def _steps_by_pixel(self):
        """Steps for each HR pixel: the maps of a level have a quarter of the pixels of those before it."""
        return sum(number * 0.25**level for level, number in enumerate(self.steps, 1))


def network_of(shapes):
    """Describe a network by its parameters.

    Args:
        shapes: dict from each parameter's official name to its shape.

    Returns:
        Network.
    """
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    of_flow = sum(size for name, size in sizes.items() if name.startswith("flowUpsamplerNet."))
    found = describe_shapes(shapes)
    return Network(
        found["scale"],
        found["nb"],
        found["nf"],
        found["gc"],
        tuple(level.count(COUPLING) for level in levels_of(shapes)),
        found.get("hidden", 0),
        found["nf"] * (1 + found.get("blocks", 0)),
        sum(sizes.values()) - of_flow,
        of_flow,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Training


def of_training(opt, arranged, batch_size=None, accumulate=None):
    """Estimate what a process takes that trains.

    Args:
        opt: Options.
        arranged: whether the implementation is `cpu`.
        batch_size, accumulate: None, or what takes the place of these options.

    Returns:
        bytes.
    """
    batch_size, accumulate = batch_size or opt.datasets.train.batch_size, accumulate or opt.train.accumulate
    network, factors = network_of(shapes_of(opt)), factors_of(arranged, opt.device_target)
    pixels = batch_size * opt.datasets.train.HR_size**2
    trains_encoder = opt.model == "RRDB" or opt.network_G.train_RRDB
    trained = network.of_flow + network.of_encoder * trains_encoder
    copies = 3 + (accumulate > 1)  # the gradient and Adam's two moments; the sum of the slices' gradients
    parameters = PROCESS + FLOAT * (network.of_encoder + network.of_flow)
    computing = FLOAT * copies * trained + factors.layer * network.layers
    computing += (2 if _in_half(opt) else FLOAT) * pixels * _kept_by_pixel(network, factors, opt, trains_encoder)
    initialising = FLOAT * INITIALISING * accumulate * pixels if opt.model == "SRFlow" else 0
    return parameters + max(computing, initialising)


def _in_half(opt):
    """Tell whether what is kept is float16: on a GPU, of networks that compute in it."""
    return opt.precision == "float16" and opt.device_target != "CPU"


def _kept_by_pixel(network, factors, opt, trains_encoder):
    """Return the numbers that training takes for each HR pixel."""
    encoder = (factors.encoder if trains_encoder else factors.frozen) * network.kept_by_encoder / network.scale**2
    if opt.model == "RRDB":
        return encoder + factors.encoder * network.kept_by_image
    recomputes = opt.train.recompute and factors.recomputes
    return encoder + factors.flow * (
        min(network.conditions, network.kept_by_flow) if recomputes else network.kept_by_flow
    )


def problem_of_training(opt, arranged, available):
    """Say in a line that there is too little memory to train, and what helps.

    Args:
        opt: Options.
        arranged: whether the implementation is `cpu`.
        available: bytes, or None where it is not known.

    Returns:
        a text; None where there is enough, as far as it is known.
    """
    needed = of_training(opt, arranged)
    if available is None or needed <= available:
        return None
    advice = [f"{text} needs about {gigabytes(size)}" for text, size in _smaller_slices(opt, arranged, available)]
    recomputes = factors_of(arranged, opt.device_target).recomputes and opt.model == "SRFlow"
    others = ["train.recompute=true"] * (recomputes and not opt.train.recompute) + ["a smaller datasets.train.HR_size"]
    advice.append(f"{' or '.join(others)} {'also ' * bool(advice)}lessens it")
    return f"memory: training {shortage(needed, available)}; {'; '.join(advice)}"


def _smaller_slices(opt, arranged, available):
    """Return the largest slices that fit, or the smallest ones, as [(options, bytes)]; [] if a batch has one pair."""
    batch, found = opt.datasets.train.batch_size, []
    for size in (size for size in range(batch - 1, 0, -1) if batch % size == 0):
        slices = opt.train.accumulate * batch // size
        needed = of_training(opt, arranged, size, slices)
        found = [(f"datasets.train.batch_size={size} train.accumulate={slices}", needed)]
        if needed <= available:
            break
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Sampling


class SamplingMemory:
    """What samples of a network will take, compared once with what there is.

    Args:
        network: Network, or None where nothing is known of it; then the pictures alone are counted.
        scale: of super-resolution.
        arranged: whether the implementation is `cpu`.
        target, number: the device, as `available_memory` takes them.
        factors: Factors of what else than MindSpore computes, or None.
    """

    def __init__(self, network, scale, arranged=True, target="CPU", number=0, factors=None):
        self.network, self.scale, self.target, self.number = network, scale, target, number
        self.factors = factors or factors_of(arranged, target)
        self._told = {}  # target -> the largest estimate that was compared
        self._available = {}  # target -> bytes, or None where they are not known

    def needed(self, size, images, n, batch, tile, value_bytes=1):
        """Estimate what drawing samples takes.

        Args:
            size: the (height, width) at which the images are computed, in pixels of lr.
            images: number of images.
            n: number of samples of each, of all heats together.
            batch: number of samples of an image that are computed together.
            tile: side of the tiles, or None.
            value_bytes: of each number of a sample, 1 or 4.

        Returns:
            dict from device target to bytes: of the device, and "CPU" for the pictures, which never lie elsewhere.
        """
        # Each number of a sample's pixels is there as a latent, float32, and as it is returned. As a pixel, float32, it
        # is there too: of the whole image, or of one row of tiles.
        rows = size[0] if tile is None else min(size[0], tile)
        numbers = n * images * 3 * size[1] * self.scale**2
        needed = {"CPU": numbers * (size[0] * (FLOAT + value_bytes) + rows * FLOAT)}
        if self.network is not None:
            needed[self.target] = needed.get(self.target, 0) + self._of_network(size, images, n, batch, tile)
        return needed

    def _of_network(self, size, images, n, batch, tile):
        pixels = self.scale**2 * (size[0] * size[1] if tile is None else min(size[0], tile) * min(size[1], tile))
        together = images if images > 1 else min(n, batch)
        fixed = self.factors.process + self.factors.sampled_layer * self.network.layers
        weights = self.factors.weight * (self.network.of_encoder + self.network.of_flow)
        return fixed + FLOAT * (weights + self.factors.sample * self.network.conditions * pixels * together)

    def problem(self, size, images, n, batch, tile, value_bytes=1):
        """Say in a line that there is too little memory, and what helps; once for all that takes no more than that.

        The arguments are those of `needed`.

        Returns:
            a text, or None.
        """
        for target, needed in self.needed(size, images, n, batch, tile, value_bytes).items():
            if needed <= self._told.get(target, 0):
                continue
            self._told[target] = needed
            if target not in self._available:
                self._available[target] = available_memory(target, self.number)
            available = self._available[target]
            if available is not None and needed > available:
                in_tiles = self.needed(size, images, n, batch, TILE, value_bytes)[target]
                advice = [f"tile={TILE} (eval.py: --tile {TILE})"] * (in_tiles < needed)
                advice += ["a smaller n (--n_samples)"] * (n > 1) + ["a smaller batch"] * (min(n, batch) > 1)
                advice += ["fewer images at once"] * (images > 1) + ["the image reduced first"]
                what = f"{n} sample{'s' * (n > 1)} of {size[0]}x{size[1]} LR pixels"
                return f"memory: {what} {shortage(needed, available)}; what helps: {', '.join(advice)}"
        return None


# ---------------------------------------------------------------------------------------------------------------------
# What there is


def available_memory(target, number=0):
    """Find out how much memory this process may take in all, with what it has already.

    Args:
        target: "GPU", "CPU" or "Ascend".
        number: of the device.

    Returns:
        bytes; None where it cannot be told. Where a GPU's driver does not tell what this process has, as in some
        containers, it is not counted.
    """
    if target == "GPU":
        return _of_gpu(number)
    return of_machine() if target == "CPU" else None


def of_machine(proc="/proc", cgroups="/sys/fs/cgroup"):
    """Return what the machine has left, or one of this process's groups where that is less, and what it has already.

    Args:
        proc, cgroups: folders of Linux's kernel.

    Returns:
        bytes, or None on another system.
    """
    left = [_kilobytes(os.path.join(proc, "meminfo"), "MemAvailable")]
    left += [_left_to(folder) for folder in _groups(proc, cgroups)]
    left = [size for size in left if size is not None]
    own = _kilobytes(os.path.join(proc, "self", "status"), "VmRSS")
    return min(left) + (own or 0) if left else None


def _groups(proc, cgroups):
    """Return the folders of the process's group and of all groups around it that it sees, with cgroups 1 and 2."""
    folders = [cgroups, os.path.join(cgroups, "memory")]
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(proc, "self", "cgroup")) as file:
            for line in file:
                _, kinds, path = line.rstrip("\n").split(":", 2)
                if kinds == "" or "memory" in kinds.split(","):
                    names = path.strip("/").split("/")
                    around = [os.path.join(*names[:depth]) for depth in range(1, len(names) + 1)]
                    folders += [os.path.join(cgroups, "memory" if kinds else "", group) for group in around]
    return folders


def _left_to(folder):
    """Return the bytes that a group of processes may still take; None where that has no limit."""
    for limit, usage, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            with open(os.path.join(folder, limit)) as file:
                most = int(file.read())
            with open(os.path.join(folder, usage)) as file:
                used = int(file.read())
            # The kernel gives up files that it keeps in memory before it ends a process.
            return max(most - used + (_field(os.path.join(folder, "memory.stat"), cache) or 0), 0)
    return None


def _kilobytes(path, name):
    """Return the bytes of a field that the kernel gives in KiB, or None."""
    value = _field(path, name + ":")
    return None if value is None else value * 1024


def _field(path, name):
    """Return the number after a name at a line's beginning, or None."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(path) as file:
            for line in file:
                if line.split()[:1] == [name]:
                    return int(line.split()[1])
    return None


def _of_gpu(number):
    """Return the bytes of an NVIDIA GPU that are free or this process's own; None without its driver's program."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    name = visible[number] if number < len(visible) else str(number)
    free, own = _told_of_gpu(name, "--query-gpu=memory.free"), 0
    for line in _told_of_gpu(name, "--query-compute-apps=pid,used_memory"):
        with contextlib.suppress(ValueError):  # the driver may not know what a process has
            process, used = map(int, line.split(","))
            own += used if process == os.getpid() else 0
    with contextlib.suppress(ValueError, IndexError):
        return (int(free[0]) + own) * 2**20
    return None


def _told_of_gpu(name, query):
    """Return the lines in which nvidia-smi answers a query, sizes being in MiB; none without it."""
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        done = subprocess.run(
            ["nvidia-smi", f"--id={name}", query, "--format=csv,noheader,nounits"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=True,
        )
        return done.stdout.decode().splitlines()
    return []


# ---------------------------------------------------------------------------------------------------------------------
# Texts


def gigabytes(size):
    """Return a size as people read it."""
    return f"{size / 1e9:.1f} GB"


def shortage(needed, available):
    """Return the words that are the same for training and sampling."""
    return f"may need about {gigabytes(needed)} (an estimate), and {gigabytes(available)} are available"
