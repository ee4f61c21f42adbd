# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Serve the page to explore on this machine alone, as scripts/run_explorer.sh does.

    python -m src.explorer --onnx SRFlow_4X

SRFlow_4X.encoder.onnx and SRFlow_4X.decoder.onnx are files of export.py.
"""

import argparse
import os
import tempfile

from src.explorer.space import KEPT_PIXELS, Space
from src.export.onnx_model import OnnxSRFlow
from src.model_utils.config import positive
from src.model_utils.util import end_by_signals, run_main

# Gradio and its libraries read these when they are imported. Nothing is to leave the machine.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SSR_MODE": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def main(argv=None):
    """Run the command line until Ctrl-C, SIGTERM or SIGHUP."""
    args = parse(argv)
    space = Space(OnnxSRFlow(args.onnx, threads=args.threads, keep=KEPT_PIXELS))
    heat = min(float(space.model.metadata["heat"]), 1)
    end_by_signals(lambda number: 0)  # so that the folder below is removed
    with tempfile.TemporaryDirectory(prefix="explorer-") as folder:
        os.environ.update(QUIET, GRADIO_TEMP_DIR=folder)
        try:
            from src.explorer.page import serve  # here, as Gradio must find its environment as set above
        except ImportError as error:
            raise ValueError(
                f"gradio: cannot be imported ({error}); pip install -r requirements_explorer.txt"
            ) from None
        serve(space, heat, folder, args.port)


def parse(argv):
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m src.explorer", description="Serve a page to explore, on this machine alone.", allow_abbrev=False
    )
    parser.add_argument(
        "--onnx", required=True, metavar="NAME", help="of the files NAME.encoder.onnx and NAME.decoder.onnx"
    )
    parser.add_argument("--port", type=port, help="default: the first free one from 7860 on")
    parser.add_argument("--threads", type=positive, default=0, help="CPU threads (default: as many as cores)")
    return parser.parse_args(argv)


def port(text):
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text}")
    return value


if __name__ == "__main__":
    run_main(main)
