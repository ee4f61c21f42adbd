# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Training and validation data: preparation, reading, and the bicubic downscaling behind both."""
