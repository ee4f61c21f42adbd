# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration: what is read, and what is refused with which words."""

import copy
import glob
import json
import os
import pickle
import subprocess
import sys
import tracemalloc

import pytest
import yaml

from src.model_utils import options
from src.model_utils.options import (
    OptionsError,
    changes,
    differences,
    load_options,
    network_differences,
    options_from_dict,
    require,
)

MINIMAL = {"scale": 4}


@pytest.fixture
def write(tmp_path):
    """Function that writes a YAML text and returns the file's path."""

    def write_text(text):
        path = tmp_path / "run.yml"
        path.write_text(text)
        return str(path)

    return write_text


def shipped(repo):
    return [os.path.join(repo, "SRFlow_DF2K_4X.yml")] + sorted(glob.glob(os.path.join(repo, "configs", "*.yml")))


def refuse(path, *overrides):
    """The message of the OptionsError, which must be one line."""
    with pytest.raises(OptionsError) as caught:
        load_options(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_shipped_configurations_are_valid(repo):
    assert len(shipped(repo)) >= 3
    for path in shipped(repo):
        load_options(path)


def test_published_run(repo):
    opt = load_options(os.path.join(repo, "SRFlow_DF2K_4X.yml"))
    assert (opt.network_G.flow.K, opt.network_G.flow.L, opt.network_G.nb) == (16, 3, 23)
    assert opt.network_G.flow.stackRRDB.blocks == (1, 8, 15, 22)
    assert opt.network_G.flow.CondAffineSeparatedAndCond.eps == 1e-4
    assert (opt.train.niter, opt.train.lr_G, opt.datasets.train.batch_size) == (200000, 2.5e-4, 12)
    # the three places where the published code differs from its YAML or the paper
    assert opt.datasets.train.add_noise is False
    assert (opt.network_G.train_RRDB, opt.network_G.train_RRDB_delay) == (True, 0.0)
    assert opt.train.beta2 == 0.999


def test_published_run_is_the_schemas_default(repo):
    own = {
        "datasets.train.dataroot",
        "datasets.val.dataroot",
        "path.resume_state",
        "path.train_pretrain_model_G",
        "test_pretrained_model_path",
    }
    assert set(differences(load_options(os.path.join(repo, "SRFlow_DF2K_4X.yml")), options_from_dict(MINIMAL))) == own


def test_defaults_pass_their_own_checks():
    for key in options.all_keys():
        field = options._field(key)
        if field.default is not options.REQUIRED:
            assert options._check_value(field.default, field, key) == field.default
        assert field.help


def test_overrides(write):
    opt = load_options(
        write("scale: 4"),
        [
            "network_G.flow.K=2",
            "heat=0",
            "train.lr_steps_rel=[0.25, 5e-1]",
            "output_dir=2024",
            "path.resume_state=null",
            "train.niter=3",
            "train.niter=4",
        ],
    )
    assert opt.network_G.flow.K == 2
    assert opt.heat == 0.0 and isinstance(opt.heat, float)
    assert opt.train.lr_steps_rel == (0.25, 0.5)
    assert opt.output_dir == "2024"
    assert opt.path.resume_state is None
    assert opt.train.niter == 4


def test_override_into_an_anchored_section_changes_that_section_only(write):
    path = write("scale: 4\ndatasets:\n  train: &data {dataroot: a}\n  val: *data\n")
    opt = load_options(path, ["datasets.val.dataroot=b"])
    assert (opt.datasets.train.dataroot, opt.datasets.val.dataroot) == ("a", "b")


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001"])
def test_floats_as_people_write_them(write, text):
    assert load_options(write(f"scale: 4\ntrain: {{lr_G: {text}}}")).train.lr_G == 1e-4


@pytest.mark.parametrize(
    "override, expected",
    [
        ("train.lrG=1", "train.lrG: unknown key; did you mean train.lr_G?"),
        ("lr_G=1", "lr_G: unknown key; did you mean train.lr_G?"),
        ("xyzzy=1", "xyzzy: unknown key"),
        ("train.lr_G.x=1", "train.lr_G.x: unknown key"),
        ("heat=-1", "heat: expected a number >= 0, got -1"),
        ("heat=.nan", "heat: expected a number >= 0, got nan"),
        ("heat=.inf", "heat: expected a number >= 0, got inf"),
        ("heat=hot", "heat: expected a number >= 0, got 'hot'"),
        ("heat=", "heat: expected a number >= 0, got null"),
        ("scale=16", "scale: expected one of 4, 8, got 16"),
        ("scale=4.0", "scale: expected one of 4, 8, got 4.0"),
        ("device_target=gpu", "device_target: expected one of GPU, CPU, Ascend, got 'gpu'; did you mean GPU?"),
        ("network_G.flow.K=true", "network_G.flow.K: expected an integer >= 1 and <= 128, got True"),
        ("network_G.flow.K=0", "network_G.flow.K: expected an integer >= 1 and <= 128, got 0"),
        ("network_G.flow.fea_up0=false", "network_G.flow.fea_up0: expected true, got False"),
        ("network_G.in_nc=1", "network_G.in_nc: expected 3, got 1"),
        ("enable_modelarts=1", "enable_modelarts: expected true or false, got 1"),
        ("train.beta2=1", "train.beta2: expected a number >= 0 and < 1, got 1"),
        ("train.lr_G=0", "train.lr_G: expected a number > 0, got 0"),
        ("train.lr_G=[", "not valid YAML"),
        ("train.lr_steps_rel=0.5", "train.lr_steps_rel: expected a list of numbers > 0 and < 1, got 0.5"),
        ("train.lr_steps_rel=[0.5, 1]", "train.lr_steps_rel: expected a list of numbers > 0 and < 1, got [0.5, 1]"),
        ("train.accumulate=0", "train.accumulate: expected an integer >= 1, got 0"),
        ("train.accumulate=1.5", "train.accumulate: expected an integer >= 1, got 1.5"),
        ("train.grad_clip_norm=0", "train.grad_clip_norm: expected a number > 0 or null, got 0"),
        ("train=1", "train is a section; set one of its keys, such as train.manual_seed"),
        ("train.niter", "expected dotted.key=value"),
        ("=1", "expected dotted.key=value"),
        ("output_dir=''", "output_dir: expected a string that is not empty"),
        # conditions between keys
        ("network_G.flow.L=4", "network_G.flow.L: expected 3 for scale 4, got 4"),
        ("scale=8", "network_G.flow.L: expected 4 for scale 8, got 3"),
        ("datasets.train.HR_size=100", "datasets.train.HR_size: expected a multiple of 2 * scale = 8, got 100"),
        (
            "network_G.nb=22",
            "network_G.flow.stackRRDB.blocks: expected ascending numbers from 0 to network_G.nb - 1 = 21",
        ),
        ("network_G.flow.stackRRDB.blocks=[1, 1]", "expected ascending numbers"),
        ("network_G.flow.stackRRDB.blocks=[8, 1]", "expected ascending numbers"),
        ("network_G.flow.stackRRDB.blocks=[]", "at least one, got []"),
        ("train.lr_steps_rel=[0.5, 0.5]", "train.lr_steps_rel: expected ascending fractions, got [0.5, 0.5]"),
        ("train.val_heats=[]", "train.val_heats: expected at least one temperature"),
        ("network_G.flow.K=1000000", "network_G.flow.K: expected an integer >= 1 and <= 128, got 1000000"),
        ("network_G.nb=10000000", "network_G.nb: expected an integer >= 1 and <= 256, got 10000000"),
        ("network_G.nf=20000", "network_G: expected a network of at most 1e+09 parameters, got one of 2.72e+11 (nf "),
        ("train.niter=1" + "0" * 30, "train.niter: expected an integer >= 1, got 1000"),
        ("train.niter=0x" + "f" * 300, "train.niter: expected an integer >= 1, got an integer of more than 80 digits"),
        ("train.niter=" + "9" * 300, "train.niter: expected an integer >= 1, got an integer of more than 80 digits"),
        ("train.niter=" + "[" * 1000, "not valid YAML"),
        ("train.niter=" + "#" * 100000, "larger than 32 kB"),
        ("train.lr_G=1" + ":1" * 300 + ".5", "not valid YAML"),
        ("train.niter=!!bool maybe", "not valid YAML"),
        ("train.niter=!!timestamp x", "not valid YAML"),
        ("train.niter=!!int ''", "not valid YAML"),
        ('output_dir="a\\0b"', "output_dir: expected a string, got 'a\\x00b'"),
        ("train.warmup_iter=200000", "train.warmup_iter: expected less than train.niter = 200000, got 200000"),
    ],
)
def test_impossible_overrides(write, override, expected):
    assert expected in refuse(write("scale: 4"), override)


def test_delay_of_an_encoder_that_is_never_trained(write):
    message = refuse(write("scale: 4"), "network_G.train_RRDB=false", "network_G.train_RRDB_delay=0.5")
    assert "network_G.train_RRDB_delay: expected 0" in message and "train_RRDB: true" in message


@pytest.mark.parametrize(
    "overrides, reason",
    [
        (["model=RRDB", "path.train_pretrain_model_G=a.pth"], "model RRDB has no flow"),
        ([], "path.train_pretrain_model_G names no checkpoint"),
    ],
)
def test_a_flow_to_begin_with_that_is_not_there(write, overrides, reason):
    message = refuse(write("scale: 4"), "path.train_pretrain_flow=true", *overrides)
    assert f"path.train_pretrain_flow: expected false, as {reason}, got true" in message


def test_lowest_rate_above_the_first(write):
    overrides = ["train.lr_scheme=CosineAnnealingLR_Restart", "train.eta_min=1"]
    assert "train.eta_min: expected at most train.lr_G" in refuse(write("scale: 4"), *overrides)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "the file is empty"),
        ("just text", "expected a mapping of options, got 'just text'"),
        ("[1, 2]", "expected a mapping of options, got [1, 2]"),
        ("model: SRFlow", "scale: missing; expected one of 4, 8"),
        ("scale: 4\nheat: 0.9\nheat: 0.8", "line 3: the key 'heat' is there twice"),
        ("scale: 4\ntrain:\n  niter: 5\n  niter: 6", "line 4: the key 'niter' is there twice"),
        ("scale: 4\ntrain: {niter: 5", "not valid YAML: line 2"),
        ("scale: 4\n\tx: 1", "not valid YAML: line 2"),
        ("scale: 4\nheat: !!python/object/apply:os.system [echo]", "not valid YAML: line 2"),
        ("scale: 4\nheat: 2020-13-45", "not valid YAML"),
        ("scale: 4\n[a, b]: 1", "not valid YAML: line 2"),
        ("scale: 4\n? [a, b]\n: 1", "not valid YAML"),
        ("scale: 4\n1: 2", "1: unknown key"),
        ("scale: 4\ntrain: 7", "train: expected a section with keys such as manual_seed, lr_G, weight_decay_G, got 7"),
        ("scale: 4\noutput_dir: 2024", "output_dir: expected a string, got 2024; put it in quotes"),
        (
            "scale: 4\nnetwork_G: {flow: {fea_up-1: true}}",
            "network_G.flow.fea_up-1: unknown key; did you mean network_G.flow.fea_up0?",
        ),
        ("scale: 4\ntrain: &a {niter: *a}", "train.niter: expected an integer"),
    ],
)
def test_impossible_files(write, text, expected):
    message = refuse(write(text))
    assert "run.yml: " in message
    assert expected in message


