# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The functions of moxing.file that the adapter uses."""

import os
import shutil
import time


def exists(url):
    """Whether there is something at a URL."""
    return os.path.exists(url)


def copy_parallel(src_url, dst_url):
    """Copy a folder's content into another folder, made if missing; a missing source is an error."""
    with open(os.environ["MOXING_LOG"], "a") as log:
        log.write(f"{os.getpid()} {src_url} -> {dst_url}\n")
    if not os.path.isdir(src_url):
        raise RuntimeError("no such folder: " + src_url)
    time.sleep(float(os.environ.get("MOXING_DELAY", "0")))
    _copy_tree(src_url, dst_url)


def _copy_tree(source, target):
    os.makedirs(target, exist_ok=True)
    for name in os.listdir(source):
        below, copy = os.path.join(source, name), os.path.join(target, name)
        if os.path.isdir(below):
            _copy_tree(below, copy)
        else:
            shutil.copy2(below, copy)
