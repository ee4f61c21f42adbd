# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Run a program as several processes that train together, and end all of them when one fails.

    python scripts/launch_ranks.py LOG_DIR RANKS COMMAND...

Each process, a rank, has a log LOG_DIR/rank_N.log; that of rank 0 is shown too. SIGTERM and SIGINT are handed on to all
ranks, and SIGHUP as a SIGTERM. The exit status is 0 if that of every rank is.

With MindSpore 2.3 and later the processes are those that msrun would start, with the same environment variables:
the ranks, and a scheduler that brings them together (scheduler.log). msrun itself is not used, as a SIGTERM ends it
without its ranks, and as it kills them at a SIGINT. With older versions mpirun starts the ranks.
"""

import contextlib
import glob
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

PATIENCE = 10.0  # seconds that the others have to end by themselves after one has failed
POLL = 0.1  # seconds
ENDED_AS_ASKED = (0, 129, 130)  # by SIGTERM, SIGHUP, SIGINT; 0 is the run's end too
JOINING = "600"  # seconds that the processes have to find each other
AT_EXIT = re.compile(rb"\[INFO\] DISTRIBUTED\([^\n]*\n")  # what MindSpore 2.8 writes at the end, whatever GLOG_v says
RANK_OF_MPIRUN = (  # $0 is the folder of the logs
    'echo $$ >"$0/rank_$OMPI_COMM_WORLD_RANK.pid" && exec "$@" >"$0/rank_$OMPI_COMM_WORLD_RANK.log" 2>&1'
)


def main():
    log_dir, size, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    run = (Ranks if has_msrun() else RanksOfMpirun)(log_dir, size, command)
    hand_on_signals(run)
    try:
        run.start()
        return run.wait()
    finally:
        run.end()
        leave_broken_outputs()


def hand_on_signals(run):
    """Hand SIGTERM, SIGINT, and SIGHUP of a terminal that is closed, on to the ranks.

    A SIGHUP that is ignored, as under nohup, stays so.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: run.signal(number))
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: run.hang_up())


def write(stream, content):
    """Write bytes to stdout or stderr.

    One that cannot be written is no reason to lose a run: Ctrl-C ends a `tee` too, a terminal may be closed, a disk
    full.
    """
    with contextlib.suppress(OSError):
        stream.buffer.write(content)
        stream.flush()


def leave_broken_outputs():
    """Lose what stdout and stderr do not take: Python, as it ends, would make of that its own exit status, 120."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def has_msrun():
    """Tell whether this MindSpore has msrun, without importing it."""
    found = importlib.util.find_spec("mindspore")
    return found is None or os.path.isdir(os.path.join(os.path.dirname(found.origin), "parallel", "cluster"))


def fail(message):
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(2)


class Process:
    """A process in a session of its own, so that a Ctrl-C in the terminal reaches it through the launcher alone.

    Args:
        name: what it is.
        command: list of program and arguments.
        log: path of the file for what it writes; None: this process's own output.
        variables: environment variables besides those of this process.
    """

    def __init__(self, name, command, log, variables=None):
        self.name, self.log = name, log
        with open(log, "wb") if log else contextlib.nullcontext() as output:
            self._process = subprocess.Popen(
                command,
                env=dict(os.environ, **(variables or {})),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,
            )

    @property
    def status(self):
        """The exit status; minus its number if a signal ended the process, None while it runs."""
        return self._process.poll()

    def signal(self, number):
        if self.status is None:
            self._process.send_signal(number)

    def end(self):
        """Kill the process with all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def how_it_ended(self):
        """Say how the process ended, with the last error in its log."""
        if self.status < 0:
            return f"{self.name} was killed by {signal.Signals(-self.status).name}"
        errors = []
        if self.log:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                errors = re.findall(r"^(?:error: |[\w.]*Error: )(.*)$", file.read(), re.MULTILINE)
        return f"{self.name} ended with status {self.status}" + (f" ({errors[-1][:300]})" if errors else "")


