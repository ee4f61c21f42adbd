# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The options of a run: one schema, and the only way to read a configuration.

A configuration is a YAML file laid over the defaults of `SCHEMA`, with `dotted.key=value` overrides laid over both.
Everything is checked on the way in, so that the code that reads an option never has to. An unknown key, a wrong type or
an impossible value is an OptionsError that names the key, what was expected and what came.

`python -m src.model_utils.options` prints docs/configuration.md, the page of all keys.
"""

import copy
import difflib
import functools
import math
import operator
import os
import re
import reprlib
import stat
from typing import Any, NamedTuple, Optional, Tuple

import yaml

from src.network_names import shapes_of

# A configuration is small. A large text could take hours to read, and a few bytes could multiply.
MAX_TEXT, MAX_MERGED, MAX_DEPTH = 2**15, 10000, 50  # bytes, keys that `<<` may bring, levels of nesting
MAX_INTEGER = 2**63 - 1
MAX_PARAMETERS = 10**9  # of a network: 4 GB, twenty-five times the published network's


class OptionsError(ValueError):
    """A configuration that cannot be used; the message names the dotted key, what was expected and what came."""


REQUIRED = object()


class Field(NamedTuple):
    """One option: what it means and which values it takes.

    Attributes:
        type: bool, int, float or str.
        default: the value of a key that is left out, or REQUIRED.
        help: what the option means.
        choices: the only values that it takes, or None.
        minimum, maximum: bounds of a number, inclusive; of every element, for lists.
        above, below: the same, exclusive.
        nullable: whether null is a value.
        is_list: whether the value is a list of `type`.
    """

    type: type
    default: Any
    help: str
    choices: Optional[Tuple] = None
    minimum: Optional[float] = None
    maximum: Optional[float] = None
    above: Optional[float] = None
    below: Optional[float] = None
    nullable: bool = False
    is_list: bool = False


SCHEMA = {
    "model": Field(
        str,
        "SRFlow",
        "what is trained: SRFlow, or its encoder RRDB alone by L1 pre-training",
        choices=("SRFlow", "RRDB"),
    ),
    "scale": Field(int, REQUIRED, "super-resolution factor", choices=(4, 8)),
    "heat": Field(float, 0.9, "sampling temperature: the standard deviation of the latents", minimum=0),
    "test_pretrained_model_path": Field(
        str, None, "checkpoint that eval.py reads when --ckpt is not given", nullable=True
    ),
    "output_dir": Field(str, "output", "folder for checkpoints, logs, pictures and metrics"),
    "device_target": Field(str, "GPU", "where MindSpore runs", choices=("GPU", "CPU", "Ascend")),
    "device_id": Field(int, 0, "number of the device", minimum=0),
    "precision": Field(
        str,
        "float32",
        "float16: the RRDB and coupling networks compute in half precision, for GPUs; "
        "log-dets, determinants, weights and their updates stay in float32",
        choices=("float32", "float16"),
    ),
    "implementation": Field(
        str,
        "auto",
        "which code computes the network: plain, its definition in src/model, or cpu, the "
        "same arranged for the CPU, in src/model/cpu; auto: cpu on a CPU, plain elsewhere",
        choices=("auto", "plain", "cpu"),
    ),
    "allow_tf32": Field(
        bool,
        False,
        "NVIDIA GPUs from Ampere on may compute float32 convolutions and matrix products "
        "in TF32: faster, but with ten bits of mantissa decoding no longer inverts encoding",
    ),
    "enable_modelarts": Field(bool, False, "run on ModelArts: copy data in and results out through moxing"),
    "data_url": Field(str, "", "ModelArts: remote folder with the data, copied to data_path"),
    "train_url": Field(str, "", "ModelArts: remote folder for the results, copied from output_path"),
    "checkpoint_url": Field(str, "", "ModelArts: remote folder with checkpoints, copied to load_path"),
    "data_path": Field(str, "/cache/data", "ModelArts: local copy of data_url"),
    "output_path": Field(str, "/cache/train", "ModelArts: local folder of the results"),
    "load_path": Field(str, "/cache/checkpoint_path", "ModelArts: local copy of checkpoint_url"),
    "datasets": {
        "train": {
            "dataroot": Field(str, None, "training MindRecord; train.py needs it", nullable=True),
            "batch_size": Field(
                int, 12, "pairs per step and process, or per slice of a step, see train.accumulate", minimum=1
            ),
            "quant": Field(int, 32, "levels of the dequantisation noise: u / quant, u in [-0.5, 0.5)", minimum=1),
            "HR_size": Field(int, 160, "side of the HR patches in pixels, a multiple of 2 * scale", minimum=1),
            "use_flip": Field(bool, True, "flip HR and LR together, left to right, at random"),
            "add_noise": Field(bool, False, "add the dequantisation noise in training (the published run did not)"),
            "num_workers": Field(int, 2, "parallel workers of the data pipeline", minimum=1),
            "skip_damaged": Field(
                bool,
                False,
                "leave out the records that cannot be read or do not fit, counted and "
                "named, instead of stopping; the whole file is read for that at every start",
            ),
        },
        "val": {
            "dataroot": Field(
                str, None, "validation MindRecord; eval.py needs it unless --lr_dir is given", nullable=True
            ),
            "limit": Field(int, None, "evaluate only the first so many images; null: all", minimum=1, nullable=True),
        },
    },
    "network_G": {
        "in_nc": Field(int, 3, "channels of the LR image", choices=(3,)),
        "out_nc": Field(int, 3, "channels of the HR image", choices=(3,)),
        "nf": Field(int, 64, "feature channels of the RRDB encoder", minimum=1),
        "nb": Field(int, 23, "number of RRDB blocks", minimum=1, maximum=256),
        "gc": Field(int, 32, "growth channels inside an RRDB block", minimum=1),
        "train_RRDB": Field(bool, True, "train the encoder too; false: keep it frozen for the whole run"),
        "train_RRDB_delay": Field(
            float, 0.0, "fraction of niter for which the encoder stays frozen; 0: never", minimum=0, maximum=1
        ),
        "flow": {
            "K": Field(int, 16, "flow steps with coupling per level", minimum=1, maximum=128),
            "L": Field(int, 3, "levels: 3 for scale 4, 4 for scale 8", minimum=1),
            "coupling": Field(
                str, "CondAffineSeparatedAndCond", "kind of coupling", choices=("CondAffineSeparatedAndCond",)
            ),
            "additionalFlowNoAffine": Field(
                int, 2, "flow steps without coupling at the start of each level", minimum=0, maximum=128
            ),
            "split": {
                "enable": Field(bool, True, "split off half of the channels after the earlier levels"),
                "consume_ratio": Field(float, 0.5, "share of the channels that a split takes", choices=(0.5,)),
                "correct_splits": Field(bool, False, "split after every level but the last; false: but the last two"),
            },
            "fea_up0": Field(
                bool, True, "half-resolution encoder features, which the last level reads", choices=(True,)
            ),
            "stackRRDB": {
                "blocks": Field(
                    int, [1, 8, 15, 22], "RRDB blocks whose outputs condition the flow, from 0", minimum=0, is_list=True
                ),
                "concat": Field(bool, True, "append them to each level's own features", choices=(True,)),
            },
            "CondAffineSeparatedAndCond": {
                "hidden_channels": Field(int, 64, "hidden channels of the coupling's nets", minimum=1),
                "eps": Field(float, 0.0001, "added to the coupling's scales", above=0),
            },
        },
    },
    "path": {
        "train_pretrain_model_G": Field(
            str, None, "checkpoint of the pre-trained RRDB encoder; null: none", nullable=True
        ),
        "train_pretrain_flow": Field(
            bool,
            False,
            "take the flow too from that checkpoint, not only the encoder, to train it further; it must be of the same "
            "network, whatever strict_load says",
        ),
        "strict_load": Field(bool, True, "a missing or surplus parameter in that checkpoint is an error"),
        "resume_state": Field(
            str, None, "checkpoint to resume; auto: the newest one in output_dir, if any; null: none", nullable=True
        ),
        "keep_checkpoints": Field(
            int,
            3,
            "how many checkpoints stay in output_dir, the newest ones; best.ckpt, the "
            "one with the best validation, stays beside them",
            minimum=1,
        ),
    },
    "train": {
        "manual_seed": Field(int, 10, "seed of initialisation, shuffling and noise", minimum=0, maximum=2**31 - 1),
        "lr_G": Field(float, 2.5e-4, "learning rate of Adam", above=0),
        "weight_decay_G": Field(float, 0.0, "weight decay of Adam", minimum=0),
        "beta1": Field(float, 0.9, "Adam's first decay rate", minimum=0, below=1),
        "beta2": Field(
            float, 0.999, "Adam's second decay rate (the published run's; its YAML says 0.99)", minimum=0, below=1
        ),
        "lr_scheme": Field(
            str, "MultiStepLR", "course of the learning rate", choices=("MultiStepLR", "CosineAnnealingLR_Restart")
        ),
        "lr_steps_rel": Field(
            float,
            [0.5, 0.75, 0.9, 0.95],
            "MultiStepLR: fractions of niter at which the rate is multiplied by lr_gamma",
            above=0,
            below=1,
            is_list=True,
        ),
        "lr_gamma": Field(float, 0.5, "MultiStepLR: factor at each of lr_steps_rel", above=0, maximum=1),
        "restart_period": Field(int, 50000, "CosineAnnealingLR_Restart: steps between restarts", minimum=1),
        "eta_min": Field(float, 1e-7, "CosineAnnealingLR_Restart: lowest learning rate", minimum=0),
        "warmup_iter": Field(int, 0, "steps in which the rate rises linearly from 0", minimum=0),
        "niter": Field(int, 200000, "training steps", minimum=1),
        "val_freq": Field(int, 40000, "steps between validations", minimum=1),
        "val_heats": Field(
            float, [0.0, 0.5, 0.75, 1.0], "temperatures at which the validation samples", minimum=0, is_list=True
        ),
        "val_images": Field(int, 8, "images per validation", minimum=1),
        "save_checkpoint_freq": Field(int, 1000, "steps between checkpoints", minimum=1),
        "print_freq": Field(int, 100, "steps between rows of the CSV log", minimum=1),
        "accumulate": Field(
            int,
            1,
            "slices of datasets.train.batch_size pairs in a step, computed one after the other; the step updates "
            "once, by the mean gradient of all its pairs: for batches that do not fit into the memory at once",
            minimum=1,
        ),
        "recompute": Field(
            bool,
            False,
            "compute the flow's steps again in the backward pass instead of keeping their results: slower, less memory",
        ),
        "grad_clip_norm": Field(
            float, None, "largest norm of the whole gradient; null: no clipping", above=0, nullable=True
        ),
        "max_bad_steps": Field(int, 10, "so many non-finite steps in a row stop the run", minimum=1),
        "loss_alarm_multiple": Field(
            float,
            1.5,
            "warn when the loss stays above so many times its best; by how much, "
            "where an NLL is below 1: (this - 1) bits or times its size; null: never",
            above=1,
            nullable=True,
        ),
        "loss_alarm_steps": Field(int, 2000, "for so many steps in a row", minimum=1),
    },
}


class Options:
    """Immutable options with attribute access, such as `opt.network_G.flow.K`; `load_options` makes them.

    A section is an Options itself and a list is a tuple. `network_G.flow` is None where model RRDB does without it.
    """

    __slots__ = ("_values",)

    def __init__(self, values):
        object.__setattr__(self, "_values", {key: _freeze(value) for key, value in values.items()})

    def __getattr__(self, name):
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"options have no {name!r} here; there are {', '.join(self._values)}") from None

    def __setattr__(self, name, value):
        raise AttributeError(f"options are read-only; set {name!r} in the YAML or by an override")

    def __delattr__(self, name):
        raise AttributeError(f"options are read-only; {name!r} stays")

    def __dir__(self):
        return ["to_dict"] + list(self._values)

    def __eq__(self, other):
        return self._values == other._values if isinstance(other, Options) else NotImplemented

    def __hash__(self):
        return hash(tuple(self._values.items()))

    def __repr__(self):
        return f"Options({self.to_dict()!r})"

    def __reduce__(self):
        return Options, (self.to_dict(),)

    def to_dict(self):
        """Return a plain nested dict with lists, fit for YAML, JSON and `options_from_dict`."""
        return {key: _thaw(value) for key, value in self._values.items()}


def _freeze(value):
    if isinstance(value, dict):
        return Options(value)
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _thaw(value):
    if isinstance(value, Options):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def load_options(path, overrides=()):
    """Read a YAML file, lay it over the schema's defaults, lay the overrides over both, and check the whole.

    Args:
        path: the YAML file.
        overrides: iterable of `"dotted.key=value"`, the value written as in YAML; a later one wins.

    Returns:
        Options.

    Raises:
        OptionsError: the file is missing, no readable YAML or has a key twice; or a key is unknown, missing, of the
            wrong type or impossible.
    """
    raw = _read_yaml(path)
    for override in overrides:
        _apply_override(raw, override)
    return options_from_dict(raw, source=str(path))


def options_from_dict(values, source="options"):
    """Check a nested dict, such as the one stored in a checkpoint, as `load_options` checks a file.

    Args:
        values: nested dict of options; what it leaves out takes the default. It is not changed.
        source: where it came from, for the error message.

    Returns:
        Options.

    Raises:
        OptionsError: a key is unknown, missing, of the wrong type or impossible.
    """
    try:
        if not isinstance(values, dict):
            raise OptionsError(f"expected a mapping of options, got {_show(values)}")
        # The encoder can be pre-trained without a flow; the defaults of a flow that nobody reads would only mislead.
        network = values.get("network_G")
        without_flow = values.get("model") == "RRDB" and (not isinstance(network, dict) or network.get("flow") is None)
        if without_flow and isinstance(network, dict):
            values = dict(values, network_G={key: value for key, value in network.items() if key != "flow"})
        checked = _check_section(values, SCHEMA, "")
        if without_flow:
            checked["network_G"]["flow"] = None
        _check_together(checked)
        options = Options(checked)
        _check_size(options)
    except OptionsError as error:
        raise OptionsError(f"{source}: {error}") from None
    return options


def require(opt, *keys):
    """Check that options which may be null in general, but not for this purpose, are set.

    Args:
        opt: Options.
        keys: dotted keys, such as `"datasets.train.dataroot"`.

    Raises:
        OptionsError: naming the first key that is null or empty.
    """
    for key in keys:
        value = opt
        for name in key.split("."):
            value = getattr(value, name)
        if value is None or value == "":
            raise OptionsError(
                f"{key}: expected {_expected(_field(key)).replace(' or null', '')}, got nothing; set it "
                f"in the YAML or by --set {key}=..."
            )


def differences(first, second):
    """Return the dotted keys, sorted, whose values differ between two Options.

    A key that only one of them has differs.
    """
    first, second = _flatten(first.to_dict()), _flatten(second.to_dict())
    missing = object()
    return sorted(key for key in set(first) | set(second) if first.get(key, missing) != second.get(key, missing))


# The keys of network_G that begin so say whether and when the encoder is trained. They are no part of the network.
_TRAINING_OF_ENCODER = "train_RRDB"


def network_differences(first, second):
    """Return those of the differences that make another network, so that weights of the one are none of the other.

    Whether and when the encoder is trained is no part of the network.
    """
    return [
        key
        for key in differences(first, second)
        if key.split(".")[0] in ("model", "scale", "network_G")
        and not key.startswith("network_G." + _TRAINING_OF_ENCODER)
    ]


def network_settings(opt):
    """Return the options that say which network weights are of, its heat, and the quantisation that its likelihood has.

    Args:
        opt: Options.

    Returns:
        a nested dict, fit for JSON and `options_from_dict`. It has nothing of data, places and training besides.
    """
    network = opt.network_G.to_dict()
    return {
        "model": opt.model,
        "scale": opt.scale,
        "heat": opt.heat,
        "network_G": {key: value for key, value in network.items() if not key.startswith(_TRAINING_OF_ENCODER)},
        "datasets": {"train": {"quant": opt.datasets.train.quant}},
    }


def changes(first, second, keys=None):
    """Return the differences of two Options as lines `key: value in first -> value in second`.

    Where a key is absent the line says "nothing".

    Args:
        first, second: Options.
        keys: the dotted keys to tell; None: all that differ.
    """
    before, after = (_flatten(options.to_dict()) for options in (first, second))

    def shown(side, key):
        return _show(side[key]) if key in side else "nothing"

    return [
        f"{key}: {shown(before, key)} -> {shown(after, key)}"
        for key in (differences(first, second) if keys is None else keys)
    ]


def all_keys():
    """Return every dotted key of the schema, in its order."""
    return list(_flatten(SCHEMA))


def flattened(opt):
    """Return the values of Options by dotted key; a section that is None has its own key and none below it."""
    return _flatten(opt.to_dict())


# ---------------------------------------------------------------------------------------------------------------------
# Reading


# What loading raises at text that is no YAML: its own errors, and those of scalars such as 2020-13-45 and !!bool maybe.
_NOT_YAML = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError, RecursionError)


class _UniqueKeyLoader(yaml.SafeLoader):
    """The safe loader, with bounds.

    A key that stands twice in one mapping is an error; otherwise the last one would win. Mappings merged by `<<`, each
    into several, cannot multiply without end. Nor can nesting grow without end.
    """

    merged = depth = 0

    def compose_node(self, parent, index):
        if self.depth == MAX_DEPTH:  # the time that scanning takes grows with its square
            raise yaml.composer.ComposerError(
                problem=f"nested more than {MAX_DEPTH} deep", problem_mark=self.peek_event().start_mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node):
        super().flatten_mapping(node)  # it calls this for each merged mapping before copying its keys
        self.merged += len(node.value)
        if self.merged > MAX_MERGED:
            raise OptionsError(
                f"line {node.start_mark.line + 1}: mappings that << merges multiply to more than "
                f"{MAX_MERGED} keys; write them out"
            )

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # no key of ours; the safe loader or the schema refuses it
            if key_node.value in seen:
                raise OptionsError(
                    f"line {key_node.start_mark.line + 1}: the key {_show(key_node.value)} is there twice"
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def _read_yaml(path):
    try:
        values = _load_yaml(_read_small(path))
    except FileNotFoundError:
        raise OptionsError(f"configuration file {path} does not exist") from None
    except OSError as error:
        raise OptionsError(f"configuration file {path} cannot be read: {error.strerror}") from None
    except OptionsError as error:
        raise OptionsError(f"{path}: {error}") from None
    except _NOT_YAML as error:
        raise OptionsError(f"{path}: not valid YAML: {_yaml_problem(error)}") from None
    if values is None:
        raise OptionsError(f"{path}: the file is empty")
    if not isinstance(values, dict):
        raise OptionsError(f"{path}: expected a mapping of options, got {_show(values)}")
    return values


def _read_small(path):
    """Read a configuration file, or only the beginning of one that is too large."""
    if not stat.S_ISREG(os.stat(str(path)).st_mode) and not os.path.isdir(str(path)):
        raise OptionsError("no regular file, but a pipe or a device; give a YAML file")
    with open(str(path), "rb") as file:
        return file.read(MAX_TEXT + 1)


def _load_yaml(text):
    """Return what a YAML text says.

    Raises:
        OptionsError: the text is too large, or the loader refuses it.
        Exception: one of `_NOT_YAML`, where it is no YAML.
    """
    if len(text) > MAX_TEXT:
        raise OptionsError(f"larger than {MAX_TEXT // 1024} kB, which no configuration is")
    return yaml.load(text, Loader=_UniqueKeyLoader)  # a SafeLoader


def _yaml_problem(error):
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark else ""
    return place + " ".join(str(getattr(error, "problem", None) or error)[:200].split())


def _apply_override(values, override):
    """Set one `dotted.key=value` in a nested dict, in place."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise OptionsError(f"override {_show(override)}: expected dotted.key=value")
    field = _field(key)
    if field is None:
        raise OptionsError(f"override {_show(override)}: {_unknown(key)}")
    if isinstance(field, dict):
        raise OptionsError(
            f"override {_show(override)}: {key} is a section; set one of its keys, such as {key}.{next(iter(field))}"
        )
    value = _parse_override(text, field, key)
    try:
        _check_value(value, field, key)
    except OptionsError as error:
        raise OptionsError(f"override {_show(override)}: {error}") from None
    names = key.split(".")
    for name in names[:-1]:
        section = values.get(name)
        if section is not None and not isinstance(section, dict):
            return  # the file has a value in the section's place: the check of the whole reports it
        values[name] = dict(section or {})  # a copy, as YAML anchors may share one mapping between sections
        values = values[name]
    values[names[-1]] = value


