"""Asks DNS by dnspython (trio)."""

import socket as stdlib_socket
from collections.abc import Sequence
from typing import Any, Final

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver
import trio

from wice.datagram import Endpoint
from wice.errors import NameNotResolvedError
from wice.stun.resolve import NamingRecord, ServiceRecord

QUESTION_TIMEOUT_S: Final = 3.0
"""For one question, over all nameservers."""


class DnsLookup:
    """A ``Lookup``. Names without addresses in DNS are looked up as the host does itself, which
    knows those of its hosts file.
    """

    def __init__(
        self,
        nameservers: Sequence[Endpoint] | None = None,
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> None:
        """nameservers: whom to ask, and nobody else; None for those of the host."""
        self._nameservers = nameservers
        self._timeout_s = timeout_s
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def addresses(self, name: str) -> Sequence[str]:
        found: dict[str, list[str]] = {"AAAA": [], "A": []}
        errors: list[NameNotResolvedError] = []

        async def ask(kind: str) -> None:
            try:
                found[kind] = [str(record.address) for record in await self._ask(name, kind)]
            except NameNotResolvedError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for kind in found:
                nursery.start_soon(ask, kind)
        addresses = [address for kind in found.values() for address in kind]
        if not addresses and self._nameservers is None:
            addresses = await self._host_addresses(name)
        if not addresses and errors:
            raise errors[0]
        return addresses

    async def services(self, name: str) -> Sequence[ServiceRecord]:
        return [
            ServiceRecord(record.priority, record.weight, record.port, _name(record.target))
            for record in await self._ask(name, "SRV")
        ]

    async def naming(self, name: str) -> Sequence[NamingRecord]:
        return [
            NamingRecord(
                record.order,
                record.preference,
                record.flags.decode("ascii", "replace"),
                record.service.decode("ascii", "replace"),
                _name(record.replacement),
            )
            for record in await self._ask(name, "NAPTR")
        ]

    async def _ask(self, name: str, kind: str) -> list[Any]:
        try:
            if self._resolver is None:
                self._resolver = self._open()
            answer = await self._resolver.resolve(
                name,
                kind,
                lifetime=self._timeout_s,
                backend=dns.asyncbackend.get_backend("trio"),
            )
        except (
            dns.resolver.NXDOMAIN,
            dns.resolver.NoAnswer,
            dns.resolver.NoResolverConfiguration,
        ):
            return []
        except (dns.exception.DNSException, OSError) as error:
            why = "no nameserver answers"
            if isinstance(error, dns.resolver.NoNameservers):
                why = "no nameserver knows it"
            raise NameNotResolvedError(f"{name}: {why}") from error
        return list(answer)

    def _open(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=self._nameservers is None)
        resolver.timeout = self._timeout_s / 2
        if self._nameservers is not None:
            resolver.nameservers = [
                dns.nameserver.Do53Nameserver(server.host, server.port)
                for server in self._nameservers
            ]
        return resolver

    async def _host_addresses(self, name: str) -> list[str]:
        with trio.move_on_after(self._timeout_s):
            try:
                found = await trio.socket.getaddrinfo(name, None, type=stdlib_socket.SOCK_DGRAM)
            except (OSError, UnicodeError):
                return []
            return [str(address[0]) for *_, address in found]
        return []


def _name(name: Any) -> str:
    """A target; "" for the root, which names nobody."""
    return str(name.to_text(omit_final_dot=True)) if len(name.labels) > 1 else ""
