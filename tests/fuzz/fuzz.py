# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Reads damaged and hostile files of every format for an hour, and says where that ends in anything but one line.

    python tests/fuzz/fuzz.py [--minutes 60] [--seed 0] [--format NAME ...] [FOLDER]
    python tests/fuzz/fuzz.py --read NAME FILE

Makes small good files of each format that we read (see formats.py), changes them (see mutations.py), and reads each
as the programs do, but that no network is compiled or computed. A file may be read well or be refused as `run_main`
shows it: by a ValueError or OSError whose message is one line of less than 1000 characters that names the file.
Anything else is a finding: another exception, a message of several lines, a page of output, the process's death, more
than --seconds of processor time (or many times that of waiting), more memory than the format's bound. A failed
allocation that was made a refusal is one too, as the next larger machine would have gone on.

The reads happen in a child process that reads many files; after a finding, and now and then, the next one takes its
place. Case i of a format depends on the seed and i alone (those of MindRecord, on where a child began, too). Every
finding is kept in FOLDER/findings/NAME-i: the file, and report.txt with the traceback and the command that reads it
again; of findings that look alike the first three. Prints a line per format; status 1 if there were findings. --cases:
so many of each format, however long it takes, instead of minutes. Needs Linux.
"""

import argparse
import collections
import contextlib
import faulthandler
import json
import math
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import NamedTuple

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(os.path.dirname(FOLDER)), FOLDER]
os.environ.setdefault("GLOG_v", "3")  # errors only; MindSpore reads it when it is imported

import formats  # noqa: E402
import mutations  # noqa: E402

LONGEST_MESSAGE, LONGEST_OUTPUT = 1000, 4000  # characters
LINE_ENDS = "[\n\r\v\f]"  # what a terminal takes for one
ADDRESS_SPACE = 2**31  # bytes by which a read may enlarge it, used or not
CASES_PER_CHILD = 500
KEPT_ALIKE = 3


class Limits(NamedTuple):
    """seconds: of processor time for a read; waiting: of any time."""

    seconds: int = 10
    waiting: int = 90


def main(argv=None):
    known = formats.all_formats()
    arguments = parse(argv, known)
    unknown = sorted(set(arguments.format or ()) - set(known))
    if unknown:
        raise ValueError(f"--format: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    limits = Limits(arguments.seconds, 9 * arguments.seconds)
    load_libraries()
    if arguments.read:
        name, path = arguments.read
        result = watched(known[name], os.path.abspath(path), limits, sys.stderr)
        print("\n".join(f"{key}: {value}" for key, value in result.items()))
        return int(result["is"] == "finding")
    chosen = [known[name] for name in arguments.format or known]
    return fuzz(chosen, arguments.folder, arguments.seed, limits, arguments.minutes, arguments.cases)


def parse(argv, known):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="for the findings (default: a new one in the system's own)")
    parser.add_argument("--minutes", type=float, default=60, help="for all formats together (default %(default)s)")
    parser.add_argument("--cases", type=int, help="files of each format, instead of minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", nargs="+", metavar="NAME")
    parser.add_argument("--seconds", type=int, default=10, help="processor time for a file (default %(default)s)")
    parser.add_argument("--read", nargs=2, metavar=("NAME", "FILE"), help="read this file of that format, no others")
    arguments = parser.parse_args(argv)
    if arguments.folder is None and arguments.format and arguments.format[-1] not in known:
        arguments.folder = arguments.format.pop()  # argparse gives all that follows --format to it
    arguments.folder = os.path.abspath(arguments.folder or tempfile.mkdtemp(prefix="srflow-fuzz-"))
    return arguments


def load_libraries():
    """Once, here: children that are forked have them. MindSpore also allows ten times the depth of recursion."""
    import cv2

    import train2test  # noqa: F401
    from src.model_utils.util import set_device

    cv2.setNumThreads(1)
    set_device("CPU")


def fuzz(chosen, folder, seed=0, limits=Limits(), minutes=60, cases=None):  # noqa: B008  # never changes
    """The status: 1 if any of the formats has findings, of which a report is in the folder, else 0."""
    total = 0
    for format_ in chosen:
        run = Run(format_, folder, seed, limits)
        deadline = time.time() + 60 * minutes / len(chosen) if cases is None else math.inf
        run.until(deadline, math.inf if cases is None else cases)
        total += sum(run.findings.values())
        print(run.summary(), flush=True)
    print(f"{total} findings{', in ' + os.path.join(folder, 'findings') if total else ''}")
    return 1 if total else 0


# ---------------------------------------------------------------------------------------------------------------------
# The parent: starts children, hears of each case before and after, and keeps the files of those that went wrong


class Run:
    """The cases of one format. findings: signature -> how many."""

    def __init__(self, format_, folder, seed, limits):
        self.format, self.folder, self.seed, self.limits = format_, folder, seed, limits
        self.work = os.path.join(folder, "work")
        self.case, self.output = os.path.join(self.work, "case"), os.path.join(self.work, "output")
        self.path_of_case = os.path.join(self.work, "path")
        self.counts, self.findings = collections.Counter(), collections.Counter()
        self.slowest = self.largest = 0

    def until(self, deadline, end):
        shutil.rmtree(self.work, ignore_errors=True)
        good = os.path.join(self.work, "good")
        os.makedirs(good)
        contents = self._make(good) if self.format.make else []
        case, stuck = 0, 0
        while case < end and time.time() < deadline and stuck < 3:
            done = self._child(contents, case, min(end, case + CASES_PER_CHILD), deadline)
            stuck = stuck + 1 if done == case else 0
            case = done
        output = _text(self.output)
        shutil.rmtree(self.work, ignore_errors=True)
        if stuck == 3:  # once or twice may be the end of the time
            raise RuntimeError(f"{self.format.name}: no case can be made:\n{output}")

    def _make(self, good):
        """The contents of good files, made in a child, as making them may start threads, which no fork survives."""
        path = os.path.join(self.work, "made")
        child = os.fork()
        if child == 0:
            _leave(lambda: _write_all(path, self.format.make(good)))
        if os.waitpid(child, 0)[1] != 0:
            raise RuntimeError(f"{self.format.name}: no good files could be made, see the output above")
        return _read_all(path)

    def _child(self, contents, start, end, deadline):
        """Runs a child on cases from `start`; returns the first that it has not done."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with os.fdopen(writer, "w", buffering=1) as pipe:
                _leave(lambda: Child(self, contents, pipe).cases(start, end, deadline))
        os.close(writer)
        case, made, hangs = start, False, False
        with os.fdopen(reader) as pipe:
            while True:
                if not select.select([pipe], [], [], self.limits.waiting)[0]:
                    hangs = True
                    os.kill(child, signal.SIGABRT)  # faulthandler writes where
                    if not select.select([pipe], [], [], 10)[0]:
                        os.kill(child, signal.SIGKILL)
                line = pipe.readline()
                if not line:
                    break
                message = json.loads(line)
                if message["is"] == "made":
                    made = True
                    continue
                self._count(case, message)
                case, made = case + 1, False
        status = os.waitpid(child, 0)[1]
        if made:  # it died in this case
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            ended = f"with status {os.WEXITSTATUS(status)}" if number is None else f"by signal {number}"
            self._count(
                case,
                {
                    "is": "finding",
                    "kind": "time" if hangs or number == signal.SIGXCPU else "death",
                    "text": f"the process ended {ended}\n{_text(self.output)}",
                },
            )
            case += 1
        return case

    def _count(self, case, message):
        self.counts[message["is"]] += 1
        self.slowest = max(self.slowest, message.get("seconds", 0))
        self.largest = max(self.largest, message.get("memory", 0))
        if message["is"] == "finding":
            signature = _signature(message)
            self.findings[signature] += 1
            if self.findings[signature] <= KEPT_ALIKE:
                self._keep(case, message, signature)

    def _keep(self, case, message, signature):
        target = os.path.join(self.folder, "findings", f"{self.format.name}-{case}")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.case, target)
        path = os.path.join(target, os.path.relpath(_text(self.path_of_case), self.case))
        with open(os.path.join(target, "report.txt"), "w", errors="backslashreplace") as file:
            file.write(
                f"{signature}\nseed {self.seed}, case {case}\npython tests/fuzz/fuzz.py --read "
                f"{self.format.name} {path}\n\n{message['text']}\n"
            )
        print(f"FINDING {target}: {signature}", flush=True)

    def summary(self):
        return (
            f"{self.format.name:16}{sum(self.counts.values()):7} cases: {self.counts['read']} read, "
            f"{self.counts['refused']} refused, {self.counts['finding']} findings in {len(self.findings)} kinds; "
            f"at most {self.slowest:.1f} s, {self.largest / 1e6:.0f} MB"
        )