def test_override_below_a_section_that_is_none(write):
    assert "train: expected a section" in refuse(write("scale: 4\ntrain: 7"), "train.niter=5")


def test_unreadable_files(tmp_path):
    assert "does not exist" in refuse(str(tmp_path / "none.yml"))
    assert "cannot be read" in refuse(str(tmp_path))
    binary = tmp_path / "binary.yml"
    binary.write_bytes(bytes(range(256)))
    assert "not valid YAML" in refuse(str(binary))
    deep = tmp_path / "deep.yml"
    deep.write_text("[" * 1000)
    assert "not valid YAML: line 1: nested more than 50 deep" in refuse(str(deep))
    deep.write_text("scale: 4\nheat: " + "[" * 10000 + "]" * 10000)  # in a minute or two it was read
    assert "not valid YAML: line 2: nested more than 50 deep" in refuse(str(deep))
    large = tmp_path / "large.yml"
    large.write_text("scale: 4\n" + "# a comment\n" * 4000)
    assert "larger than 32 kB" in refuse(str(large))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_and_a_device(tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert "no regular file" in refuse(str(path))


def multiplied(first, line, levels=10, copies=9):
    """YAML lines of which each takes the one before it several times."""
    lines = ["a0: &a0 " + first]
    for i in range(1, levels):
        lines.append(line.format(i=i, before=", ".join([f"*a{i - 1}"] * copies)))
    return "\n".join(lines)


MULTIPLYING = {
    "merges": (multiplied("{x: 1, y: 2}", "a{i}: &a{i} {{<<: [{before}], z: 1}}"), "line 4: mappings that << merges"),
    "aliases": (multiplied("[1, 2]", "a{i}: &a{i} [{before}]") + "\nscale: *a9", "a0: unknown key"),
    "a value of aliases": (
        "scale: 4\nheat: [&a0 [1, 2]"
        + "".join(f", &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))
        + "]",
        "heat: expected a number >= 0, got [[1, 2], [[",
    ),
    "a chain": ("scale: &a0 [1]\n" + "\n".join(f"h{i}: &a{i} [*a{i - 1}]" for i in range(1, 1200)), "h1: unknown key"),
    "a list in itself": ("scale: &a [*a]", "scale: expected one of 4, 8, got [[[[...]]]]"),
    "a mapping in itself": ("a: &a {<<: *a}", "a: unknown key"),
    "a long number": ("? 0x" + "f" * 30000 + "\n: 1", "an integer of more than 80 digits: unknown key"),
    "a long key": ("? " + "k" * 30000 + "\n: 1", "kkk...: unknown key"),
    "a long tag": ("scale: !" + "x" * 30000 + " 1", "could not determine a constructor"),
    "a long alias": ("scale: *" + "x" * 30000, "undefined alias"),
}


@pytest.mark.parametrize("name", sorted(MULTIPLYING))
def test_text_that_multiplies(write, name):
    """A few bytes may be gigabytes once they are read, or printed."""
    text, expected = MULTIPLYING[name]
    path = write(text)
    tracemalloc.start()
    message = refuse(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert expected in message and len(message) < len(path) + 300
    assert peak < 3e7


def test_merged_mappings_are_read(write):
    opt = load_options(write("scale: 4\ndatasets:\n  train: &data {dataroot: a}\n  val: {<<: *data, limit: 3}\n"))
    assert (opt.datasets.val.dataroot, opt.datasets.val.limit) == ("a", 3)


def test_sections_may_be_left_empty(write):
    assert load_options(write("scale: 4\ntrain:\npath:\n")) == options_from_dict(MINIMAL)


def test_scale_8():
    flow = {"L": 4, "stackRRDB": {"blocks": [1, 3, 5, 7]}}
    opt = options_from_dict({"scale": 8, "network_G": {"nb": 8, "flow": flow}})
    assert opt.network_G.flow.L == 4


def test_rrdb_needs_no_flow():
    opt = options_from_dict({"model": "RRDB", "scale": 8, "network_G": {"nb": 4}})
    assert opt.network_G.flow is None
    assert options_from_dict(opt.to_dict()) == opt
    assert options_from_dict({"model": "RRDB", "scale": 4, "network_G": {"flow": {"K": 2}}}).network_G.flow.K == 2
    with pytest.raises(OptionsError, match="network_G.flow.L: expected 4 for scale 8, got 3"):
        options_from_dict({"model": "RRDB", "scale": 8, "network_G": {"flow": {"K": 2}}})


def test_options_are_immutable():
    opt = options_from_dict(MINIMAL)
    with pytest.raises(AttributeError, match="read-only"):
        opt.heat = 1.0
    with pytest.raises(AttributeError, match="read-only"):
        del opt.heat
    with pytest.raises(AttributeError, match="no 'lr' here; there are manual_seed"):
        getattr(opt.train, "lr")  # noqa: B009  # as a statement it would look useless
    opt.to_dict()["train"]["lr_steps_rel"].append(2)
    assert opt == options_from_dict(MINIMAL)
    assert "network_G" in dir(opt)


def test_round_trips(repo):
    for path in shipped(repo):
        opt = load_options(path)
        assert options_from_dict(opt.to_dict()) == opt
        assert options_from_dict(json.loads(json.dumps(opt.to_dict()))) == opt
        assert options_from_dict(yaml.safe_load(yaml.safe_dump(opt.to_dict()))) == opt
        assert pickle.loads(pickle.dumps(opt)) == opt == copy.deepcopy(opt)
        assert hash(pickle.loads(pickle.dumps(opt))) == hash(opt)


def test_options_from_dict_leaves_its_argument_alone():
    values = {"scale": 4, "train": None, "network_G": {"flow": {"K": 2}}}
    before = copy.deepcopy(values)
    options_from_dict(values)
    assert values == before


def test_options_from_dict_names_its_source():
    with pytest.raises(OptionsError, match="^a.ckpt: network_G.nB: unknown key; did you mean network_G.nb"):
        options_from_dict({"scale": 4, "network_G": {"nB": 4}}, source="a.ckpt")
    with pytest.raises(OptionsError, match="expected a mapping"):
        options_from_dict(None)


def test_differences():
    first = options_from_dict(MINIMAL)
    second = options_from_dict({"scale": 4, "heat": 0.5, "network_G": {"flow": {"K": 2}}})
    assert differences(first, first) == []
    assert differences(first, second) == ["heat", "network_G.flow.K"]
    without_flow = options_from_dict({"scale": 4, "model": "RRDB"})
    assert "network_G.flow.K" in differences(first, without_flow)


def test_require():
    opt = options_from_dict({"scale": 4, "datasets": {"train": {"dataroot": ""}, "val": {"dataroot": "x"}}})
    require(opt, "datasets.val.dataroot", "scale")
    with pytest.raises(OptionsError, match="^datasets.train.dataroot: expected a string, got nothing"):
        require(opt, "datasets.val.dataroot", "datasets.train.dataroot")


def test_page_of_all_keys(repo):
    """docs/configuration.md is what `python -m src.model_utils.options` prints; write it anew after a change."""
    page = subprocess.run(
        [sys.executable, "-m", "src.model_utils.options"], cwd=repo, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    assert sorted(row.split("`")[1] for row in rows) == sorted(options.all_keys())
    assert all(row.count("|") == 6 for row in rows)
    assert "| `scale` | integer | required | `4`, `8` | super-resolution factor |" in rows
    assert "| `train.beta1` | number | `0.9` | >= 0, < 1 | Adam's first decay rate |" in rows
    with open(os.path.join(repo, "docs", "configuration.md"), encoding="utf-8") as file:
        assert file.read() == page


def test_an_unknown_key_of_any_characters_is_shown_in_one_line(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text("scale: 4\n")
    for key in ("train.l\x0b\u2028r", "x" * 5000):
        line = refuse(str(path), f"{key}=1")
        assert "unknown key" in line and line.isprintable() and len(line) < 500


def test_differences_that_make_another_network():
    first = options_from_dict({"scale": 4, "heat": 0.5})
    second = options_from_dict(
        {"scale": 4, "heat": 0.8, "network_G": {"nf": 32, "train_RRDB": False, "flow": {"K": 8}}}
    )
    other = options_from_dict({"scale": 4, "model": "RRDB", "network_G": {"train_RRDB_delay": 0.5}})
    assert network_differences(first, first) == []
    assert network_differences(first, second) == ["network_G.flow.K", "network_G.nf"]
    assert "model" in network_differences(first, other)
    assert not any("train_RRDB" in key for key in network_differences(first, other))
    assert changes(first, second, network_differences(first, second)) == [
        "network_G.flow.K: 16 -> 8",
        "network_G.nf: 64 -> 32",
    ]
    assert changes(first, second) == [
        "heat: 0.5 -> 0.8",
        "network_G.flow.K: 16 -> 8",
        "network_G.nf: 64 -> 32",
        "network_G.train_RRDB: True -> False",
    ]
