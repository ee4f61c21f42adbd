# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Write a checkpoint's network for other programs: as ONNX for onnxruntime and TensorRT, or as MindIR for MindSpore.

    python export.py --ckpt weights/SRFlow_free_4X.safetensors --file_format ONNX --file_name SRFlow_4X
    python export.py --ckpt output/latest.ckpt --file_format MINDIR --file_name SRFlow_4X --height 40 --width 40

ONNX is two files, SRFlow_4X.encoder.onnx and SRFlow_4X.decoder.onnx, for images of any even size. It needs the package
`onnx`, and no MindSpore. MindIR is one file, SRFlow_4X.mindir, for one image of one size.
"""

import argparse
import hashlib
import os

import numpy as np

from src.export.onnx_file import build_graphs
from src.export.onnx_model import file_names
from src.model_utils.options import load_options
from src.model_utils.util import atomic_write, run_main, set_device
from src.network_names import IMAGE_ONLY, shapes_of
from src.weights.checkpoint import CheckpointError, require_parameters
from src.weights.weight_files import describes_itself, metadata_of, read_any

ONNX, MINDIR = "ONNX", "MINDIR"


def main(argv=None):
    """Run the command line."""
    args = parse(argv)
    opt = load_options(args.opt) if args.opt else None
    checkpoint = read_network(args.ckpt, opt)
    for note in checkpoint.state.get("notes", ()):
        print(f"{args.ckpt}: {note}")
    heat = (opt or checkpoint.options).heat
    paths = write_onnx(checkpoint, heat, args) if args.file_format == ONNX else write_mindir(checkpoint, args)
    for path in paths:
        print(f"wrote {path}: {os.path.getsize(path) / 1e6:.1f} MB")


def parse(argv):
    """Parse the command line and refuse what does not fit together."""
    parser = argparse.ArgumentParser(description="Write a network as ONNX or MindIR.", allow_abbrev=False)
    parser.add_argument("--ckpt", required=True, metavar="FILE", help="checkpoint, any that eval.py reads")
    parser.add_argument("--file_format", choices=(ONNX, MINDIR), default=ONNX, help=f"default {ONNX}")
    parser.add_argument(
        "--file_name",
        required=True,
        metavar="OUT",
        help="the files' name before their endings: OUT.encoder.onnx and OUT.decoder.onnx, or OUT.mindir",
    )
    parser.add_argument(
        "--opt", "--config_path", metavar="CFG", help="YAML of the network, if FILE does not say it, and of the heat"
    )
    parser.add_argument("--height", type=_even, help="of the low-resolution image; needed for MINDIR, else any")
    parser.add_argument("--width", type=_even, help="of the same")
    parser.add_argument(
        "--float16", action="store_true", help="ONNX: store the convolutions' weights in float16, half as large"
    )
    args = parser.parse_args(argv)
    if (args.height is None) != (args.width is None):
        parser.error("--height and --width need each other")
    if args.file_format == MINDIR and args.height is None:
        parser.error("--file_format MINDIR needs --height and --width: MindIR is for one size")
    if args.file_format == MINDIR and args.float16:
        parser.error("--float16 is for --file_format ONNX")
    return args


def read_network(path, opt=None):
    """Read the Checkpoint of a whole network.

    Args:
        path: of the file.
        opt: Options that say which network it is, or None. A file that says so itself only has to agree on the scale.

    Raises:
        CheckpointError: it cannot be used.
    """
    checkpoint = read_any(path, opt)
    if checkpoint.options.model != "SRFlow":
        raise CheckpointError(f"{path}: an {checkpoint.options.model} checkpoint, expected one of SRFlow")
    if opt is not None and describes_itself(path) and opt.scale != checkpoint.options.scale:
        raise CheckpointError(
            f"{path}: is of scale {checkpoint.options.scale}, the configuration says {opt.scale}; leave --opt out"
        )
    arrays = checkpoint.parameters()
    require_parameters(shapes_of(checkpoint.options), arrays, path, IMAGE_ONLY)
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise CheckpointError(f"{path}: {name}: has values that are not finite; use another checkpoint")
    return checkpoint


def write_onnx(checkpoint, heat, args):
    """Write both graphs, with the heat at which to sample unless another is asked for; return their paths."""
    arrays, opt = checkpoint.parameters(), checkpoint.options
    size = (args.height, args.width) if args.height else None
    metadata = {
        **metadata_of(checkpoint),
        "heat": str(heat),
        "weights": "float16" if args.float16 else "float32",
        "parameters": _digest(arrays),
    }
    models = build_graphs(arrays, opt, args.float16, size, metadata)
    paths = file_names(args.file_name)
    for path, model in zip(paths, models):
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            file.write(model.SerializeToString())
    return paths


def write_mindir(checkpoint, args):
    """Write the network as MindIR; return the path in a list."""
    # Here, as they import MindSpore, which ONNX does not need.
    from src.export.mindir_file import write_network
    from src.model.SRFlow import load_network

    set_device("CPU")
    path = f"{args.file_name}.mindir"
    write_network(path, load_network(checkpoint, args.ckpt), (args.height, args.width))
    return [path]


def _digest(arrays):
    """Return a text that differs where parameters do."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]))
    return digest.hexdigest()


def _even(text):
    value = int(text)
    if value < 2 or value % 2:
        raise argparse.ArgumentTypeError(f"expected an even integer >= 2, got {text}")
    return value


if __name__ == "__main__":
    run_main(main)
