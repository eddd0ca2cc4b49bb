"""Whole meshes on one machine: the namespace lab and the simulator.

What a scenario is made of is here; it is plain data, and importing it imports nothing else.
"""

from sims.model.faults import (
    AddressChange,
    Corrupt,
    Crash,
    Degrade,
    DelayEnvelopes,
    Fault,
    LinkDown,
    Move,
    NatReboot,
    Partition,
    ReplayEnvelopes,
    ReplayPackets,
    Sleep,
    Stop,
)
from sims.model.link import BurstLoss, LineModel, LinkModel
from sims.model.nat import NAT_KINDS, Filtering, Firewall, Mapping, NatModel, PortAssignment
from sims.model.presets import LINE_PRESETS
from sims.model.scenario import Churn, Expectation, Machine, Scenario, Site

__all__ = [
    "LINE_PRESETS",
    "NAT_KINDS",
    "AddressChange",
    "BurstLoss",
    "Churn",
    "Corrupt",
    "Crash",
    "Degrade",
    "DelayEnvelopes",
    "Expectation",
    "Fault",
    "Filtering",
    "Firewall",
    "LineModel",
    "LinkDown",
    "LinkModel",
    "Machine",
    "Mapping",
    "Move",
    "NatModel",
    "NatReboot",
    "Partition",
    "PortAssignment",
    "ReplayEnvelopes",
    "ReplayPackets",
    "Scenario",
    "Site",
    "Sleep",
    "Stop",
]
