#!/usr/bin/env bash
# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
#
# bash scripts/lint.sh [--fix]
#
# Looks at the shell scripts with shellcheck, and at the Python files with ruff, its rules and its format; the status is 1
# if any of them has a finding. --fix first mends what ruff can mend. Makes the environment .venv-lint (Python 3.8 or
# later, PYTHON=... names it) if it is missing. pyproject.toml and .shellcheckrc say which rules hold.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -eq 0 ] || { [ $# -eq 1 ] && [ "$1" = --fix ]; } || fail "usage: bash scripts/lint.sh [--fix]"

venv=$ROOT/.venv-lint
make_small_environment "$venv" 3.8 '' 'install one, or name it by PYTHON=...' 'import ruff' requirements_lint.txt

cd "$ROOT"
if [ "${1:-}" = --fix ]; then
    "$venv/bin/ruff" check --fix --quiet . >/dev/null || true  # what is left is told below
    "$venv/bin/ruff" format --quiet .
fi
status=0
check() {  # check NAME COMMAND...: run it, and say so if it fails
    local name=$1
    shift
    "$@" || { echo "lint: $name has findings" >&2; status=1; }
}
check shellcheck "$venv/bin/shellcheck" scripts/*.sh .ci/run
check "ruff check" "$venv/bin/ruff" check --quiet --output-format concise .
check "ruff format (bash scripts/lint.sh --fix mends it)" "$venv/bin/ruff" format --quiet --check --output-format concise .
[ "$status" -ne 0 ] || echo "lint: no findings"
exit "$status"
