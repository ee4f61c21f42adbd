# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Where a run takes place: on this machine, or on ModelArts.

Both adapters have the same functions: `get_device_id`, `get_device_num`, `get_rank_id`, `get_job_id`, `sync_data`,
`moxing_wrapper` and `localise_paths`. Nothing is decided or read at import time.

    adapter = get_adapter(opt)

    @adapter.moxing_wrapper(opt)
    def run():
        ...
"""

from src.model_utils import local_adapter, moxing_adapter


def get_adapter(opt):
    """Return the adapter module of a run: moxing_adapter if `opt.enable_modelarts`, local_adapter otherwise."""
    return moxing_adapter if opt.enable_modelarts else local_adapter
