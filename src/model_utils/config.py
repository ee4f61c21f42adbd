# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Command lines of train.py, eval.py and train2test.py, laid over the YAML configuration."""

import argparse
import json
import re

from src.model_utils.device_adapter import get_adapter
from src.model_utils.local_adapter import get_device_id
from src.model_utils.options import load_options, require
from src.tiling import TILE

# Flags that set an option: flag -> (dotted key, programs that have it or None for all, help).
_OPTION_FLAGS = {
    "--device_target": ("device_target", None, "GPU, CPU or Ascend"),
    "--device_id": ("device_id", None, "number of the device"),
    "--output_dir": ("output_dir", None, "folder for everything that is written"),
    "--enable_modelarts": ("enable_modelarts", None, "true or false: run on ModelArts"),
    "--data_url": ("data_url", None, "ModelArts: remote folder with the data"),
    "--train_url": ("train_url", None, "ModelArts: remote folder for the results"),
    "--checkpoint_url": ("checkpoint_url", None, "ModelArts: remote folder with checkpoints"),
    "--ckpt": ("test_pretrained_model_path", ("eval",), "checkpoint to evaluate"),
    "--heat": ("heat", ("eval",), "sampling temperature"),
}

_DESCRIPTIONS = {
    "train": "Train SRFlow, or pre-train its RRDB encoder (model: RRDB).",
    "eval": "Super-resolve and measure: the MindRecord of datasets.val, a folder of LR images, or one image.",
    "train2test": "Convert a checkpoint, ours or another program's, for inference or for PyTorch.",
}


def get_config(kind, argv=None):
    """Parse a command line and read the configuration that it names.

    The flags and `--set` are laid over the YAML, and a flag wins over `--set`. A launcher's DEVICE_ID wins over the
    YAML's `device_id`, but not over a typed one. With enable_modelarts the paths are those on the ModelArts machine.

    For "eval" `args.ckpt` and `args.seed` are filled in from the options where the command line leaves them out.
    `args.heat_from` says where the heat comes from: "command line", or "configuration" for YAML and default.

    Args:
        kind: "train", "eval" or "train2test".
        argv: the arguments; None: those of the process.

    Returns:
        (args, opt): the argparse namespace and the Options.

    Raises:
        OptionsError: the configuration cannot be used (see `src.model_utils.options.load_options`), or lacks what this
            program needs.
        SystemExit: status 2, argparse's own answer to a wrong command line.
    """
    parser = _make_parser(kind)
    args = parser.parse_args(argv)
    if kind == "eval" and args.hr_dir and not args.lr_dir:
        parser.error("--hr_dir needs --lr_dir")

    overrides = _overrides(args, kind)
    if kind != "train2test":  # train2test computes on the CPU
        overrides = _launched_on(overrides) + overrides
    opt = load_options(args.opt, overrides)
    opt = get_adapter(opt).localise_paths(opt)
    if kind == "train":
        require(opt, "datasets.train.dataroot")
    elif kind == "eval":
        if not args.lr_dir:
            require(opt, "datasets.val.dataroot")
        require(opt, "test_pretrained_model_path")
        args.ckpt = opt.test_pretrained_model_path
        typed = any(override.partition("=")[0].strip() == "heat" for override in overrides)
        args.heat_from = "command line" if typed else "configuration"
        args.seed = opt.train.manual_seed if args.seed is None else args.seed
    return args, opt


def _make_parser(kind):
    """Return the parser of a program, 'train', 'eval' or 'train2test': the flags of all, then its own."""
    parser = argparse.ArgumentParser(description=_DESCRIPTIONS[kind], allow_abbrev=False)
    parser.add_argument("--opt", "--config_path", required=True, metavar="CFG", help="YAML configuration")
    for flag, (key, kinds, text) in _OPTION_FLAGS.items():
        if kinds is None or kind in kinds:
            parser.add_argument(flag, help=f"{text} (option {key})")
    parser.add_argument(
        "--set",
        nargs="+",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set options, such as train.niter=100; may be repeated",
    )
    if kind == "eval":
        _add_flags_of_evaluation(parser)
    elif kind == "train2test":
        _add_flags_of_conversion(parser)
    return parser


