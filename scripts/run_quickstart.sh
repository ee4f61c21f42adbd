#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_quickstart.sh [OUTPUT_DIR [KEY=VALUE ...]]
#
# On a fresh machine, from nothing to super-resolved pictures, on the CPU: environment, data from scikit-image's own
# photographs, pre-training of a small encoder, training of a small SRFlow, conversion, evaluation. A few minutes.
#
# OUTPUT_DIR: output/quickstart in this repository unless given. KEY=VALUE: options of both trainings and the evaluation,
# such as train.niter=2000 for a longer run or network_G.nb=1 for a smaller network.
# Run again, it keeps the data and replaces the rest of what it wrote: .quickstart_files in OUTPUT_DIR lists that. Where
# anything else has one of these names, or was changed since, it refuses before it does anything.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
usage="usage: bash scripts/run_quickstart.sh [OUTPUT_DIR [KEY=VALUE ...]]"
out=${1:-$ROOT/output/quickstart}
shift $(($# > 0))
[[ $out != -* ]] || fail "$usage"
for option in "$@"; do
    [[ $option == [!-]*=* ]] || fail "$option: expected KEY=VALUE; $usage"
    [[ $option != output_dir=* ]] || fail "output_dir: the first argument names the output folder; $usage"
done

list=$out/.quickstart_files
written=(encoder training evaluation SRFlow_quickstart.ckpt
    data/train.mindrecord data/train.mindrecord.db data/valid.mindrecord data/valid.mindrecord.db)
refuse_others "$list" "$out" "${written[@]}"
make_folder "$out"

if [ -z "${PYTHON:-}" ]; then
    bash "$ROOT/scripts/setup_env.sh"
fi
choose_python
began=$SECONDS

refuse_others "$list" "$out" "${written[@]}"  # again: an installation takes its time
rm -rf "$out/encoder" "$out/training" "$out/evaluation"
trap 'remember "$list" "$out" "${written[@]}"' EXIT

"$PYTHON" "$ROOT/scripts/quickstart_data.py" "$out/data"
text=${out//\'/\'\'}  # as YAML takes it literally, between quotes
options=(datasets.train.dataroot="'$text/data/train.mindrecord'" datasets.val.dataroot="'$text/data/valid.mindrecord'")

echo "1/4 pre-training the encoder (L1)"
"$PYTHON" "$ROOT/train.py" --opt "$ROOT/configs/RRDB_quickstart_4X.yml" --output_dir "$out/encoder" \
    --set "${options[@]}" "$@"
echo "2/4 training SRFlow (negative log-likelihood)"
"$PYTHON" "$ROOT/train.py" --opt "$ROOT/configs/SRFlow_quickstart_4X.yml" --output_dir "$out/training" \
    --set "${options[@]}" path.train_pretrain_model_G="'$text/encoder/latest.ckpt'" "$@"
echo "3/4 converting the checkpoint for inference"
"$PYTHON" "$ROOT/train2test.py" --opt "$ROOT/configs/SRFlow_quickstart_4X.yml" --set "${options[@]}" "$@" \
    --train_path "$out/training/latest.ckpt" --test_path "$out/SRFlow_quickstart.ckpt"
echo "4/4 evaluating"
"$PYTHON" "$ROOT/eval.py" --opt "$ROOT/configs/SRFlow_quickstart_4X.yml" --ckpt "$out/SRFlow_quickstart.ckpt" \
    --output_dir "$out/evaluation" --set "${options[@]}" "$@"
"$PYTHON" "$ROOT/scripts/quickstart_report.py" "$out/training" "$out/evaluation"
echo "time after installation: $((SECONDS - began)) s"
