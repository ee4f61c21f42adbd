#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/super_resolve.sh IMAGE_OR_FOLDER [OUTPUT_DIR] [options of eval.py ...]
#
# Enlarges an image, or all images of a folder, four times, on the CPU, with the weights that come with this repository:
# three samples of each (NAME_0.png, NAME_1.png, NAME_2.png), and sheet.png, which shows them beside bicubic enlargement
# and where they differ. OUTPUT_DIR: output/super_resolve in this repository unless given. Options are passed on to
# eval.py and win: --heat 0.5, --n_samples 1, --tile 64, or --ckpt FILE --opt CONFIGURATION for other weights.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
usage="usage: bash scripts/super_resolve.sh IMAGE_OR_FOLDER [OUTPUT_DIR] [options of eval.py ...]"
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
weights=$ROOT/weights/SRFlow_free_4X.safetensors
[[ -f $weights || " $* " == *" --ckpt"* ]] ||
    fail "$weights: no such file; git checkout -- weights brings it back, --ckpt FILE names another"
make_folder "$out"

if [ -z "${PYTHON:-}" ]; then
    bash "$ROOT/scripts/setup_env.sh"
fi
choose_python
exec "$PYTHON" "$ROOT/eval.py" --opt "$ROOT/configs/SRFlow_free_4X.yml" \
    --ckpt "$weights" --lr_dir "$images" --output_dir "$out" --n_samples 3 --cool --consistent "$@"
