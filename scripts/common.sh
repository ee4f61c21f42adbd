# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Functions that the other scripts source. None of them leaves the caller's directory, where relative paths begin.

unset CDPATH  # with it `cd` may go elsewhere, and prints where
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

# make_small_environment VENV OLDEST NEWEST ADVICE TEST REQUIREMENTS...: make an environment, of a Python of a version
# from the oldest to the newest ('' is none), with the first of the requirements' files, or leave it as it is where these
# files are installed in it already and the line of Python runs in it. PYTHON=... names the Python to make it with. Where
# there is no such Python, the advice ends the error.
make_small_environment() {
    local venv=$1 oldest=$2 newest=$3 advice=$4 test=$5 requirements=$ROOT/$6 python='' fits candidate
    local stamp=$venv/installed_requirements.txt  # says what is installed; it is written last
    shift 5
    if (cd "$ROOT" && cat "$@") | cmp -s - "$stamp" && "$venv/bin/python" -c "$test" >/dev/null 2>&1; then
        return
    fi
    fits="(${oldest//./, }) <= sys.version_info[:2]${newest:+ <= (${newest//./, })}"
    # Of the Pythons that may be here the first that can make environments: a pyenv shim may refuse to run.
    for candidate in "${PYTHON:-python3.11}" python3.12 python3.10 python3 python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python; do
        if "$candidate" -c "import ensurepip, sys, venv; sys.exit(not ($fits))" 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || fail "$venv needs Python $oldest ${newest:+to }${newest:-or later} with the venv module; $advice"
    echo "making $venv with $python"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --only-binary :all: -r "$requirements"
    (cd "$ROOT" && cat "$@") >"$stamp"
}

# export_once CHECKPOINT [CONFIGURATION]: set ONNX to the NAME of the network's NAME.encoder.onnx and NAME.decoder.onnx,
# which $PYTHON makes in output/onnx of this repository unless they are there. They are named after all that they depend
# on. A configuration is for a checkpoint that does not say its network.
export_once() {
    local key
    key=$(cat "$@" "$ROOT"/export.py "$ROOT"/src/{export,weights}/*.py "$ROOT"/src/network_names.py \
        "$ROOT"/src/model_utils/options.py | cksum)
    ONNX=$ROOT/output/onnx/$(basename "${1%.*}")-${key%% *}
    if [ ! -f "$ONNX.encoder.onnx" ] || [ ! -f "$ONNX.decoder.onnx" ]; then
        make_folder "$ROOT/output/onnx"
        "$PYTHON" "$ROOT/export.py" --ckpt "$1" ${2:+--opt "$2"} --file_name "$ONNX"
    fi
}

# make_folder FOLDER: make it if it is missing, or fail.
make_folder() {
    { mkdir -p -- "$1" && [ -w "$1" ]; } 2>/dev/null || fail "$1: cannot be made or written to; give another folder"
}

# What a script wrote is listed with checksums in a file of its own. Only what that list knows, unchanged, may be removed
# or written over: whatever else bears such a name is the user's.

# contents FOLDER NAME...: a line "CHECKSUM SIZE PATH" for each file that has, or is below, one of the names in FOLDER.
contents() (
    cd -- "$1" || exit
    shift
    for name in "$@"; do
        [ -e "$name" ] || [ -L "$name" ] || continue
        find "$name" \( -type f -exec cksum {} + \) -o \( ! -type d -exec printf 'no file %s\n' {} \; \) || exit
    done
)

# remember LIST FOLDER NAME...: write the list of what has these names in FOLDER now.
remember() {
    local list=$1
    shift
    contents "$@" >"$list.new" && mv -f "$list.new" "$list"
}

# refuse_others LIST FOLDER NAME...: fail if anything has one of these names that the list does not know as it is.
refuse_others() {
    local list=$1 folder=$2 found other
    shift
    [ -d "$folder" ] || return 0
    found=$(contents "$@" 2>/dev/null) || fail "$folder: not all of it can be read; give another folder"
    [ -n "$found" ] || return 0
    [ -e "$list" ] || list=/dev/null
    if other=$(LC_ALL=C grep -vxF -f "$list" <<<"$found"); then
        other=${other%%$'\n'*}
        other=${other#* }
        fail "$folder/${other#* }: is not as this script wrote it, and would be lost; move it away, or give another folder"
    elif [ $? -ne 1 ]; then
        fail "$list: cannot be read; give another folder"
    fi
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

    choose_python
    local log_dir=${LOG_DIR:-output/logs} log
    make_folder "$log_dir"
    log=$log_dir/${program}_$(date +%Y%m%d-%H%M%S)_device$device.log
    echo "log file: $log"
    # Later options win: the caller may override the device target. tee outlives Ctrl-C to log the last words.
    "$PYTHON" "$ROOT/$program.py" --opt "$config" --device_target GPU --device_id "$device" "$@" 2>&1 | tee -i "$log"
    exit "${PIPESTATUS[0]}"
}
