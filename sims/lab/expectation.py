"""Which homes can reach each other directly: what RFC 4787's terms imply, and no code under test.

ICE knows of each home the public port that a STUN server saw, and both homes send to the other's.
One packet that arrives is enough, since the answer goes back the way it came.
"""

from sims.lab.nat import Filtering, Mapping, Nat
from sims.lab.topology import IpVersions


def can_be_direct(one: Nat, other: Nat, ip: IpVersions = IpVersions.V4) -> bool:
    """Whether UDP can pass both ways between two homes without a relay."""
    if not (one.passes_udp and other.passes_udp):
        return False
    # Without translation a home is where it says it is, and both firewalls see both send.
    if 6 in ip.versions:
        return True
    return _admits(one, other) or _admits(other, one)


def _admits(receiver: Nat, sender: Nat) -> bool:
    """Whether the first packet to the port that ``receiver`` announced gets in.

    A port that was announced is one that a STUN server was contacted from; packets to the sender
    leave from it as well only where the mapping does not depend on the destination.
    """
    leaves_from_announced_port = receiver.mapping is Mapping.ENDPOINT_INDEPENDENT
    match receiver.filtering:
        case Filtering.ENDPOINT_INDEPENDENT:
            return True
        case Filtering.ADDRESS_DEPENDENT:
            return leaves_from_announced_port
        case Filtering.ADDRESS_AND_PORT_DEPENDENT:
            # It has contacted the announced port of the sender: packets must come from there.
            return leaves_from_announced_port and sender.mapping is Mapping.ENDPOINT_INDEPENDENT