class Ranks:
    """The ranks and the scheduler of MindSpore 2.x, all on this machine.

    Args:
        log_dir: folder for the logs.
        size: number of ranks.
        command: list of program and arguments.
    """

    def __init__(self, log_dir, size, command):
        self.log_dir, self.size, self.command = log_dir, size, command
        self.ranks, self.scheduler = [], None
        self._signals, self._shown, self._alone_since = [], 0, None

    def start(self):
        self._start()
        for number in list(self._signals):  # they came before there was anybody to have them
            self.signal(number)

    def _start(self):
        if self.size == 1:
            self.ranks = [self._process("rank 0", {"RANK_SIZE": "1", "RANK_ID": "0", "DEVICE_ID": "0"})]
            return
        together = {
            "MS_WORKER_NUM": str(self.size),
            "MS_SCHED_HOST": "127.0.0.1",
            "MS_SCHED_PORT": str(choose_port()),
            "MS_TOPO_TIMEOUT": JOINING,
            "RANK_SIZE": str(self.size),
        }
        self.scheduler = self._process("scheduler", dict(together, MS_ROLE="MS_SCHED", RANK_ID="0"))
        for rank in map(str, range(self.size)):
            own = {"MS_ROLE": "MS_WORKER", "MS_NODE_ID": rank, "RANK_ID": rank, "DEVICE_ID": rank}
            self.ranks.append(self._process(f"rank {rank}", dict(together, **own)))

    def _process(self, name, variables):
        return Process(name, self.command, os.path.join(self.log_dir, name.replace(" ", "_") + ".log"), variables)

    def signal(self, number):
        """Hand a signal on to every rank."""
        self._signals.append(number)
        for rank in self.ranks:
            rank.signal(number)

    def hang_up(self):
        """Have the ranks save and end because the terminal is gone, unless a signal has asked them to already.

        A second one would end them at once, and a terminal that is closed may send SIGHUP twice.
        """
        if not self._signals:
            self.signal(signal.SIGTERM)

    def wait(self):
        """Wait until the ranks have ended, by themselves or because one of them failed.

        Returns:
            the exit status.
        """
        failed, deadline = None, None
        while any(rank.status is None for rank in self.ranks):
            self.show()
            failed = failed or self._failed()
            if failed and deadline is None:  # of one that was killed the others know nothing
                deadline = time.monotonic() + (PATIENCE if failed.status >= 0 else 0)
            if failed and time.monotonic() >= deadline:
                break
            time.sleep(POLL)
        failed = failed or self._failed()
        for rank in self.ranks:
            rank.end()
        self.show()
        if failed is None:
            return max(rank.status for rank in self.ranks)
        if self.ranks[0].status != 2 or failed.status < 0:  # otherwise rank 0 has said in a line what is wrong
            message = (
                f"error: {failed.how_it_ended()}; the run has ended. The logs are in {self.log_dir}; with "
                "path.resume_state=auto the same command goes on from the newest checkpoint\n"
            )
            write(sys.stderr, message.encode(errors="backslashreplace"))
        return failed.status if failed.status > 0 else 128 - failed.status

    def _failed(self):
        """Return the process that has failed, rather one that was killed than one that complains of it; or None."""
        ended = [process for process in self.ranks if process.status not in (None,) + ENDED_AS_ASKED]
        if ended:
            return min(ended, key=lambda process: process.status)
        if self.scheduler is None or self.scheduler.status is None:
            return None
        # It ends when the ranks leave. If they have not ended by themselves soon after, it was the other way round.
        self._alone_since = self._alone_since or time.monotonic()
        return self.scheduler if time.monotonic() > self._alone_since + 2 * PATIENCE else None

    def show(self):
        """Show what is new in the log of rank 0."""
        with contextlib.suppress(FileNotFoundError):
            with open(os.path.join(self.log_dir, "rank_0.log"), "rb") as file:
                file.seek(self._shown)
                new = file.read()
            self._shown += len(new)
            write(sys.stdout, AT_EXIT.sub(b"", new))

    def end(self):
        """Kill whatever still runs."""
        for process in self.ranks + [self.scheduler] * (self.scheduler is not None):
            process.end()


class RanksOfMpirun(Ranks):
    """The ranks under OpenMPI's mpirun, which ends all of them when one fails, and says which."""

    def _start(self):
        mpirun = shutil.which("mpirun")
        if mpirun is None:
            fail("mpirun: not found; this MindSpore has no msrun and needs OpenMPI for several processes")
        command = [mpirun, "--allow-run-as-root", "-n", str(self.size), "bash", "-c", RANK_OF_MPIRUN, self.log_dir]
        self.ranks = [Process("mpirun", command + self.command, None)]

    def signal(self, number):
        """Hand a signal on to every rank; mpirun itself would kill them a second after it."""
        self._signals.append(number)
        for path in glob.glob(os.path.join(glob.escape(self.log_dir), "rank_*.pid")):
            with open(path) as file, contextlib.suppress(ValueError, ProcessLookupError):
                os.kill(int(file.read()), number)


def choose_port():
    """Return the port of the scheduler: MS_SCHED_PORT, or a free one."""
    text = os.environ.get("MS_SCHED_PORT", "0")
    if not text.isdecimal() or int(text) > 65535:
        fail(f"environment variable MS_SCHED_PORT: expected a port from 1 to 65535, got {text!r}")
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as MindSpore does, after a run that has ended
        try:
            trial.bind(("127.0.0.1", int(text)))
        except OSError as error:
            fail(f"environment variable MS_SCHED_PORT: port {text} cannot be had ({error.strerror}); give another one")
        return trial.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
