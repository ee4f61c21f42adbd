#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_explorer.sh [CHECKPOINT [CONFIGURATION]] [options of python -m src.explorer ...]
#
# Serves a page on this machine alone, on which to walk in the space of pictures that belong to a small one. The
# checkpoint is the one that comes with this repository unless another is given, with the configuration of its network
# where the file does not say it. It is exported to ONNX once, to output/onnx in this repository. Makes the
# environment .venv-explorer (Python 3.10 to 3.12, without MindSpore) if it is missing; PYTHON=... names an environment's
# Python to use instead. Options: --port 8000, --threads 2.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
usage="usage: bash scripts/run_explorer.sh [CHECKPOINT [CONFIGURATION]] [--port PORT] [--threads THREADS]"
for argument in "$@"; do
    [ "$argument" != -h ] && [ "$argument" != --help ] || { echo "$usage"; exit; }
done
checkpoint=$ROOT/weights/SRFlow_free_4X.safetensors
configuration=$ROOT/configs/SRFlow_free_4X.yml
if [ $# -ge 1 ] && [[ $1 != -* ]]; then
    checkpoint=$(realpath -- "$1") configuration=
    shift
    if [ $# -ge 1 ] && [[ $1 != -* ]]; then
        configuration=$(realpath -- "$1")
        shift
    fi
fi
for file in "$checkpoint" ${configuration:+"$configuration"}; do
    [ -f "$file" ] || fail "$file: no such file; $usage"
done

if [ -z "${PYTHON:-}" ]; then
    make_small_environment "$ROOT/.venv-explorer" 3.10 3.12 \
        'install one, or name by PYTHON=... the Python of an environment that has requirements_explorer.txt' \
        'import onnxruntime' requirements_explorer.txt requirements_onnx.txt
    PYTHON=$ROOT/.venv-explorer/bin/python
fi
choose_python
[[ $PYTHON == /* ]] || PYTHON=$(command -v "$PYTHON")
[[ $PYTHON == /* ]] || PYTHON=$PWD/$PYTHON  # as the folder changes below

export_once "$checkpoint" ${configuration:+"$configuration"}
cd "$ROOT"  # -m looks for src in this folder first, whatever PYTHONPATH says
exec "$PYTHON" -m src.explorer --onnx "$ONNX" "$@"
