#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/check_device.sh [GPU|CPU|Ascend] [DEVICE_ID] [--quick]
#
# Whether this repository works on a device: what is installed, then tests, training, the quick start and the benchmark,
# each in a process of its own. It ends with a table and PASS or what failed, which are in output/check_device/report.md
# too, beside a log of each check; what is there of an earlier check is lost. The exit status is 0 if all passed, 1 if any
# failed, 2 if there is no such device.
# --quick: the shortest form, a minute or two on a CPU. PYTHON=... names the interpreter.
set -u
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

choose_python
"$PYTHON" -c 'import importlib.util as u; assert u.find_spec("mindspore") and u.find_spec("pytest")' 2>/dev/null ||
    fail "$PYTHON has no MindSpore, or no pytest; run: bash scripts/setup_env.sh"
exec "$PYTHON" "$ROOT/scripts/check_device.py" "$@"
