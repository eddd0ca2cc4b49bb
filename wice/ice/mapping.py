"""What the STUN servers' answers tell of the NAT in front of a port (RFC 4787 section 4.1)."""

from collections.abc import Sequence
from enum import StrEnum

from wice.ice.events import Mapping


class MappingBehaviour(StrEnum):
    """How the NAT chooses the outside address; the words go over the wire and to people."""

    UNKNOWN = "unknown"
    UNREACHED = "no STUN server answers"
    NO_NAT = "no NAT"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address- and port-dependent"


def mapping_behaviour(mappings: Sequence[Mapping], *, is_complete: bool) -> MappingBehaviour:
    """Compare what servers saw of one base; IPv4 where there is any, since IPv6 has no NATs.

    Two ports of one server tell a mapping that depends on the port. One that depends on the
    address alone shows only where servers on two addresses answered. is_complete: every server
    answered or was given up.
    """
    if not mappings:
        return MappingBehaviour.UNREACHED if is_complete else MappingBehaviour.UNKNOWN
    ipv4 = [mapping for mapping in mappings if not mapping.base.is_ipv6]
    base = (ipv4 or list(mappings))[0].base
    seen = [mapping for mapping in mappings if mapping.base == base]
    if all(mapping.mapped == base for mapping in seen):
        return MappingBehaviour.NO_NAT
    by_server_host: dict[str, set[object]] = {}
    for mapping in seen:
        by_server_host.setdefault(mapping.server.host, set()).add(mapping.mapped)
    if any(len(mapped) > 1 for mapped in by_server_host.values()):
        return MappingBehaviour.ADDRESS_AND_PORT_DEPENDENT
    if len({mapping.mapped for mapping in seen}) > 1:
        return MappingBehaviour.ADDRESS_DEPENDENT
    if len(seen) == 1:
        return MappingBehaviour.UNKNOWN
    return MappingBehaviour.ENDPOINT_INDEPENDENT
