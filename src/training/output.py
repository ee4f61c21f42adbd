# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What a run says, on a terminal or in a log that may go away before the run does."""

import contextlib
import sys


@contextlib.contextmanager
def outlive_output():
    """Let no failure to write to stdout or stderr end the block: what cannot be written is lost, the run is not.

    Such are a full disk under the log, a `tee` that Ctrl-C has ended, a terminal that was closed. A progress bar must
    be made in the block, as it keeps the stream that it finds.

    A stream that has failed stays as it is after the block: Python flushes it when it ends, and would make of a failure
    its own exit status, 120.
    """
    streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    outputs = {name: _Output(stream) for name, stream in streams.items() if stream is not None}  # None: it was closed
    for name, output in outputs.items():
        setattr(sys, name, output)
    try:
        yield
    finally:
        for name, output in outputs.items():
            output.flush()
            if not output.failed:
                setattr(sys, name, streams[name])


class _Output:
    """A text stream that may fail to be written to.

    Args:
        stream: the stream, of which this has all but the failures.

    Attributes:
        failed: whether a write has failed.
    """

    def __init__(self, stream):
        self._stream, self.failed = stream, False

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        with self._failing():
            self._stream.write(text)
        return len(text)

    def flush(self):
        with self._failing():
            self._stream.flush()

    @contextlib.contextmanager
    def _failing(self):
        try:
            yield
        except OSError:
            self.failed = True
