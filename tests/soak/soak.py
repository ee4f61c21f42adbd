# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""A run that is killed again and again ends where an undisturbed one ends, and needs no more memory on the way.

    python tests/soak/soak.py FOLDER [--steps 3000] [--kills 10] [--ranks 1] [--seed 0] [--opt CFG]
                              [--set key=value ...]

Trains the quick start's network twice in FOLDER, once undisturbed and once with SIGKILLs at random moments, each
followed by a resume. Then compares the last checkpoints (every parameter and optimizer state, bit by bit) and the logs
(every step once, the same losses), and the undisturbed process's resident memory from step 500 on (from a sixth of the
run, if it is shorter than 3,000 steps) with its end. Ends with status 1 if anything differs or grew by 5 % or more.
With --ranks 2 both runs are two processes on the CPU, started by scripts/run_distribute_train_gpu.sh. A random one of
them is killed, upon which the script has to end both within a minute, with a status that is not 0.
By hand, not by pytest: at its defaults it takes hours on two cores; datasets.train.batch_size=1 makes that one.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)
from src.model_utils.util import run_main  # noqa: E402
from src.weights.checkpoint import read_checkpoint  # noqa: E402

GROWTH = 0.05
PATIENCE = 60  # seconds after which the other ranks of a killed one are taken to hang


