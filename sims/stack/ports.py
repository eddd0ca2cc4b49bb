"""The ports of one transport protocol on one host: who is bound where, and what is free."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final, Generic, Protocol, TypeVar

from wice.datagram import Endpoint

EPHEMERAL_PORTS: Final = range(32_768, 61_000)
"""Linux's ip_local_port_range."""

WILDCARDS: Final = ("0.0.0.0", "::")


class Bindable(Protocol):
    """A socket as its port sees it.

    local: where it is bound. is_dual_stack: whether an IPv6 wildcard takes IPv4 too.
    """

    local: Endpoint | None

    @property
    def is_dual_stack(self) -> bool: ...

    def may_share_with(self, other: "Bindable") -> bool: ...


SocketT = TypeVar("SocketT", bound=Bindable)


class Ports(Generic[SocketT]):
    """Which sockets are bound to which port, in the order in which they were bound."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._sockets: dict[int, list[SocketT]] = {}

    def bind(
        self,
        socket: SocketT,
        wanted: Endpoint,
        is_taken: Callable[[Endpoint], bool] = lambda _: False,
    ) -> None:
        """Bind ``socket`` to ``wanted``, on a free port for 0; raise OSError (EADDRINUSE).

        is_taken: whether something else than a bound socket is in the way.
        """
        for port in (wanted.port,) if wanted.port else self._ephemeral_ports():
            local = Endpoint(wanted.host, port)
            if not is_taken(local) and self._is_free(socket, local):
                socket.local = local
                self._sockets.setdefault(port, []).append(socket)
                return
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    def release(self, socket: SocketT) -> None:
        """Harmless for one that is not bound."""
        if socket.local is None:
            return
        sockets = self._sockets.get(socket.local.port, [])
        if socket in sockets:
            sockets.remove(socket)
            if not sockets:
                del self._sockets[socket.local.port]

    def at(self, port: int) -> Sequence[SocketT]:
        return self._sockets.get(port, ())

    def clear(self) -> None:
        self._sockets.clear()

    def _ephemeral_ports(self) -> Iterator[int]:
        start = self._random.randrange(len(EPHEMERAL_PORTS))
        yield from EPHEMERAL_PORTS[start:]
        yield from EPHEMERAL_PORTS[:start]

    def _is_free(self, socket: SocketT, local: Endpoint) -> bool:
        return all(
            not _overlap(socket, local, other) or socket.may_share_with(other)
            for other in self.at(local.port)
        )


def covers(socket: Bindable, local: Endpoint, host: str) -> bool:
    """Whether ``socket``, bound to ``local``, takes what comes to ``host``."""
    if local.host == host:
        return True
    if local.host not in WILDCARDS:
        return False
    return local.is_ipv6 == (":" in host) or socket.is_dual_stack


def _overlap(socket: Bindable, local: Endpoint, other: Bindable) -> bool:
    assert other.local is not None
    return covers(socket, local, other.local.host) or covers(other, other.local, local.host)
