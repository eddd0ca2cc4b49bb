"""The words of RFC 4787 for what a NAT does, and how answers of STUN servers tell them apart."""

from collections.abc import Sequence
from enum import StrEnum

from wice.datagram import Endpoint


class MappingBehaviour(StrEnum):
    """How the NAT chooses the outside address; the words go over the wire and to people."""

    UNKNOWN = "unknown"
    UNREACHED = "no STUN server answers"
    NO_NAT = "no NAT"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT = "endpoint-independent or address-dependent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address- and port-dependent"


class FilteringBehaviour(StrEnum):
    """Whose datagrams the NAT, or a firewall, lets in to a port that has sent to somebody."""

    UNKNOWN = "unknown"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT = "endpoint-independent or address-dependent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address- and port-dependent"


def compare_mappings(seen: Sequence[tuple[Endpoint, Endpoint]]) -> MappingBehaviour:
    """Compare what servers saw of one local port: pairs of server and mapped endpoint.

    Two ports of one server tell a mapping that depends on the port. One that depends on the
    address alone shows only where servers on two addresses answered.
    """
    if len(seen) < 2:
        return MappingBehaviour.UNKNOWN
    by_server_host: dict[str, set[Endpoint]] = {}
    for server, mapped in seen:
        by_server_host.setdefault(server.host, set()).add(mapped)
    if any(len(mapped) > 1 for mapped in by_server_host.values()):
        return MappingBehaviour.ADDRESS_AND_PORT_DEPENDENT
    if len({mapped for _, mapped in seen}) > 1:
        return MappingBehaviour.ADDRESS_DEPENDENT
    if len(by_server_host) == 1:
        return MappingBehaviour.ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT
    return MappingBehaviour.ENDPOINT_INDEPENDENT