def main():
    arguments = parse()
    data = os.path.join(arguments.folder, "data")
    subprocess.run([sys.executable, os.path.join(ROOT, "scripts", "quickstart_data.py"), data], check=True)
    settings = [
        f"datasets.train.dataroot={data}/train.mindrecord",
        f"datasets.val.dataroot={data}/valid.mindrecord",
        "path.train_pretrain_model_G=null",
        "path.resume_state=auto",
        f"train.niter={arguments.steps}",
        "train.print_freq=1",
        "train.lr_G=1.0e-4",  # the quick start's own is for few steps: without a trained encoder it diverges
        f"train.save_checkpoint_freq={max(1, arguments.steps // 60)}",
        f"train.val_freq={max(1, arguments.steps // 6)}",
    ] + arguments.set
    undisturbed, killed = (os.path.join(arguments.folder, name) for name in ("undisturbed", "killed"))
    for folder in (undisturbed, killed):
        shutil.rmtree(folder, ignore_errors=True)

    memory = run_undisturbed(arguments, settings, undisturbed)
    kills = run_killed(arguments, settings, killed)
    problems = compare(undisturbed, killed, arguments.steps)
    if kills != arguments.kills:
        problems.append(f"{kills} kills instead of {arguments.kills}")
    growth = memory_growth(memory, min(500, arguments.steps // 6))
    if growth >= GROWTH:
        problems.append(f"memory grew by {growth:.1%}")
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--opt", default=os.path.join(ROOT, "configs", "SRFlow_quickstart_4X.yml"))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    arguments.folder = os.path.abspath(arguments.folder)
    return arguments


def start(arguments, settings, folder):
    os.makedirs(folder, exist_ok=True)
    program = [sys.executable, "train.py", "--opt", arguments.opt]
    if arguments.ranks > 1:
        devices = ",".join(map(str, range(arguments.ranks)))
        program = ["bash", "scripts/run_distribute_train_gpu.sh", arguments.opt, str(arguments.ranks), devices]
    command = program + ["--device_target", "CPU", "--output_dir", folder, "--set"] + settings
    environment = dict(os.environ, PYTHON=sys.executable, LOG_DIR=os.path.join(folder, "logs"))
    with open(os.path.join(folder, "console.log"), "ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def ranks_of(process, ranks):
    """The processes that train: of one rank it is the process itself, of several its children, as far as they live."""
    if ranks == 1:
        return [process.pid]
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        return [int(pid) for pid in file.read().split() if is_rank(pid)]


def is_rank(pid):
    """Whether a process is one of MindSpore's workers, as the launcher starts them beside a scheduler."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"MS_ROLE=MS_WORKER" in file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def run_undisturbed(arguments, settings, folder):
    """[(step, resident bytes)], twice a second."""
    began, memory, process = time.time(), [], start(arguments, settings, folder)
    while process.poll() is None:
        resident = [resident_bytes(pid) for pid in ranks_of(process, arguments.ranks)]
        if len(resident) == arguments.ranks and all(resident):
            memory.append((last_step(folder), sum(resident)))
        time.sleep(0.5)
    check_finished(process, folder)
    print(f"undisturbed: {arguments.steps} steps in {time.time() - began:.0f} s", flush=True)
    return memory


def run_killed(arguments, settings, folder):
    """Runs to the end; the number of kills. The moments: after random steps, plus up to two seconds."""
    chance = random.Random(arguments.seed)
    targets = sorted(chance.sample(range(1, arguments.steps), arguments.kills))
    began, kills = time.time(), 0
    while True:
        process = start(arguments, settings, folder)
        while process.poll() is None and not (kills < len(targets) and last_step(folder) >= targets[kills]):
            time.sleep(0.02)
        if kills < len(targets) and process.poll() is None:
            time.sleep(2 * chance.random())
        if process.poll() is not None:
            break
        alive = ranks_of(process, arguments.ranks)
        if not alive:  # the run has just ended
            process.wait(PATIENCE)
            break
        rank = chance.randrange(len(alive))
        os.kill(alive[rank], signal.SIGKILL)
        status, kills = process.wait(PATIENCE), kills + 1
        where = f" of rank {rank}, status {status}" if arguments.ranks > 1 else ""
        print(f"kill {kills}{where}: after the row of step {last_step(folder)}", flush=True)
        if not status:
            raise ValueError("a run whose rank was killed ended with status 0")
    check_finished(process, folder)
    print(f"killed: {arguments.steps} steps in {time.time() - began:.0f} s", flush=True)
    return kills


def check_finished(process, folder):
    if process.returncode != 0:
        raise ValueError(f"train.py ended with status {process.returncode}; see {os.path.join(folder, 'console.log')}")


def resident_bytes(pid):
    """Of a process, None once it has ended."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None


def last_step(folder):
    """The step of the log's last whole row, 0 before the first."""
    try:
        with open(os.path.join(folder, "train.csv"), "rb") as file:
            file.seek(max(0, os.path.getsize(file.name) - 500))
            line = file.read().split(b"\n")[-2]
    except (FileNotFoundError, IndexError):
        return 0
    step = line.split(b",")[0]
    return int(step) if step.isdigit() else 0


def compare(first, second, steps):
    """What differs between the results of two runs, a line each."""
    problems = []
    one, other = (read_checkpoint(os.path.join(folder, "latest.ckpt")) for folder in (first, second))
    differing = [
        name
        for name in sorted(set(one.arrays) | set(other.arrays))
        if name not in one.arrays
        or name not in other.arrays
        or one.arrays[name].tobytes() != other.arrays[name].tobytes()
    ]
    print(
        f"arrays compared: {len(one.arrays)}, differing: {len(differing)}; steps {one.state['step']} and "
        f"{other.state['step']}"
    )
    if differing or one.state["step"] != steps or other.state["step"] != steps:
        problems.append(f"the last checkpoints differ: {', '.join(differing[:5])}")
    for name, columns in (("train.csv", ("step", "loss", "lr", "grad_norm", "skipped")), ("validation.csv", None)):
        rows = []
        for folder in (first, second):
            with open(os.path.join(folder, name), newline="") as file:
                rows.append([[row[column] for column in columns or row] for row in csv.DictReader(file)])
        print(f"{name}: {len(rows[0])} and {len(rows[1])} rows, {'the same' if rows[0] == rows[1] else 'not the same'}")
        if rows[0] != rows[1]:
            problems.append(f"{name} differs")
    return problems


def memory_growth(memory, from_step):
    """By what share the resident memory grew: the median of the last tenth against that of the first after a step."""
    resident = [size for step, size in memory if step >= from_step]
    tenth = max(1, len(resident) // 10)
    begin, end = np.median(resident[:tenth]), np.median(resident[-tenth:])
    print(
        f"resident memory from step {from_step}: {begin / 1e6:.0f} MB, at the end {end / 1e6:.0f} MB "
        f"({end / begin - 1:+.1%}), {len(resident)} samples"
    )
    return end / begin - 1


if __name__ == "__main__":
    run_main(main)
