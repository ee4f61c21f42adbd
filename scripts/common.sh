# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Functions that the other scripts source.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {  # one clear line, exit status 2
    echo "error: $*" >&2
    exit 2
}

# venv_of MINDSPORE_VERSION: the environment's folder.
venv_of() {
    case "$1" in
        2.8.0) echo "$ROOT/.venv" ;;
        1.7.0) echo "$ROOT/.venv-1.7.0" ;;
        *) fail "--mindspore: expected 2.8.0 or 1.7.0, got '$1'" ;;
    esac
}

# use_environment VENV: set PYTHON, and what the interpreter needs around it.
use_environment() {
    PYTHON=$1/bin/python
    export GLOG_v=${GLOG_v:-3}  # MindSpore: errors only
    export PYTHONUNBUFFERED=1
    if [ -d "$1/cuda_stand_ins" ]; then
        local site
        site=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
        export LD_LIBRARY_PATH=$1/cuda_stand_ins:$site/mindspore/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    fi
}

# choose_python: set PYTHON to $PYTHON if the caller set it, else to .venv's, else to the one on PATH.
choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is no program"
    elif [ -x "$ROOT/.venv/bin/python" ]; then
        use_environment "$ROOT/.venv"
    else
        PYTHON=$(command -v python3 || command -v python) || fail "no Python here; run: bash scripts/setup_env.sh"
    fi
    export GLOG_v=${GLOG_v:-3} PYTHONUNBUFFERED=1
}

# run_standalone PROGRAM [CONFIG_PATH DEVICE_ID [OPTIONS...]]: run a program in the foreground, with a log file.
run_standalone() {
    local program=$1
    shift
    if [ $# -lt 2 ] || [ "$1" = -h ] || [ "$1" = --help ]; then
        echo "Usage: bash scripts/run_standalone_${program}_gpu.sh [CONFIG_PATH] [DEVICE_ID]" \
            "[options of $program.py ...]" >&2
        exit 2
    fi
    local config=$1 device=$2
    shift 2
    [ -f "$config" ] || fail "configuration file $config does not exist"
    [[ $device =~ ^[0-9]+$ ]] || fail "DEVICE_ID: expected an integer >= 0, got '$device'"
    config=$(cd "$(dirname "$config")" && pwd)/$(basename "$config")
    cd "$ROOT" || exit 2  # relative paths in the configuration begin here

    choose_python
    local log_dir=${LOG_DIR:-output/logs} log
    mkdir -p "$log_dir" || fail "the log folder $log_dir cannot be made"
    log=$log_dir/${program}_$(date +%Y%m%d-%H%M%S)_device$device.log
    echo "log file: $log"
    # Later options win: the caller may override the device target. tee outlives Ctrl-C to log the last words.
    "$PYTHON" "$program.py" --opt "$config" --device_target GPU --device_id "$device" "$@" 2>&1 | tee -i "$log"
    exit "${PIPESTATUS[0]}"
}