def _parse_override(text, field, key):
    try:
        value = _load_yaml(text)
    except OptionsError as error:
        raise OptionsError(f"override {_show(key + '=' + text)}: {error}") from None
    except _NOT_YAML as error:
        if field.type is not str:
            raise OptionsError(f"override {_show(key + '=' + text)}: not valid YAML: {_yaml_problem(error)}") from None
        value = text
    if field.type is str and not isinstance(value, str) and value is not None:
        value = text  # a path such as 2024 or a:b is text, whatever YAML would make of it
    return value


# ---------------------------------------------------------------------------------------------------------------------
# Checking


def _check_section(values, schema, prefix):
    """Return a checked copy of one section, with every default filled in; `values` stays as it is."""
    if values is None:  # "train:" with nothing below it
        values = {}
    if not isinstance(values, dict):
        raise OptionsError(
            f"{prefix.rstrip('.')}: expected a section with keys such as {', '.join(list(schema)[:3])}, "
            f"got {_show(values)}"
        )
    for name in values:
        if name not in schema:
            raise OptionsError(_unknown(prefix + (name if isinstance(name, str) else _show(name))))
    checked = {}
    for name, entry in schema.items():
        key = prefix + name
        if isinstance(entry, dict):
            checked[name] = _check_section(values.get(name), entry, key + ".")
        elif name in values:
            checked[name] = _check_value(values[name], entry, key)
        elif entry.default is REQUIRED:
            raise OptionsError(f"{key}: missing; expected {_expected(entry)} ({entry.help})")
        else:
            checked[name] = copy.copy(entry.default)
    return checked


