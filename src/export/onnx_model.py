# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling by onnxruntime from the files of export.py. It needs no MindSpore."""

import collections
import contextlib
import json
import os
import warnings

import numpy as np

from src.export.onnx_file import DECODER, ENCODER
from src.memory import ONNX, SamplingMemory, network_of
from src.model_utils.options import options_from_dict
from src.network_names import shapes_of
from src.sampling import Sampling
from src.weights.checkpoint import parse_description

FORMAT = "srflow"  # of the metadata, as in the weights' files
PROVIDERS = {
    "CPU": ["CPUExecutionProvider"],
    "CUDA": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "TensorRT": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}
# Left alone, CUDA and TensorRT compute float32 in TF32, with whose ten bits of mantissa an inverse is no inverse.
FLOAT32 = {"CUDAExecutionProvider": {"use_tf32": "0"}}


class OnnxSRFlow(Sampling):
    """Model that samples super-resolved images from a pair of files.

        model = OnnxSRFlow("SRFlow_4X")    # SRFlow_4X.encoder.onnx and SRFlow_4X.decoder.onnx
        images = model.sample(lr, heat=0.9, n=4, seed=0)

    The same seed gives the same latents as SRFlow's, and so the same images but for rounding. It does not encode.

    Attributes:
        scale: of super-resolution, s.
        metadata: dict of texts that export.py stored.
        cooled: list of Cooled, the parts of the last `sample` that `cool` decoded again.
    """

    encodes = False

    def __init__(self, name, provider="CPU", threads=0, keep=0):
        """Load the files.

        Args:
            name: what the files are called before `.encoder.onnx` and `.decoder.onnx`.
            provider: which of onnxruntime's providers computes: "CPU", "CUDA" or "TensorRT".
            threads: number of CPU threads; 0 lets onnxruntime choose.
            keep: number of LR pixels whose conditions are kept, those of the images used last. At 4X a pixel takes
                2.1 kB times K, the number of steps of a level. Those of the last image are kept in any case.

        Raises:
            ValueError: a file is missing, damaged or none of export.py, the two are of different networks, or the
                provider is not in this onnxruntime, or cannot be started.
        """
        self._encoder, self.metadata = _load(file_names(name)[0], ENCODER, provider, threads)
        self._decoder, metadata = _load(file_names(name)[1], DECODER, provider, threads)
        if dict(self.metadata, graph=DECODER) != metadata:
            raise ValueError(f"{name}: the encoder's and the decoder's file are not of one export; export both again")
        self.scale, self.cooled = int(self.metadata["scale"]), []
        # On a GPU nothing was measured, and the device's number is onnxruntime's own affair.
        self.memory = SamplingMemory(_network(self.metadata) if provider == "CPU" else None, self.scale, factors=ONNX)
        self._latents = json.loads(self.metadata["latents"])
        self._outputs = [output.name for output in self._encoder.get_outputs()]
        self._fixed = [side for side in self._encoder.get_inputs()[0].shape[2:] if isinstance(side, int)]
        self.keep, self._kept = keep, collections.OrderedDict()  # (shape, content) of lr: conditions

    def _latent_shapes(self, count, size):
        return [
            (count, channels) + tuple(side * times // over for side in size)
            for channels, times, over in self._latents.values()
        ]

    def _condition(self, lr):
        """Compute the conditions of the images lr, float32 (N, 3, h, w), or find them among those that are kept."""
        if self._fixed and list(lr.shape[2:]) != self._fixed:
            raise ValueError(
                f"lr: these files compute images of {self._fixed[0]}x{self._fixed[1]} pixels only, got "
                f"{lr.shape[2]}x{lr.shape[3]}; export without --height and --width"
            )
        key = (lr.shape, lr.tobytes())
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        while self._kept and _pixels(key) + sum(map(_pixels, self._kept)) > self.keep:
            self._kept.popitem(last=False)  # before more memory is needed
        self._kept[key] = dict(zip(self._outputs, self._encoder.run(self._outputs, {"lr": lr})))
        return self._kept[key]

    def _decode(self, conditions, latents, may_fail=False):
        latents = [np.ascontiguousarray(latent, np.float32) for latent in latents]
        (images,) = self._decoder.run(["hr"], dict(conditions, **dict(zip(self._latents, latents))))
        if not may_fail and not np.isfinite(images).all():
            share = 100 * np.mean(~np.isfinite(images).all(axis=1))
            warnings.warn(
                f"decoding is not finite in {share:.3g} % of the pixels; nothing is clamped. A lower heat or another "
                "checkpoint may help",
                RuntimeWarning,
                stacklevel=4,
            )
        return images


def _pixels(key):
    (count, _, height, width), _ = key
    return count * height * width


def _network(metadata):
    """Describe the network that a file's metadata tell of; None where they do not."""
    with contextlib.suppress(KeyError, ValueError, RecursionError):
        return network_of(shapes_of(options_from_dict(parse_description(metadata["options"].encode()))))
    return None


def file_names(name):
    """Return the names of the encoder's and the decoder's file."""
    return f"{name}.{ENCODER}.onnx", f"{name}.{DECODER}.onnx"


def _load(path, graph, provider, threads):
    """Return the session of a file, and its metadata."""
    try:
        import onnxruntime  # here, as only this needs it
    except ImportError as error:
        raise ValueError(f"onnxruntime: cannot be imported ({error}); pip install -r requirements_onnx.txt") from None
    if not os.path.isfile(path):
        raise ValueError(f"{path}: no such file; export.py makes it, and is given the name before .{graph}.onnx")
    asked = PROVIDERS[provider][0]
    if asked not in onnxruntime.get_available_providers():
        raise ValueError(f"provider {provider}: this onnxruntime has no {asked}; install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    if provider == "TensorRT":  # NVIDIA's libraries read this when they are loaded
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    providers = [(name, FLOAT32.get(name, {})) for name in PROVIDERS[provider]]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # noqa: BLE001  # onnxruntime's errors have no class of their own
        raise ValueError(f"{path}: onnxruntime cannot use it: {' '.join(str(error).split())[:300]}") from None
    if asked not in session.get_providers():  # it goes on with the next one, and writes at most a log line of it
        raise ValueError(
            f"provider {provider}: onnxruntime could not start it; see the CUDA and cuDNN versions that it needs"
        )
    metadata = session.get_modelmeta().custom_metadata_map
    if metadata.get("format") != FORMAT or metadata.get("graph") != graph:
        raise ValueError(f"{path}: not the {graph} that export.py writes; give another file")
    return session, metadata
