#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/run_distribute_train_gpu.sh [CONFIG_PATH] [DEVICE_NUM] [VISIBLE_DEVICES] [options of train.py ...]
#
# Runs train.py as DEVICE_NUM processes on the GPUs VISIBLE_DEVICES, such as 0,1, in the foreground. datasets.train's
# batch_size is that of each process. The logs are in a folder of their own under output/logs (or $LOG_DIR), and rank
# 0's is shown; the exit status is not 0 if any process failed. Further options are passed on and win:
# --device_target CPU, for one.
set -u
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ $# -lt 3 ] || [ "$1" = -h ] || [ "$1" = --help ]; then
    echo "Usage: bash scripts/run_distribute_train_gpu.sh [CONFIG_PATH] [DEVICE_NUM] [VISIBLE_DEVICES]" \
        "[options of train.py ...]" >&2
    exit 2
fi
config=$1 number=$2 devices=$3
shift 3
[ -f "$config" ] || fail "configuration file $config does not exist"
[[ $number =~ ^[1-9][0-9]{0,3}$ ]] || fail "DEVICE_NUM: expected an integer >= 1, got '$number'"
[[ $devices =~ ^[0-9]+(,[0-9]+)*$ ]] || fail "VISIBLE_DEVICES: expected numbers such as 0,1, got '$devices'"
IFS=, read -ra each <<<"$devices"
[ ${#each[@]} -eq "$number" ] ||
    fail "VISIBLE_DEVICES: expected $number numbers, one for each process of DEVICE_NUM, got '$devices'"
for option in "$@"; do
    case "$option" in
        --device_id | --device_id=* | device_id=*)
            fail "$option: every process has its own; choose the devices by VISIBLE_DEVICES"
            ;;
    esac
done

choose_python
log_dir=${LOG_DIR:-output/logs}/train_$(date +%Y%m%d-%H%M%S)_devices$devices
make_folder "$log_dir"
echo "log files: $log_dir/rank_*.log"
export CUDA_VISIBLE_DEVICES=$devices
exec "$PYTHON" "$ROOT/scripts/launch_ranks.py" "$log_dir" "$number" \
    "$PYTHON" "$ROOT/train.py" --opt "$config" --device_target GPU "$@"