def _check_value(value, field, key):
    if value is None and field.nullable:
        return None
    if field.is_list:
        if not isinstance(value, (list, tuple)):
            raise OptionsError(_wrong(key, field, value))
        return [_check_scalar(element, field, key, value) for element in value]
    if value == "" and field.type is str and field.default != "":  # an empty path is none
        if field.nullable:
            return None
        raise OptionsError(f"{key}: expected a string that is not empty")
    return _check_scalar(value, field, key, value)


def _check_scalar(element, field, key, whole):
    """Convert one value, or one element of the list `whole`, to the field's type."""
    element = _convert(element, field.type)
    if element is None or not _in_range(element, field):
        raise OptionsError(_wrong(key, field, whole))
    return element


# PyYAML follows YAML 1.1, where 1e-4 has no dot and so is a string; everybody means the number.
_EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")


def _convert(value, wanted):
    """Return the value as the wanted type, or None if it is of another; only int -> float and 1e-4 are converted."""
    if wanted is float:
        if isinstance(value, str) and _EXPONENT.fullmatch(value):
            value = float(value)
        if isinstance(value, int) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError:
                return None
        return value if isinstance(value, float) and math.isfinite(value) else None
    if type(value) is not wanted:  # exact: True is no int
        return None
    possible = "\0" not in value if wanted is str else wanted is not int or abs(value) <= MAX_INTEGER
    return value if possible else None


