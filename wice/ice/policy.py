"""Which of our addresses a peer is told."""

import copy
import ipaddress
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Final

from wice.ice.candidate import Candidate

ADDRESSES_REMEMBERED_MAX: Final = 1_024
"""Addresses of which is remembered what they are: each is asked about for each pair."""

_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "127.0.0.0/8",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    )
)
"""RFC 1918, RFC 6598, RFC 4193, link-local and loopback: what says something of a home."""

# RFC 8839 section 5.1: what stands for a related address that is not told.
_UNTOLD_IPV4: Final = "0.0.0.0"
_UNTOLD_IPV6: Final = "::"
_UNTOLD_PORT: Final = 9


class CandidatePolicy(StrEnum):
    """ALL addresses; PUBLIC ones and relays; RELAY addresses alone."""

    ALL = "all"
    PUBLIC = "public"
    RELAY = "relay"


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def is_private(address: str) -> bool:
    """Whether an IP address has a meaning only inside some network."""
    ip = ipaddress.ip_address(address)
    return any(ip in network for network in _PRIVATE)


def usable_candidates(
    candidates: Iterable[Candidate], policy: CandidatePolicy
) -> tuple[Candidate, ...]:
    """The candidates that checks may leave from."""
    if policy is CandidatePolicy.RELAY:
        return tuple(c for c in candidates if c.type == "relay")
    return tuple(candidates)


def told_candidates(
    candidates: Iterable[Candidate], policy: CandidatePolicy
) -> tuple[Candidate, ...]:
    """The candidates that a peer is told; their related addresses only where it is told all."""
    if policy is CandidatePolicy.ALL:
        return tuple(candidates)
    told = usable_candidates(candidates, policy)
    return tuple(_without_related(c) for c in told if c.type == "relay" or not is_private(c.host))


def _without_related(candidate: Candidate) -> Candidate:
    if candidate.related_address is None:
        return candidate
    told = copy.copy(candidate)
    told.related_address = _UNTOLD_IPV6 if ":" in candidate.host else _UNTOLD_IPV4
    told.related_port = _UNTOLD_PORT
    return told
