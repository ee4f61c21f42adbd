# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""A training run: its steps, its validation, its folder and its logs."""
