#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/setup_env.sh [--mindspore 2.8.0|1.7.0]
#
# Makes the environment .venv (MindSpore 2.8.0, Python 3.9 to 3.12) or .venv-1.7.0 (mindspore-gpu 1.7.0, Python 3.7 or
# 3.8) and installs requirements.txt. Where mindspore-gpu 1.7.0 finds no CUDA, stand-ins for its libraries are built, so
# that it runs on the CPU. A second call finds everything done and returns at once. PYTHON=... names the Python to use.
# An environment that is there already, of whatever tool, is used and gets pip if it has none; nothing is removed but what
# an interrupted call of this script left half made.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    echo "Usage: bash scripts/setup_env.sh [--mindspore 2.8.0|1.7.0]" >&2
    exit 2
}

# version_of PYTHON: its version, such as 3.11, if it runs and can make environments.
version_of() {
    "$1" -c 'import ensurepip, venv, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# candidates_for VERSION: programs that may be this Python. A pyenv shim refuses to run where its version is not chosen,
# so the interpreters behind the shims are tried too.
candidates_for() {
    command -v "python$1" || true
    ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python 2>/dev/null || true
    command -v python3 || true
    command -v python || true
}

# find_python VERSION...: print the first Python of the versions, the preferred one first.
find_python() {
    local version candidate
    if [ -n "${PYTHON:-}" ]; then
        for version in "$@"; do
            [ "$(version_of "$PYTHON")" = "$version" ] && echo "$PYTHON" && return
        done
        fail "PYTHON=$PYTHON is not one of Python $* with the venv module"
    fi
    for version in "$@"; do
        while IFS= read -r candidate; do
            [ "$(version_of "$candidate")" = "$version" ] && echo "$candidate" && return
        done < <(candidates_for "$version")
    done
    fail "MindSpore $mindspore needs one of Python $* with the venv module, and none is here; install one" \
        "(apt-get install python${1} python${1}-venv, or pyenv, or conda) or name it with PYTHON=..."
}

mindspore=2.8.0
while [ $# -gt 0 ]; do
    case "$1" in
        --mindspore) [ $# -ge 2 ] || usage; mindspore=$2; shift 2 ;;
        *) usage ;;
    esac
done
venv=$(venv_of "$mindspore")
case "$mindspore" in
    2.8.0) versions="3.11 3.10 3.12 3.9" ;;
    1.7.0) versions="3.8 3.7" ;;
esac

# The stamp says which requirements are installed; it is written last.
stamp=$venv/installed_requirements.txt
if [ -x "$venv/bin/python" ] && cmp -s "$ROOT/requirements.txt" "$stamp" && "$venv/bin/python" -c ''; then
    echo "environment ready: $venv"
    exit 0
fi

# This file is in an environment only while it is being made: until then all that is in there is this script's.
unfinished=$venv/being_made_by_setup_env

make_environment() {
    local python
    # shellcheck disable=SC2086
    python=$(find_python $versions)
    echo "making $venv with $python ($(version_of "$python"))"
    { mkdir -p "$venv" && : >"$unfinished"; } 2>/dev/null || fail "$venv: cannot be made or written to"
    find "$venv/" -mindepth 1 -maxdepth 1 ! -name "${unfinished##*/}" -exec rm -rf {} +
    "$python" -m venv "$venv"
    rm "$unfinished"
}

# check_environment: fail if the one that is there cannot be used; nothing is changed.
check_environment() {
    local version
    version=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
        fail "$venv is there but holds no Python that runs; move it away, as this script does not remove it"
    case " $versions " in
        *" $version "*) ;;
        *) fail "$venv has Python $version, MindSpore $mindspore needs one of $versions; move that folder away" ;;
    esac
}

if [ -e "$unfinished" ] || [ -z "$(ls -A "$venv" 2>/dev/null)" ]; then
    make_environment
fi
check_environment
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "installing pip in $venv"
    "$venv/bin/python" -m ensurepip >/dev/null 2>&1 ||
        fail "$venv has no pip, and its Python has no ensurepip to install it; install pip there or move it away"
fi

echo "installing requirements.txt (a few minutes)"
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet \
    --only-binary mindspore,mindspore-gpu,numpy,scipy,scikit-image,opencv-python-headless -r "$ROOT/requirements.txt"

if ! GLOG_v=3 "$venv/bin/python" -c 'import mindspore' >/dev/null 2>&1; then
    if [ "$mindspore" = 1.7.0 ]; then
        echo "no CUDA 11.1 for mindspore-gpu 1.7.0 here: building stand-ins, to run it on the CPU"
        site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
        "$venv/bin/python" "$ROOT/scripts/make_cuda_stand_ins.py" "$site/mindspore" "$venv/cuda_stand_ins"
    fi
    use_environment "$venv"
    "$PYTHON" -c 'import mindspore' || fail "MindSpore $mindspore is installed in $venv but does not import, see above"
fi

cp "$ROOT/requirements.txt" "$stamp.new"
mv "$stamp.new" "$stamp"
echo "environment ready: $venv"
