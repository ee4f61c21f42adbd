# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Estimates of memory beside measured peaks, what is available, and the line where that is too little."""

import os
import warnings

import numpy as np
import pytest
from programs import fixture_base, run, write_image  # noqa: F401

import eval as eval_program
import src.memory
import train as train_program
from src.evaluation.run import warn_of_memory
from src.memory import ONNX, SamplingMemory, available_memory, network_of, of_machine, of_training, problem_of_training
from src.model_utils.options import load_options
from src.network_names import shapes_of
from src.sampling import Sampling

GB = 1e9
FOUR = ("network_G.nb=4", "network_G.flow.stackRRDB.blocks=[0,1,2,3]")
TWELVE = ("network_G.nb=12", "network_G.flow.stackRRDB.blocks=[0,1,2,3]")
# Peaks in GB on the CPU, MindSpore 2.8.0: (pairs, options of the published 4X network, peak). The first three are those
# of docs/performance.md. The others were measured in the same way, patches being 160x160; the last two are whole
# runs of train.py, the last with validations.
TRAINED = [
    (1, (), 5.6),
    (2, (), 7.8),
    (4, (), 10.5),
    (4, (*FOUR, "network_G.flow.K=2"), 2.33),
    (1, (*FOUR, "network_G.flow.K=2"), 1.57),
    (4, (*FOUR, "network_G.flow.K=6"), 3.36),
    (4, (*FOUR, "network_G.flow.K=6", "train.recompute=true"), 3.37),
    (4, (*TWELVE, "network_G.flow.K=2"), 4.05),
    (4, (*TWELVE, "network_G.flow.K=2", "network_G.train_RRDB=false"), 2.08),
    (4, (*FOUR, "network_G.flow.K=2", "implementation=plain"), 5.66),
    (1, ("train.accumulate=4",), 6.3),
    (2, ("network_G.flow.K=8", "network_G.train_RRDB=false", "datasets.train.HR_size=96"), 4.0),
]
# (implementation, number and size of LR images, K, peak): those of docs/performance.md, and the shipped weights'.
SAMPLED = [
    ("cpu", 1, (40, 40), 16, 1.5),
    ("cpu", 4, (40, 40), 16, 2.3),
    ("cpu", 1, (80, 120), 16, 3.1),
    ("plain", 1, (40, 40), 16, 4.2),
    ("cpu", 1, (96, 96), 8, 2.08),
]
# (size of an LR image, K, peak) with onnxruntime 1.32: the shipped weights', and docs/elsewhere.md's.
SAMPLED_BY_ONNX = [((40, 40), 8, 0.36), ((96, 96), 8, 0.57), ((136, 136), 8, 0.90), ((40, 40), 16, 0.5)]


@pytest.fixture(name="options")
def fixture_options(repo):
    """A function from settings to the Options of the published 4X network on a CPU."""
    path = os.path.join(repo, "SRFlow_DF2K_4X.yml")
    return lambda *settings: load_options(path, ["device_target=CPU", *settings])


def trained(opt, batch_size=None, accumulate=None):
    return of_training(opt, opt.implementation != "plain", batch_size, accumulate)


@pytest.mark.parametrize("pairs, settings, peak", TRAINED)
def test_training_as_it_was_measured(options, pairs, settings, peak):
    assert trained(options(*settings), pairs) / GB == pytest.approx(peak, rel=1 / 6)


@pytest.mark.parametrize("implementation, images, size, steps, peak", SAMPLED)
def test_sampling_as_it_was_measured(options, implementation, images, size, steps, peak):
    network = network_of(shapes_of(options(f"network_G.flow.K={steps}")))
    memory = SamplingMemory(network, 4, implementation == "cpu")
    assert memory.needed(size, images, 1, 1, None)["CPU"] / GB == pytest.approx(peak, rel=1 / 6)


@pytest.mark.parametrize("size, steps, peak", SAMPLED_BY_ONNX)
def test_sampling_by_onnxruntime_as_it_was_measured(options, size, steps, peak):
    memory = SamplingMemory(network_of(shapes_of(options(f"network_G.flow.K={steps}"))), 4, factors=ONNX)
    assert memory.needed(size, 1, 1, 1, None)["CPU"] / GB == pytest.approx(peak, rel=1 / 6)


