"""What the STUN servers' answers tell of the NAT in front of a port (RFC 4787 section 4.1)."""

from collections.abc import Sequence

from wice.ice.events import Mapping
from wice.stun import MappingBehaviour, compare_mappings

__all__ = ["MappingBehaviour", "mapping_behaviour"]


def mapping_behaviour(mappings: Sequence[Mapping], *, is_complete: bool) -> MappingBehaviour:
    """Compare what servers saw of one base; IPv4 where there is any, since IPv6 has no NATs.

    Where servers on one address alone answered, a mapping that could depend on the address is
    called endpoint-independent: few NATs are like that. is_complete: every server answered or was
    given up.
    """
    if not mappings:
        return MappingBehaviour.UNREACHED if is_complete else MappingBehaviour.UNKNOWN
    ipv4 = [mapping for mapping in mappings if not mapping.base.is_ipv6]
    base = (ipv4 or list(mappings))[0].base
    seen = [mapping for mapping in mappings if mapping.base == base]
    if all(mapping.mapped == base for mapping in seen):
        return MappingBehaviour.NO_NAT
    behaviour = compare_mappings([(mapping.server, mapping.mapped) for mapping in seen])
    if behaviour is MappingBehaviour.ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT:
        return MappingBehaviour.ENDPOINT_INDEPENDENT
    return behaviour
