#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_quickstart.sh [OUTPUT_DIR]
#
# On a fresh machine, from nothing to super-resolved pictures, on the CPU: environment, data from scikit-image's own
# photographs, pre-training of a small encoder, training of a small SRFlow, conversion, evaluation. A few minutes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -le 1 ] || fail "usage: bash scripts/run_quickstart.sh [OUTPUT_DIR]"
out=$(realpath -m "${1:-$ROOT/output/quickstart}")

if [ -z "${PYTHON:-}" ]; then
    bash "$ROOT/scripts/setup_env.sh"
fi
cd "$ROOT"
choose_python
data=$out/data
began=$SECONDS

"$PYTHON" scripts/quickstart_data.py "$data"
roots=(datasets.train.dataroot="$data/train.mindrecord" datasets.val.dataroot="$data/valid.mindrecord")

echo "1/4 pre-training the encoder (L1)"
rm -rf "$out/encoder" "$out/training" "$out/evaluation"
"$PYTHON" train.py --opt configs/RRDB_quickstart_4X.yml --output_dir "$out/encoder" --set "${roots[@]}"
echo "2/4 training SRFlow (negative log-likelihood)"
"$PYTHON" train.py --opt configs/SRFlow_quickstart_4X.yml --output_dir "$out/training" \
    --set "${roots[@]}" path.train_pretrain_model_G="$out/encoder/latest.ckpt"
echo "3/4 converting the checkpoint for inference"
"$PYTHON" train2test.py --opt configs/SRFlow_quickstart_4X.yml \
    --train_path "$out/training/latest.ckpt" --test_path "$out/SRFlow_quickstart.ckpt"
echo "4/4 evaluating"
"$PYTHON" eval.py --opt configs/SRFlow_quickstart_4X.yml --ckpt "$out/SRFlow_quickstart.ckpt" \
    --output_dir "$out/evaluation" --set "${roots[@]}"
"$PYTHON" scripts/quickstart_report.py "$out/training" "$out/evaluation"
echo "time after installation: $((SECONDS - began)) s"
