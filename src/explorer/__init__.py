# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""A local page on which to walk in the space of pictures that belong to a low-resolution one."""
