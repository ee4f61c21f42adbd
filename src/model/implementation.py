# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The choice of the code that computes the network: its definition, or an arrangement for one kind of device.

Both compute the same functions of the same parameters. `tests/test_cpu_network.py` compares them.
"""

from typing import Any, Callable, NamedTuple

from mindspore import context

from src.model.cpu.encoder import Encoder
from src.model.cpu.network import Network
from src.model.cpu.sampler import CPUSampler
from src.model.sampler import PlainSampler

AUTO, PLAIN, CPU = "auto", "plain", "cpu"


class Implementation(NamedTuple):
    """Way of computing the network: functions that make the cells, and that find what training may join.

    Attributes:
        name: "plain" or "cpu".
        network: SRFlowNet -> a cell with the same construct and inverse.
        encoder: RRDBNet -> a cell with the same method `image`.
        sampler: SRFlowNet -> Sampler.
        flow_stacks: what `network` returned -> a list of the flow's ParameterStacks, which training may join.
        encoder_stacks: what `encoder` returned -> a list of the encoder's ParameterStacks, which training may join.
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
    """Find the Implementation of a name.

    Args:
        name: "plain", "cpu", or "auto", which is `cpu` where the device is a CPU, and `plain` elsewhere.

    Returns:
        Implementation.

    Raises:
        ValueError: another name.
    """
    if name not in (AUTO, PLAIN, CPU):
        raise ValueError(f"implementation: expected 'auto', 'plain' or 'cpu', got {name!r}")
    if name == AUTO:
        name = CPU if context.get_context("device_target") == "CPU" else PLAIN
    return _CPU if name == CPU else _PLAIN
