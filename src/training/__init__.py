# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What a training run does and leaves: steps, validation, its folder and its logs."""
