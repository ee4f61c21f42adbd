# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The network for other programs: as ONNX graphs, made and run without MindSpore."""
