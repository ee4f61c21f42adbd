# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Which code computes the network: its definition, or an arrangement of it for one kind of device.

Both compute the same functions of the same parameters; a test compares them.
"""

from typing import Any, Callable, NamedTuple

from mindspore import context

from src.model.cpu.encoder import Encoder
from src.model.cpu.network import Network
from src.model.cpu.sampler import CPUSampler
from src.model.sampler import PlainSampler

AUTO, PLAIN, CPU = "auto", "plain", "cpu"


class Implementation(NamedTuple):
    """How a network is computed.

    network: SRFlowNet -> a cell with its construct and inverse. encoder: RRDBNet -> a cell with its `image`. sampler:
    SRFlowNet -> Sampler. flow_stacks, encoder_stacks: of what `network` or `encoder` returned, the ParameterStacks that
    training may join.
    """

    name: str
    network: Callable[[Any], Any]
    encoder: Callable[[Any], Any]
    sampler: Callable[[Any], Any]
    flow_stacks: Callable[[Any], list]
    encoder_stacks: Callable[[Any], list]


_PLAIN = Implementation(
    PLAIN,
    network=lambda net: net,
    encoder=lambda rrdb: rrdb,
    sampler=PlainSampler,
    flow_stacks=lambda computed: [],
    encoder_stacks=lambda computed: [],
)
_CPU = Implementation(
    CPU,
    network=Network,
    encoder=Encoder,
    sampler=lambda net: CPUSampler(net, Network(net)),
    flow_stacks=lambda computed: computed.flow_stacks(),
    encoder_stacks=lambda computed: computed.encoder_stacks(),
)


def choose(name=AUTO):
    """The Implementation of a name; `auto`: `cpu` where the device is a CPU, `plain` elsewhere.

    Raises:
        ValueError: another name.
    """
    if name not in (AUTO, PLAIN, CPU):
        raise ValueError(f"implementation: expected 'auto', 'plain' or 'cpu', got {name!r}")
    if name == AUTO:
        name = CPU if context.get_context("device_target") == "CPU" else PLAIN
    return _CPU if name == CPU else _PLAIN
