"""Why a packet did not arrive, as traces and checks name it."""

from enum import StrEnum


class Drop(StrEnum):
    """The reason of a ``PacketEvent`` that says ``dropped``."""

    UNPLUGGED = "the machine is not plugged in"
    WRONG_SOURCE = "the source is not an address of the machine"
    NO_ROUTE = "no such address"
    ISOLATED = "machines of this site do not reach each other"
    BLOCKED = "no way between these sites"

    LINE_DEAD = "the line is dead"
    LOST = "lost on the line"
    CORRUPT = "its checksum is wrong"
    QUEUE_FULL = "the queue is full"
    TOO_LARGE = "larger than the MTU"

    UNMAPPED = "no mapping of the NAT"
    FILTERED = "filtered by the NAT"
    NO_HAIRPIN = "the NAT does not hairpin"
    RESET = "a connection that it does not know, which it resets"
    NAT_FULL = "the NAT has no room for another mapping"

    NO_FLOW = "unasked for, says the firewall"
    FORBIDDEN = "forbidden by the firewall"
    FIREWALL_FULL = "the firewall has no room for another flow"