def _signature(message):
    """The same for findings that look alike: what went wrong and where."""
    lines = re.findall(r'File "(?:[^"]*/)?([^"/]+)", line (\d+)', message["text"])
    if not lines:
        return message["kind"]
    file, line = lines[0 if message["kind"] in ("time", "death") else -1]
    return f"{message['kind']} in {file}:{line}"


def _text(path):
    with contextlib.suppress(FileNotFoundError), open(path, errors="replace") as file:
        return file.read(100000)
    return ""


def _write_all(path, contents):
    with open(path, "w") as file:
        json.dump([content.hex() for content in contents], file)


def _read_all(path):
    with open(path) as file:
        return [bytes.fromhex(content) for content in json.load(file)]


def _leave(function):
    """In a forked child: nothing of the parent's is run, whatever happens."""
    status = 1
    try:
        function()
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


# ---------------------------------------------------------------------------------------------------------------------
# The child


class Child:
    """Makes cases and reads them, and tells the pipe of each when it is made and what became of it."""

    def __init__(self, run, contents, pipe):
        self.run, self.format, self.contents, self.pipe = run, run.format, contents, pipe
        self.endless = None

    def cases(self, start, end, deadline):
        with open(self.run.output, "wb+") as output:
            for descriptor in (1, 2):
                os.dup2(output.fileno(), descriptor)
            for case in range(start, end):
                if time.time() > deadline:
                    return
                path = self._case(case)
                output.truncate(0)
                output.seek(0)
                self._tell({"is": "made"})
                result = watched(self.format, path, self.run.limits, output)
                self._tell(result)
                if result["is"] == "finding":
                    return

    def _tell(self, message):
        self.pipe.write(json.dumps(message) + "\n")

    def _case(self, case):
        """The path of a case's file, which nothing but this case and its companions shares its folder with."""
        shutil.rmtree(self.run.case, ignore_errors=True)
        os.makedirs(self.run.case)
        chance = random.Random(f"{self.run.seed} {self.format.name} {case}")
        path = os.path.join(self.run.case, "case" + self.format.suffix)
        if self.format.cases:
            path = self._next_of(chance, self.run.case)
        else:
            mutate, content = chance.choice((self.format.mutate, mutations.mutate_bytes)), chance.choice(self.contents)
            with open(path, "wb") as file:
                file.write(mutate(chance, content, self.contents))
        with open(self.run.path_of_case, "w") as file:
            file.write(path)
        return path

    def _next_of(self, chance, folder):
        while True:
            self.endless = self.endless or iter(self.format.cases(chance, folder))
            path = next(self.endless, None)
            if path is not None:
                return str(path)
            self.endless = None


