#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_demo.sh [CHECKPOINT] [OUTPUT_DIR]
#
# Figures of the paper's kinds, on the CPU: samples over temperature, their variance, manipulated latents. CHECKPOINT: any
# that eval.py reads; without one, that of the quick start.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -le 2 ] || fail "usage: bash scripts/run_demo.sh [CHECKPOINT] [OUTPUT_DIR]"
checkpoint=$(realpath -m "${1:-$ROOT/output/quickstart/SRFlow_quickstart.ckpt}")
out=$(realpath -m "${2:-$ROOT/output/demo}")
[ -e "$checkpoint" ] || fail "$checkpoint: no such checkpoint; make one with bash scripts/run_quickstart.sh, or name one"

if [ -z "${PYTHON:-}" ]; then
    bash "$ROOT/scripts/setup_env.sh"
fi
cd "$ROOT"
choose_python
"$PYTHON" scripts/demo.py "$checkpoint" "$out"
