# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-in for ModelArts' moxing: ``file.copy_parallel`` copies folders on this machine.

Each copy is noted as a line in the file that MOXING_LOG names; MOXING_DELAY is how many seconds it takes at least.
"""

from moxing import file  # noqa: F401
