#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_demo.sh [CHECKPOINT [OUTPUT_DIR]]
#
# Figures of the paper's kinds, on the CPU: samples over temperature, their variance, manipulated latents. CHECKPOINT: any
# that eval.py reads; without one, that of the quick start in this repository. OUTPUT_DIR: output/demo in this repository
# unless given. Run again, it replaces the figures that it wrote itself, which .demo_files in OUTPUT_DIR lists.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
usage="usage: bash scripts/run_demo.sh [CHECKPOINT [OUTPUT_DIR]]"
[ $# -le 2 ] || fail "$usage"
checkpoint=${1:-$ROOT/output/quickstart/SRFlow_quickstart.ckpt}
out=${2:-$ROOT/output/demo}
[[ $checkpoint != -* && $out != -* ]] || fail "$usage"
[ -e "$checkpoint" ] || fail "$checkpoint: no such checkpoint; make one with bash scripts/run_quickstart.sh, or name one"

list=$out/.demo_files
figures=(heat.png variance.png transfer.png restoration.png)
refuse_others "$list" "$out" "${figures[@]}"
make_folder "$out"

if [ -z "${PYTHON:-}" ]; then
    bash "$ROOT/scripts/setup_env.sh"
fi
choose_python
trap 'remember "$list" "$out" "${figures[@]}"' EXIT
"$PYTHON" "$ROOT/scripts/demo.py" --overwrite "$checkpoint" "$out"
