"""What goes wrong, as a person would say it."""

from typing import Final

from sims.model.faults import (
    AddressChange,
    Corrupt,
    Crash,
    Degrade,
    DelayEnvelopes,
    Fault,
    Lasting,
    LinkDown,
    Move,
    NatReboot,
    Partition,
    ReplayEnvelopes,
    ReplayPackets,
    Sleep,
    Stop,
)
from sims.report.words import duration, listed

_SAID: Final[dict[type[Fault], str]] = {
    AddressChange: "{0.target} gets other addresses",
    Corrupt: "{0.share:.0%} of the packets of {0.target} corrupted",
    Crash: "crash of {0.target}",
    Degrade: "line of {0.target} degraded",
    DelayEnvelopes: "{0.target} delays envelopes",
    LinkDown: "line of {0.target} down",
    Move: "{0.target} moves to {0.to}",
    NatReboot: "router of {0.target} reboots",
    ReplayEnvelopes: "{0.target} replays envelopes",
    ReplayPackets: "packets replayed at {0.target}",
    Sleep: "{0.target} sleeps",
    Stop: "{0.target} is stopped",
}


def fault_name(fault: Fault) -> str:
    """As ``crash of phone``."""
    match fault:
        case Partition(is_one_way=True):
            return f"nothing passes from {listed(fault.one)} to {listed(fault.other)}"
        case Partition():
            return f"{listed(fault.one)} cut off from {listed(fault.other)}"
        case LinkDown() if fault.direction != "both":
            return f"line of {fault.target} down for what goes {fault.direction}"
        case AddressChange(ip_version=int(version)):
            return f"{fault.target} gets other IPv{version} addresses"
        case Crash(loses_disk=True):
            return f"crash of {fault.target}, its disk lost"
    return _SAID[type(fault)].format(fault)


def lasting(fault: Fault) -> str:
    """How long it takes."""
    if not isinstance(fault, Lasting):
        return "at once"
    return "for good" if fault.for_s is None else duration(fault.for_s)
