#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_tests.sh [--mindspore 2.8.0|1.7.0] [arguments of pytest ...]
#
# Runs the tests on the CPU with MindSpore 2.8.0 or mindspore-gpu 1.7.0; makes the environment first if it is missing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

mindspore=2.8.0
if [ "${1:-}" = --mindspore ]; then
    [ $# -ge 2 ] || fail "--mindspore: expected 2.8.0 or 1.7.0 after it"
    mindspore=$2
    shift 2
fi
venv=$(venv_of "$mindspore")
bash "$ROOT/scripts/setup_env.sh" --mindspore "$mindspore"
use_environment "$venv"
cd "$ROOT"
exec "$PYTHON" -m pytest "$@"
