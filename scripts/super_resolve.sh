#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/super_resolve.sh IMAGE_OR_FOLDER [OUTPUT_DIR] [--engine mindspore|onnx] [options of eval.py ...]
#
# Enlarges an image, or all images of a folder, four times, on the CPU, with the weights that come with this repository:
# three samples of each (NAME_0.png, NAME_1.png, NAME_2.png), and sheet.png, which shows them beside bicubic enlargement
# and where they differ. OUTPUT_DIR: output/super_resolve in this repository unless given. Options are passed on to
# eval.py and win: --heat 0.5, --n_samples 1, --tile 64, or --ckpt FILE --opt CONFIGURATION for other weights.
#
# --engine onnx makes the same pictures by onnxruntime and needs no MindSpore: it begins sooner and takes less memory.
# Options are those of eval_onnx.py then. The weights are exported once, to output/onnx in this repository.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
usage="usage: bash scripts/super_resolve.sh IMAGE_OR_FOLDER [OUTPUT_DIR] [--engine mindspore|onnx] [options of eval.py ...]"
[ $# -ge 1 ] || fail "$usage"
images=$1
shift
[[ $images != -* ]] || fail "$usage; a name that begins with a dash: ./$images"
[ -e "$images" ] || fail "$images: no such image or folder"
out=$ROOT/output/super_resolve
if [ $# -ge 1 ] && [[ $1 != -* ]]; then
    out=$1
    shift
fi

engine=mindspore weights='' configuration=$ROOT/configs/SRFlow_free_4X.yml options=()
while [ $# -ge 1 ]; do
    case $1 in
        --engine | --ckpt | --opt)
            [ $# -ge 2 ] || fail "$1: expected a value after it"
            option=$1 value=$2
            shift
            ;;
        --engine=* | --ckpt=* | --opt=*) option=${1%%=*} value=${1#*=} ;;
        *) option='' && options+=("$1") ;;
    esac
    shift
    case $option in
        --engine) engine=$value ;;
        --ckpt) weights=$value ;;
        --opt) configuration=$value ;;
    esac
done
[[ $engine == mindspore || $engine == onnx ]] || fail "--engine: expected mindspore or onnx, got '$engine'"
if [ -z "$weights" ]; then
    weights=$ROOT/weights/SRFlow_free_4X.safetensors
    [ -f "$weights" ] || fail "$weights: no such file; git checkout -- weights brings it back, --ckpt FILE names another"
fi
for file in "$weights" "$configuration"; do
    [ -f "$file" ] || fail "$file: no such file"
done
make_folder "$out"

if [ "$engine" = mindspore ]; then
    if [ -z "${PYTHON:-}" ]; then
        bash "$ROOT/scripts/setup_env.sh"
    fi
    choose_python
    program=("$ROOT/eval.py" --opt "$configuration" --ckpt "$weights")
else
    if [ -z "${PYTHON:-}" ] && ! "$ROOT/.venv/bin/python" -c 'import onnx, onnxruntime' >/dev/null 2>&1; then
        make_small_environment "$ROOT/.venv-onnx" 3.9 3.12 \
            'install one, or name by PYTHON=... the Python of an environment that has requirements_onnx.txt' \
            'import onnx, onnxruntime' requirements_onnx.txt
        PYTHON=$ROOT/.venv-onnx/bin/python
    fi
    choose_python
    export_once "$weights" "$configuration"
    program=("$ROOT/eval_onnx.py" --onnx "$ONNX")
fi
exec "$PYTHON" "${program[@]}" \
    --lr_dir "$images" --output_dir "$out" --n_samples 3 --cool --consistent ${options[@]+"${options[@]}"}
