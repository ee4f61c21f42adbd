#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_quickstart.sh [OUTPUT_DIR [KEY=VALUE ...]]
#
# On a fresh machine, from nothing to super-resolved pictures, on the CPU. First the environment; then what the shipped
# weights make of scikit-image's own photographs; then a training of its own: pre-training of a small encoder, training of
# a small SRFlow, conversion, evaluation. A few minutes.
#
# OUTPUT_DIR: output/quickstart in this repository unless given. KEY=VALUE: options of both trainings and the evaluations,
# such as train.niter=2000 for a longer run or network_G.nb=1 for a smaller network. Those of network and training do not
# concern the shipped weights.
# SRFLOW_WEIGHTS=FILE in the environment names other weights, SRFLOW_LPIPS=FILE those of LPIPS. Without the latter a file
# lpips_alexnet.ckpt is used, as scripts/get_lpips.sh makes it, in OUTPUT_DIR or the folder from which you call.
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
weights=${SRFLOW_WEIGHTS:-$ROOT/weights/SRFlow_free_4X.safetensors}
[ -f "$weights" ] ||
    fail "$weights: no such file; git checkout -- weights brings the shipped one back, SRFLOW_WEIGHTS=FILE names another"
lpips=${SRFLOW_LPIPS:-}
for file in "$out/lpips_alexnet.ckpt" lpips_alexnet.ckpt; do
    if [ -z "$lpips" ] && [ -f "$file" ]; then lpips=$file; fi
done
[ -z "$lpips" ] || [ -f "$lpips" ] || fail "SRFLOW_LPIPS: $lpips: no such file; bash scripts/get_lpips.sh fetches it"

list=$out/.quickstart_files
written=(shipped encoder training evaluation SRFlow_quickstart.ckpt
    data/train.mindrecord data/train.mindrecord.db data/valid.mindrecord data/valid.mindrecord.db)
refuse_others "$list" "$out" "${written[@]}"
make_folder "$out"

if [ -z "${PYTHON:-}" ]; then
    bash "$ROOT/scripts/setup_env.sh"
fi
choose_python
began=$SECONDS

refuse_others "$list" "$out" "${written[@]}"  # again: an installation takes its time
rm -rf "$out/shipped" "$out/encoder" "$out/training" "$out/evaluation"
trap 'remember "$list" "$out" "${written[@]}"' EXIT

# part NAME COMMAND...: run it, and remember how long it took.
times=
part() {
    local name=$1 start=$SECONDS
    shift
    "$@"
    times+="${times:+, }$name $((SECONDS - start))"
}

part data "$PYTHON" "$ROOT/scripts/quickstart_data.py" "$out/data"
text=${out//\'/\'\'}  # as YAML takes it literally, between quotes
options=(datasets.train.dataroot="'$text/data/train.mindrecord'" datasets.val.dataroot="'$text/data/valid.mindrecord'")
shipped_options=("${options[@]}")
for option in "$@"; do
    [[ $option =~ ^(model|network_G|train|path|datasets\.train)[.=] ]] || shipped_options+=("$option")
done

echo "1/5 the shipped weights on photographs"
part "shipped weights" "$PYTHON" "$ROOT/eval.py" --opt "$ROOT/configs/SRFlow_free_4X.yml" --ckpt "$weights" \
    --output_dir "$out/shipped" --cool --consistent ${lpips:+--lpips "$lpips"} --set "${shipped_options[@]}"
part table "$PYTHON" "$ROOT/scripts/quickstart_report.py" shipped "$out/shipped" ${lpips:+"$lpips"}

echo "2/5 a network of its own: pre-training the encoder (L1)"
part encoder "$PYTHON" "$ROOT/train.py" --opt "$ROOT/configs/RRDB_quickstart_4X.yml" --output_dir "$out/encoder" \
    --set "${options[@]}" "$@"
echo "3/5 training SRFlow (negative log-likelihood)"
part training "$PYTHON" "$ROOT/train.py" --opt "$ROOT/configs/SRFlow_quickstart_4X.yml" --output_dir "$out/training" \
    --set "${options[@]}" path.train_pretrain_model_G="'$text/encoder/latest.ckpt'" "$@"
echo "4/5 converting the checkpoint for inference"
part conversion "$PYTHON" "$ROOT/train2test.py" --opt "$ROOT/configs/SRFlow_quickstart_4X.yml" --set "${options[@]}" \
    "$@" --train_path "$out/training/latest.ckpt" --test_path "$out/SRFlow_quickstart.ckpt"
echo "5/5 evaluating"
part evaluation "$PYTHON" "$ROOT/eval.py" --opt "$ROOT/configs/SRFlow_quickstart_4X.yml" \
    --ckpt "$out/SRFlow_quickstart.ckpt" --output_dir "$out/evaluation" --set "${options[@]}" "$@"

"$PYTHON" "$ROOT/scripts/quickstart_report.py" all "$out/shipped" "$out/training" "$out/evaluation"
echo "time after installation: $((SECONDS - began)) s ($times)"