def _add_flags_of_evaluation(parser):
    parser.add_argument(
        "--lr_dir", help="folder of LR images to super-resolve, or one image, instead of the MindRecord"
    )
    parser.add_argument(
        "--hr_dir",
        help="folder of the HR images of the same names, or of those without x4 "
        "(the scale) at the end as DIV2K has them, to measure against; or the HR image of the one LR image",
    )
    parser.add_argument("--n_samples", type=positive, default=1, help="samples per image (default 1)")
    parser.add_argument("--seed", type=seed, help="seed of the samples (default: option train.manual_seed)")
    parser.add_argument(
        "--tile",
        type=tile,
        default=TILE,
        metavar="N",
        help="super-resolve images with a side above "
        f"N LR pixels by overlapping tiles of N x N (default {TILE}); 0: always whole",
    )
    parser.add_argument(
        "--cool",
        action="store_true",
        help="decode tiles that explode (not finite, or beyond 10 where images have 0 to 1) again at 3/4, 1/2, 1/4 "
        "of the heat and at 0, until they do not; each is told",
    )
    parser.add_argument(
        "--consistent",
        action="store_true",
        help="project the samples onto the images whose bicubic reduction is the LR image",
    )
    parser.add_argument(
        "--lpips", metavar="FILE", help="for LPIPS: all its weights, as bash scripts/get_lpips.sh fetches them"
    )
    parser.add_argument(
        "--lpips_alexnet",
        metavar="FILE",
        help="for LPIPS, with --lpips_linear instead of --lpips: torchvision's AlexNet weights (.pth)",
    )
    parser.add_argument(
        "--lpips_linear", metavar="FILE", help="for LPIPS, with --lpips_alexnet: its own linear weights (.pth)"
    )


def _add_flags_of_conversion(parser):
    parser.add_argument(
        "--train_path",
        required=True,
        metavar="IN",
        help="checkpoint to convert: a training "
        "checkpoint of train.py; the official code's .pth, old or new format, or the same as "
        ".safetensors; the earlier MindSpore port's DF2K_4X_train.ckpt or DF2K_4X_test.ckpt; an encoder "
        "in ncnn's format (.bin). Its content tells which it is, whatever its name",
    )
    parser.add_argument(
        "--test_path",
        required=True,
        metavar="OUT",
        help="file to write: NAME.pth or NAME.pt (for "
        "torch.load and the official code), NAME.safetensors, or an inference checkpoint for "
        "eval.py under any other name",
    )
    parser.add_argument(
        "--float16",
        action="store_true",
        help="for NAME.safetensors: store the convolutions' weights in float16, all else in float32",
    )
    parser.add_argument(
        "--about",
        metavar="TEXT",
        help="what is to be known of the weights, stored as it is in NAME.safetensors or an inference checkpoint "
        "(default: the text of IN, if it has one)",
    )


def _overrides(args, kind):
    """Return the overrides of a command line: those of --set in order, then the flags."""
    overrides = [override for group in args.set for override in group]
    for flag, (key, kinds, _) in _OPTION_FLAGS.items():
        text = getattr(args, flag.lstrip("-")) if kinds is None or kind in kinds else None
        if text is not None:
            # A flag's value is never YAML syntax beyond a plain number or word. Everything else is quoted.
            plain = text.replace(".", "").replace("-", "").replace("+", "").isalnum()
            overrides.append(f"{key}={text if plain else _quoted(text)}")
    return overrides


def _launched_on(overrides):
    """Return the device of the launcher's DEVICE_ID as a list of one override.

    The list is empty if there is no such variable, or a device is typed.
    """
    if any(override.partition("=")[0].strip() == "device_id" for override in overrides):
        return []
    device_id = get_device_id(None)  # the variable is the same on ModelArts
    return [] if device_id is None else [f"device_id={device_id}"]


def _quoted(text):
    """Return a text as a YAML string.

    Characters that YAML takes only in that way, such as bytes that are not UTF-8, are escaped.
    """
    return re.sub(
        "[\x7f-\x9f\ud800-\udfff\ufffe\uffff]",
        lambda match: f"\\u{ord(match.group()):04x}",
        json.dumps(text, ensure_ascii=False),
    )


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text}")
    return value


def tile(text):
    value = int(text)
    if value != 0 and (value < 32 or value % 2):
        raise argparse.ArgumentTypeError(f"expected 0 or an even integer >= 32, got {text}")
    return value or None


def seed(text):
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to 2147483647, got {text}")
    return value
