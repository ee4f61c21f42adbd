# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Options, command lines, ModelArts adapters and small helpers of the programs."""
