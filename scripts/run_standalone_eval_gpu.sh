#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_standalone_eval_gpu.sh [CONFIG_PATH] [DEVICE_ID] [options of eval.py ...]
#
# Runs eval.py on one GPU in the foreground, with a log file under output/logs (or $LOG_DIR); its exit status is the
# program's. Further options are passed on and win: --device_target CPU, for one.
set -u
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
run_standalone eval "$@"
