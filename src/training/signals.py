# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM, SIGINT and SIGHUP as a polite request: finish the step, save, go."""

import contextlib
import os
import signal
import threading

# The exit status of a run that a signal stopped. A scheduler's SIGTERM is part of its plan; Ctrl-C is 130 everywhere.
STATUS = {signal.SIGTERM: 0, signal.SIGINT: 130}
HANG_UP = getattr(signal, "SIGHUP", None)  # a terminal was closed, or its connection lost; Windows has no such signal
if HANG_UP is not None:
    STATUS[HANG_UP] = 128 + HANG_UP


class StopSignals:
    """A block that remembers the first SIGTERM, SIGINT or SIGHUP; a second one has its ordinary effect at once.

    A SIGHUP that is ignored, as under nohup, stays so. Nor is one ever the second: a terminal that is closed may send
    it twice, or after a Ctrl-C.

        with StopSignals() as stop:
            while not stop.requested:
                ...
        sys.exit(stop.status)

    Python runs the handler between two of its own instructions, so it waits while MindSpore compiles or computes.
    MindSpore 2.x takes SIGINT for itself when it compiles, and makes a SIGTERM of it. `renew` takes it back.

    Attributes:
        requested: whether a signal has come, to this process or to another one of the run.
        name: the name of that signal; None without one.
        status: the exit status that the signal asks for; 0 without one.
    """

    def __init__(self):
        self.number, self._noted, self._previous = None, False, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            taken = [number for number in STATUS if number != HANG_UP or signal.getsignal(number) is not signal.SIG_IGN]
            self._previous = {number: signal.signal(number, self._note) for number in taken}
        return self

    def renew(self):
        """Take the signals again, after a call that may have compiled."""
        if not self._noted:
            for number in self._previous:
                signal.signal(number, self._note)

    def adopt(self, number):
        """Stop because another process has got this signal. It does not count as this one's first."""
        if not self.requested:
            self.number = signal.Signals(number)

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            # None: the handler was not Python's and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @property
    def requested(self):
        return self.number is not None

    @property
    def name(self):
        return signal.Signals(self.number).name if self.requested else None

    @property
    def status(self):
        return STATUS[self.number] if self.requested else 0

    def _note(self, number, _):
        if self._noted and number == HANG_UP:
            return
        if self._noted:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._noted = True
        self.adopt(number)
        # Not print: the signal may have come in the middle of one. What read this may have ended by the same Ctrl-C.
        with contextlib.suppress(OSError):
            os.write(
                2,
                (
                    f"\n{signal.Signals(number).name}: this step is finished and saved, then the run stops; SIGTERM or "
                    "Ctrl-C now stops it at once\n"
                ).encode(),
            )