def test_more_takes_more(options):
    base = trained(options(), 2)
    assert trained(options(), 3) > base
    assert trained(options(), 2, 4) > base
    assert trained(options("datasets.train.HR_size=168"), 2) > base
    for less in (
        "datasets.train.HR_size=152",
        "network_G.flow.K=15",
        "network_G.nb=22 network_G.flow.stackRRDB.blocks=[1,8,15,21]",
        "network_G.train_RRDB=false",
        "device_target=GPU",  # where the compiler's share is not the device's
    ):
        assert trained(options(*less.split()), 2) < base, less


@pytest.mark.parametrize("target", ["CPU", "GPU"])
def test_recomputation(options, target):
    """It saves nothing where the network is arranged."""
    settings = [f"device_target={target}", "implementation=plain"]
    assert trained(options(*settings, "train.recompute=true"), 2) < trained(options(*settings), 2)
    assert trained(options("train.recompute=true"), 2) == trained(options(), 2)


def test_half_precision_takes_less_on_a_gpu(options):
    for target, less in (("GPU", True), ("CPU", False)):
        settings = [f"device_target={target}", "implementation=plain"]
        assert (trained(options(*settings, "precision=float16"), 2) < trained(options(*settings), 2)) == less


def test_the_whole_batch_initialises(options):
    """Which takes more than a slice does, where the slices are many."""
    some, more, most = (trained(options(), 1, slices) for slices in (2, 3, 300))
    assert some == more < most


def test_the_encoder_alone(repo):
    """Its own image counts too."""
    opt = load_options(os.path.join(repo, "configs", "RRDB_DF2K_4X.yml"), ["device_target=CPU"])
    pair = trained(opt, 2) - trained(opt, 1)
    assert network_of(shapes_of(opt)).steps == ()
    assert pair > 4 * opt.datasets.train.HR_size**2 * 64 * 2


def test_what_is_too_little_to_train(options):
    opt = options("datasets.train.batch_size=12")
    enough = trained(opt, 4, 3) + 1
    assert problem_of_training(opt, True, None) is None
    assert problem_of_training(opt, True, trained(opt)) is None
    problem = problem_of_training(opt, True, enough)
    assert problem.startswith(f"memory: training may need about {trained(opt) / GB:.1f} GB (an estimate), and ")
    assert f"; datasets.train.batch_size=4 train.accumulate=3 needs about {enough / GB:.1f} GB; " in problem
    assert problem.endswith("; a smaller datasets.train.HR_size also lessens it") and "\n" not in problem
    plain = problem_of_training(options("implementation=plain"), False, enough)
    assert plain.endswith("; train.recompute=true or a smaller datasets.train.HR_size also lessens it")


def test_advice_that_does_not_help_is_not_given(options):
    again = options("datasets.train.batch_size=1", "train.recompute=true")
    problem = problem_of_training(again, False, 1e9)
    assert problem.endswith("available; a smaller datasets.train.HR_size lessens it")
    twelve = problem_of_training(options(), True, 1e9)
    assert "datasets.train.batch_size=1 train.accumulate=12 needs" in twelve


@pytest.mark.parametrize("there", [1e8, 1e15, None])
def test_train_tells_it(options, monkeypatch, capsys, there):
    monkeypatch.setattr(train_program, "available_memory", lambda target, number: there)
    line = train_program.estimate_memory(options(), 1)
    out, err = capsys.readouterr()
    needed = f"memory: about {trained(options()) / GB:.1f} GB needed (an estimate)"
    assert line == needed + {1e8: ", 0.1 GB available", 1e15: ", 1000000.0 GB available", None: ""}[there] and out == ""
    assert err.count("warning: memory: training may need ") == err.count("\n") == (there == 1e8)


def test_train_warns_before_it_builds_anything(base, tmp_path, monkeypatch, capsys):
    def build(opt):
        raise ValueError("this is far enough")

    monkeypatch.setattr(train_program, "available_memory", lambda target, number: 1e8)
    monkeypatch.setattr(train_program, "build", build)
    assert run("train", "--opt", os.path.join(base, "SRFlow.yml"), "--output_dir", tmp_path / "run") == 2
    out, err = capsys.readouterr()
    assert out == ""
    told, error = err.splitlines()
    assert told.startswith("warning: memory: training may need about ") and error == "error: this is far enough"


