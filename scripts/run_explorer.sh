#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_explorer.sh [CHECKPOINT [CONFIGURATION]] [options of python -m src.explorer ...]
#
# Serves a page on this machine alone, on which to walk in the space of pictures that belong to a small one. The
# checkpoint is the one that comes with this repository unless another is given, with the configuration of its network
# where the file does not say it. It is exported to ONNX once, to output/explorer in this repository. Makes the
# environment .venv-explorer (Python 3.10 to 3.12, without MindSpore) if it is missing; PYTHON=... names an environment's
# Python to use instead. Options: --port 8000, --threads 2.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
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
    [ -f "$file" ] || fail "$file: no such file; usage: bash scripts/run_explorer.sh [CHECKPOINT [CONFIGURATION]]"
done

if [ -z "${PYTHON:-}" ]; then
    make_small_environment "$ROOT/.venv-explorer" 3.10 'import onnxruntime' requirements_explorer.txt \
        requirements_onnx.txt
    PYTHON=$ROOT/.venv-explorer/bin/python
fi
choose_python

# Named after all that the files depend on.
key=$(cat "$checkpoint" ${configuration:+"$configuration"} "$ROOT"/export.py "$ROOT"/src/export/*.py | cksum)
name=$ROOT/output/explorer/$(basename "${checkpoint%.*}")-${key%% *}
if [ ! -f "$name.encoder.onnx" ] || [ ! -f "$name.decoder.onnx" ]; then
    make_folder "$ROOT/output/explorer"
    "$PYTHON" "$ROOT/export.py" --ckpt "$checkpoint" ${configuration:+--opt "$configuration"} --file_name "$name"
fi
cd "$ROOT"
exec "$PYTHON" -m src.explorer --onnx "$name" "$@"