def _in_range(value, field):
    if field.choices is not None:
        return value in field.choices
    return (
        (field.minimum is None or value >= field.minimum)
        and (field.maximum is None or value <= field.maximum)
        and (field.above is None or value > field.above)
        and (field.below is None or value < field.below)
    )


def _check_together(values):
    """Check conditions between keys."""
    network, train = values["network_G"], values["train"]
    scale, flow, hr_size = values["scale"], network["flow"], values["datasets"]["train"]["HR_size"]
    if hr_size % (2 * scale):
        raise OptionsError(f"datasets.train.HR_size: expected a multiple of 2 * scale = {2 * scale}, got {hr_size}")
    if network["train_RRDB_delay"] and not network["train_RRDB"]:
        raise OptionsError(
            "network_G.train_RRDB_delay: expected 0 as network_G.train_RRDB is false (never trained), "
            f"got {network['train_RRDB_delay']}; frozen first and trained then is train_RRDB: true with "
            "this delay"
        )
    if flow is not None:
        _check_flow(flow, scale, network["nb"])
    if values["path"]["train_pretrain_flow"]:
        _check_pretrained_flow(values)
    steps = train["lr_steps_rel"]
    if any(later <= earlier for earlier, later in zip(steps, steps[1:])):
        raise OptionsError(f"train.lr_steps_rel: expected ascending fractions, got {_show(steps)}")
    if not train["val_heats"]:
        raise OptionsError("train.val_heats: expected at least one temperature, got []")
    if train["warmup_iter"] >= train["niter"]:
        raise OptionsError(
            f"train.warmup_iter: expected less than train.niter = {train['niter']}, got {train['warmup_iter']}"
        )
    if train["lr_scheme"] == "CosineAnnealingLR_Restart" and train["eta_min"] > train["lr_G"]:
        raise OptionsError(f"train.eta_min: expected at most train.lr_G = {train['lr_G']}, got {train['eta_min']}")


