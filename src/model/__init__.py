# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The SRFlow network: encoder, flow, and the class that people use."""