def test_processes_on_a_cpu_share_its_memory(options, monkeypatch):
    monkeypatch.setattr(train_program, "available_memory", lambda target, number: 8e9)
    for target, shown in (("CPU", "2.0"), ("GPU", "8.0")):
        line = train_program.estimate_memory(options(f"device_target={target}"), 4)
        assert line.endswith(f"(an estimate), {shown} GB available for each process")


# ---------------------------------------------------------------------------------------------------------------------
# Sampling


class Black(Sampling):
    """Samples that are black."""

    scale, encodes = 4, False

    def __init__(self, network):
        self.memory = SamplingMemory(network, self.scale)

    def _latent_shapes(self, count, size):
        return [(count, 96) + tuple(side // 2 for side in size)]

    def _condition(self, lr):
        return lr

    def _decode(self, conditions, latents, may_fail=False):
        return np.zeros((len(latents[0]), 3) + tuple(8 * side for side in latents[0].shape[2:]), np.float32)


@pytest.fixture(name="black")
def fixture_black(options):
    return Black(network_of(shapes_of(options())))


def there_is(monkeypatch, size):
    monkeypatch.setattr(src.memory, "available_memory", lambda target, number: size)


def warned(model, lr, **settings):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.sample(lr, **settings)
    return [str(warning.message) for warning in caught]


def test_what_is_too_little_to_sample(black, monkeypatch):
    """It is said before the first decoding, once for all that takes no more."""
    there_is(monkeypatch, 2e9)
    lr = np.zeros((200, 100, 3), np.uint8)
    assert warned(black, lr[:32, :32]) == []
    assert warned(black, lr, tile=64) == []
    (problem,) = warned(black, lr, n=2)
    assert problem.startswith("memory: 2 samples of 200x100 LR pixels may need about ")
    assert problem.endswith(
        "2.0 GB are available; what helps: tile=96 (eval.py: --tile 96), a smaller n (--n_samples), the image reduced "
        "first"
    )
    assert warned(black, lr, n=2) == warned(black, lr) == []
    assert len(warned(black, lr, n=2, batch=2)) == 1


@pytest.mark.parametrize("there", [1e15, None])
def test_enough_to_sample_or_unknown(black, monkeypatch, there):
    there_is(monkeypatch, there)
    assert warned(black, np.zeros((200, 100, 3), np.uint8), n=2) == []


def test_pictures_are_not_on_the_device(options):
    network = network_of(shapes_of(options()))
    on_cpu, on_gpu = (SamplingMemory(network, 4, True, target) for target in ("CPU", "GPU"))
    arguments = (40, 40), 1, 3, 1, None, 4
    needed = on_gpu.needed(*arguments)
    assert needed["CPU"] == 3 * 3 * 160 * 160 * 12
    assert sum(needed.values()) == on_cpu.needed(*arguments)["CPU"]
    assert SamplingMemory(None, 4).needed(*arguments) == {"CPU": needed["CPU"]}


def test_tiles_need_one_row_of_decoded_pixels():
    """Bytes for each LR pixel, as docs/python.md and docs/evaluation.md have them for large images."""
    pictures = SamplingMemory(None, 4)
    for value_bytes, whole, large in ((1, 432, 240), (4, 576, 384)):
        (size,) = pictures.needed((1000, 500), 1, 2, 1, None, value_bytes).values()
        assert size == 2 * 1000 * 500 * whole
        (size,) = pictures.needed((1000, 500), 1, 2, 1, 96, value_bytes).values()
        assert size == 2 * 500 * (1000 * large + 96 * 192)
        small = (40, 40), 1, 2, 1
        assert pictures.needed(*small, 96, value_bytes) == pictures.needed(*small, None, value_bytes)


class Arguments:
    n_samples, tile = 3, None


def test_an_evaluation_tells_it_before_its_first_image(black, monkeypatch, capsys):
    """On the largest image; sampling then does not say it again."""
    there_is(monkeypatch, 1e9)
    warn_of_memory([(20, 20), (60, 50), (30, 70)], black, Arguments)
    err = capsys.readouterr().err
    assert err.startswith("warning: memory: 3 samples of 60x50 LR pixels may need about ") and err.count("\n") == 1
    assert warned(black, np.zeros((1, 3, 60, 50), np.float32), n=3) == []


def test_eval_tells_it(base, black, tmp_path, monkeypatch, capsys):
    there_is(monkeypatch, 1e9)
    monkeypatch.setattr(eval_program, "load_model", lambda *_: black)
    write_image(tmp_path / "image.png", np.zeros((20, 24, 3), np.uint8))
    config = os.path.join(base, "SRFlow.yml")
    arguments = ["--opt", config, "--ckpt", config, "--lr_dir", tmp_path / "image.png", "--output_dir", tmp_path / "sr"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run("eval", *arguments) == 0
    err = capsys.readouterr().err
    assert err.count("memory: ") == err.count("warning: memory: 1 sample of 20x24 LR pixels may need about ") == 1


# ---------------------------------------------------------------------------------------------------------------------
# What there is


def write(folder, **files):
    os.makedirs(str(folder), exist_ok=True)
    for name, text in files.items():
        with open(os.path.join(str(folder), name.replace("__", ".")), "w") as file:
            file.write(text)


@pytest.fixture(name="kernel")
def fixture_kernel(tmp_path):
    """(proc, cgroups): a machine with 8,000 KiB available, of whose groups nothing is known."""
    write(tmp_path / "proc", meminfo="MemTotal: 16000 kB\nMemFree: 100 kB\nMemAvailable:    8000 kB\n")
    write(tmp_path / "proc" / "self", status="Name:\tpython\nVmRSS:\t   1000 kB\n", cgroup="")
    return str(tmp_path / "proc"), str(tmp_path / "groups")


def test_what_the_machine_has(kernel):
    assert of_machine(*kernel) == (8000 + 1000) * 1024
    assert of_machine("/no/such", "/no/such") is None


@pytest.mark.parametrize(
    "line, folder, names",
    [
        ("0::/box", "box", ("memory__max", "memory__current", "inactive_file")),
        ("0::/elsewhere", "", ("memory__max", "memory__current", "inactive_file")),
        (
            "4:cpu,memory:/box",
            "memory/box",
            ("memory__limit_in_bytes", "memory__usage_in_bytes", "total_inactive_file"),
        ),
        ("0::/slice/inner/own", "slice", ("memory__max", "memory__current", "inactive_file")),
        (
            "4:memory:/slurm/job/step",
            "memory/slurm/job",
            ("memory__limit_in_bytes", "memory__usage_in_bytes", "total_inactive_file"),
        ),
        ("4:memory:/elsewhere", "memory", ("memory__limit_in_bytes", "memory__usage_in_bytes", "total_inactive_file")),
    ],
)
def test_what_a_group_may_take(kernel, line, folder, names):
    proc, groups = kernel
    write(os.path.join(proc, "self"), cgroup=f"9:pids:/\n{line}\n")
    limit, usage, cache = names
    write(os.path.join(groups, folder), **{limit: "4000000", usage: "3000000", "memory__stat": f"anon 5\n{cache} 70\n"})
    assert of_machine(*kernel) == 1000070 + 1000 * 1024
    write(os.path.join(groups, folder), **{limit: "max"})
    assert of_machine(*kernel) == (8000 + 1000) * 1024


def test_this_machine():
    assert available_memory("CPU") is None or available_memory("CPU") > 1e8
    assert available_memory("Ascend") is None


def test_a_gpu_tells_by_its_drivers_program(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert available_memory("GPU", 0) is None
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\ncase "$1" in --id=5) echo 1000;; --id=1) echo 20;; *) exit 6;; esac\n')
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert available_memory("GPU", 1) == 20 * 2**20 and available_memory("GPU", 0) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert available_memory("GPU", 1) == 1000 * 2**20


@pytest.mark.parametrize(
    "processes, own",
    [("{pid}, 300\n77, 4000", 300), ("77, 4000", 0), ("{pid}, [N/A]", 0), ("No running processes found", 0), ("", 0)],
)
def test_what_this_process_has_of_a_gpu_is_available(tmp_path, monkeypatch, processes, own):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    answer = processes.format(pid=os.getpid())
    program.write_text(
        f'#!/bin/sh\ncase "$2" in *memory.free) echo 1000;; *pid,used_memory) echo "{answer}";; *) exit 6;; esac\n'
    )
    program.chmod(0o755)
    assert available_memory("GPU", 0) == (1000 + own) * 2**20