def _check_flow(flow, scale, nb):
    levels = {4: 3, 8: 4}[scale]  # 2 ** levels = 2 * scale: the last level works at half the LR resolution
    if flow["L"] != levels:
        raise OptionsError(f"network_G.flow.L: expected {levels} for scale {scale}, got {flow['L']}")
    blocks = flow["stackRRDB"]["blocks"]
    if not blocks or sorted(set(blocks)) != list(blocks) or max(blocks) >= nb:
        raise OptionsError(
            "network_G.flow.stackRRDB.blocks: expected ascending numbers from 0 to network_G.nb - 1 = "
            f"{nb - 1}, at least one, got {_show(blocks)}"
        )


def _check_pretrained_flow(values):
    for reason, is_so in (
        ("model RRDB has no flow", values["model"] == "RRDB"),
        ("path.train_pretrain_model_G names no checkpoint", values["path"]["train_pretrain_model_G"] is None),
    ):
        if is_so:
            raise OptionsError(f"path.train_pretrain_flow: expected false, as {reason}, got true")


def _check_size(options):
    """Refuse a network that no memory holds, before somebody builds it."""
    network = options.network_G
    count = sum(functools.reduce(operator.mul, shape) for shape in shapes_of(options).values())
    if count > MAX_PARAMETERS:
        sizes = f"nf {network.nf}, nb {network.nb}, gc {network.gc}"
        if network.flow is not None:
            sizes += f", K {network.flow.K}, hidden_channels {network.flow.CondAffineSeparatedAndCond.hidden_channels}"
        raise OptionsError(
            f"network_G: expected a network of at most {MAX_PARAMETERS:.3g} parameters, got one of "
            f"{count:.3g} ({sizes})"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Wording

MAX_SHOWN = 80  # characters of a value in a message


class _ShortRepr(reprlib.Repr):
    """A repr of bounded length: values may be huge, or hold others many times."""

    def __init__(self):
        super().__init__()
        self.maxlevel = 3
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = MAX_SHOWN // 3
        self.maxstring = self.maxother = 2 * MAX_SHOWN

    def repr_int(self, number, _):
        """Show an integer, even one with a million digits, in bounded length."""
        return repr(number) if abs(number) < 10**MAX_SHOWN else f"an integer of more than {MAX_SHOWN} digits"


_short_repr = _ShortRepr()


def _field(key):
    """Return the schema's entry of a dotted key: a Field, a dict for a section, or None."""
    entry = SCHEMA
    for name in key.split("."):
        entry = entry.get(name) if isinstance(entry, dict) else None
    return entry


def _flatten(values, prefix=""):
    flat = {}
    for name, value in values.items():
        flat.update(_flatten(value, prefix + name + ".") if isinstance(value, dict) else {prefix + name: value})
    return flat


def _show(value):
    return _cut(" ".join(_short_repr.repr(value).split()))


def _cut(text):
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _wrong(key, field, value):
    hint = ""
    if field.choices is not None and isinstance(value, str):
        same = [choice for choice in field.choices if str(choice).lower() == value.lower()]
        close = same or difflib.get_close_matches(value, [str(choice) for choice in field.choices], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
    elif field.type is str and not field.is_list and isinstance(value, (int, float)):
        hint = "; put it in quotes"
    shown = "null" if value is None else _show(value)
    return f"{key}: expected {_expected(field)}, got {shown}{hint}"


def _unknown(key):
    """Return the message for a key that the schema lacks, with the nearest one that it has."""
    keys, key = all_keys(), _cut(key)
    leaf = key.rpartition(".")[2].lower()
    same_leaf = [known for known in keys if known.rpartition(".")[2].lower() == leaf]
    by_lower = {known.lower(): known for known in keys}
    close = difflib.get_close_matches(key.lower(), by_lower, n=1, cutoff=0.6)
    found = difflib.get_close_matches(key, same_leaf, n=1, cutoff=0.0) or [by_lower[name] for name in close]
    shown = key if key.isprintable() else _show(key)
    return f"{shown}: unknown key{f'; did you mean {found[0]}?' if found else ''}"


def _expected(field):
    """Say what a field takes: `a number >= 0`, `one of GPU, CPU, Ascend`, `a list of ...`."""
    if field.choices is not None:
        names = _choices(field)
        text = names[0] if len(names) == 1 else "one of " + ", ".join(names)
    else:
        text = " ".join(filter(None, (_noun(field), " and ".join(_bounds(field)))))
    return text + (" or null" if field.nullable else "")


def _noun(field):
    if field.is_list:
        return {int: "a list of integers", float: "a list of numbers", str: "a list of strings"}[field.type]
    return {bool: "true or false", int: "an integer", float: "a number", str: "a string"}[field.type]


def _choices(field):
    return [_yaml_word(choice) for choice in field.choices]


def _bounds(field):
    return [
        sign + " " + _yaml_word(bound)
        for sign, bound in ((">=", field.minimum), (">", field.above), ("<=", field.maximum), ("<", field.below))
        if bound is not None
    ]


def _yaml_word(value):
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


# ---------------------------------------------------------------------------------------------------------------------
# The page of all options

_PAGE_HEAD = """# Script parameters: the configuration

To change options, without writing to a file:

```bash
python train.py --opt SRFlow_DF2K_4X.yml --set train.niter=100000 datasets.train.batch_size=4
```

To run with a configuration of your own, copy the nearest one and name it by `--opt`:

| configuration | what |
|---|---|
| [SRFlow_DF2K_4X.yml](../SRFlow_DF2K_4X.yml) | the published 4X network |
| [configs/SRFlow_DF2K_8X.yml](../configs/SRFlow_DF2K_8X.yml) | the published 8X network |
| [configs/SRFlow_CelebA_8X.yml](../configs/SRFlow_CelebA_8X.yml) | the published 8X network of faces |
| [configs/RRDB_DF2K_4X.yml](../configs/RRDB_DF2K_4X.yml) | pre-training of the 4X encoder |
| [configs/RRDB_DF2K_8X.yml](../configs/RRDB_DF2K_8X.yml) | pre-training of the 8X encoder |
| [configs/SRFlow_free_4X.yml](../configs/SRFlow_free_4X.yml) | the shipped weights |
| [configs/RRDB_quickstart_4X.yml](../configs/RRDB_quickstart_4X.yml) | the quick start's encoder |
| [configs/SRFlow_quickstart_4X.yml](../configs/SRFlow_quickstart_4X.yml) | the quick start's network |

What a YAML leaves out takes its default. The defaults are those of the published 4X run, but for its paths. An unknown
key, a wrong type or an impossible value, in the YAML or in `--set`, is an error that names the key. Errors that a user
can mend are one line on stderr and exit status 2; `SRFLOW_TRACEBACK=1` in the environment shows the traceback too.

The programs have flags besides: [train.py](training.md#command-line), [eval.py](evaluation.md#command-line),
[train2test.py](checkpoints.md), [prepare](data.md#prepare). Where keys of the published code do not mean what its YAML
says: [training.md](training.md#published-code-yaml-and-paper).

This page is written by `python -m src.model_utils.options`."""


def markdown_page():
    """Return docs/configuration.md: all options with type, default, range and meaning, a table for each section."""
    sections = {}
    for key, field in _flatten(SCHEMA).items():
        sections.setdefault(key.rpartition(".")[0], []).append(_row(key, field))
    heads = ["| key | type | default | range | meaning |", "|---|---|---|---|---|"]
    tables = ["\n".join([f"## {name or 'The run'}", "", *heads, *rows]) for name, rows in sections.items()]
    return "\n\n".join([_PAGE_HEAD, *tables])


def _row(key, field):
    kind = re.sub("^an? ", "", _noun(field)) + (" or null" if field.nullable else "")
    default = "required" if field.default is REQUIRED else f"`{_yaml_word(field.default)}`"
    values = (
        ", ".join(f"`{name}`" for name in _choices(field)) if field.choices is not None else ", ".join(_bounds(field))
    )
    return f"| `{key}` | {kind} | {default} | {values} | {field.help} |"


if __name__ == "__main__":
    print(markdown_page())