def watched(format_, path, limits, output):
    """What reading a file comes to: {"is": "read", "refused" or "finding", "seconds", "memory"}.

    Processor time and address space are limited, for good: it is the child's last read if they are exceeded.
    """
    faulthandler.enable(output)
    faulthandler.register(signal.SIGXCPU, output, chain=True)
    began, before = time.process_time(), _resident(peak=False)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(began) + limits.seconds, hard))
    space = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + ADDRESS_SPACE, space[1]))
    try:
        format_.read(path)
        result = {"is": "read"}
    except BaseException as error:  # noqa: BLE001
        resource.setrlimit(resource.RLIMIT_AS, space)
        result = judge(error, (path,) + format_.named)
    resource.setrlimit(resource.RLIMIT_AS, space)
    sys.stdout.flush()
    result.update(seconds=time.process_time() - began, memory=_resident(peak=True) - before)
    if result["is"] != "finding":
        written = os.fstat(output.fileno()).st_size if output is not sys.stderr else 0
        if written > LONGEST_OUTPUT:
            result = {"is": "finding", "kind": "output", "text": _text(output.name), **_measured(result)}
        elif result["memory"] > format_.memory:
            result = {
                "is": "finding",
                "kind": "memory",
                "text": f"{result['memory'] / 1e6:.0f} MB; then {result}",
                **_measured(result),
            }
    return result


def _measured(result):
    return {key: result[key] for key in ("seconds", "memory")}


def judge(error, names):
    """A refusal as it should be, or a finding."""
    message = str(error)
    chain, cause = [], error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    problem = None
    if any(isinstance(link, MemoryError) or getattr(link, "code", None) == -4 for link in chain):  # -4: OpenCV's
        problem = "memory"
    elif not isinstance(error, (ValueError, OSError)):
        problem = type(error).__name__
    elif re.search(LINE_ENDS, message):
        problem = f"a message of {len(re.split(LINE_ENDS, message))} lines"
    elif len(message) >= LONGEST_MESSAGE:
        problem = "a long message"
    elif not any(name in message for name in names):
        problem = "a message that does not name the file"
    if problem is None:
        return {"is": "refused", "text": message}
    text = "".join(traceback.format_tb(error.__traceback__, limit=-15))
    return {"is": "finding", "kind": problem, "text": f"{text}{type(error).__name__}: {message[:2000]}"}


def _resident(peak):
    """Bytes of memory that the process has, or had at most since the last call with peak=False."""
    if not peak:
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    return int(status["VmHWM" if peak else "VmRSS"].split()[0]) * 1024


def _address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    from src.model_utils.util import run_main

    run_main(main)
