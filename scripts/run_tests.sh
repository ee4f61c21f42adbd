#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_tests.sh [--mindspore 2.8.0|1.7.0] [arguments of pytest ...]
#
# Runs the tests on the CPU with MindSpore 2.8.0 or mindspore-gpu 1.7.0; makes the environment first if it is missing.
# Where the arguments name no file or folder, these are all tests of this repository.
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

if [ "$mindspore" = 1.7.0 ] && [ $# -eq 0 ]; then
    # A process for each file: in one that has compiled hundreds of graphs and switched modes as often, PyNative mode
    # of 1.7.0 was seen to return the contents of an operator's input as its output (docs/mindspore-1.7.md, 10). Files
    # that compute no network share one. Training runs that several files look at are kept here and made once.
    SRFLOW_TEST_RUNS=$(mktemp -d)
    export SRFLOW_TEST_RUNS
    trap 'rm -rf "$SRFLOW_TEST_RUNS"' EXIT
    status=0
    together=()
    for file in "$ROOT"/tests/test_*.py; do
        if grep -qE '^(from|import) (mindspore|helpers|programs)\b' "$file"; then
            ended=0
            "$PYTHON" -m pytest "$file" || ended=$?
            # 5: pytest collected nothing, as the file skips itself where its packages cannot be had (ONNX, Python 3.8).
            if [ "$ended" -ne 0 ] && [ "$ended" -ne 5 ]; then
                echo "ERROR $file: pytest ended with status $ended"
                status=1
            fi
        else
            together+=("$file")
        fi
    done
    [ ${#together[@]} -eq 0 ] || "$PYTHON" -m pytest "${together[@]}" || status=1
    exit "$status"
fi
named=
for argument in "$@"; do
    if [ -e "${argument%%::*}" ]; then
        named=yes
    fi
done
if [ -z "$named" ] && ! [ . -ef "$ROOT" ]; then  # pytest's testpaths hold in the repository's own folder only
    set -- "$@" "$ROOT/tests"
fi
exec "$PYTHON" -m pytest "$@"
