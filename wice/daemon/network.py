"""What a daemon knows of its host's network, and how it learns that this changed."""

from collections.abc import Callable, Sequence
from typing import Final

import trio

from wice.errors import DeviceError
from wice.ice.policy import is_private
from wice.platform import Platform

LOOK_AGAIN_S: Final = 1.0
"""Until the host's addresses are read again when they could not be."""

CLOCK_LOOK_S: Final = 1.0
"""How often the wall clock is compared with the time that we know of."""

CLOCK_JUMP_MIN_S: Final = 3.0
"""A wall clock that went so much further tells of a sleep: NATs forgot us, peers moved."""


class HostAddresses:
    """Addresses of the host that a peer could send to: up, on no tunnel of ours, and on interfaces
    that are used by configuration.

    Read once a change for all interfaces; raise DeviceError when made.
    """

    def __init__(
        self,
        platform: Platform,
        own_names: frozenset[str],
        is_used: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._platform = platform
        self._is_used = is_used
        self._own_names = own_names
        self._addresses: tuple[str, ...] = ()
        self.look()

    def look(self) -> None:
        """Read them anew; raise DeviceError, and then keep what was known."""
        self._addresses = tuple(
            str(address.ip)
            for interface in self._platform.interfaces()
            if interface.is_up
            and interface.name not in self._own_names
            and self._is_used(interface.name)
            for address in interface.addresses
        )

    def known(self) -> Sequence[str]:
        return self._addresses


def every_address(platform: Platform) -> list[str]:
    """All that the host answers to, tunnels and links that are down included; raise DeviceError."""
    return [
        str(address.ip) for interface in platform.interfaces() for address in interface.addresses
    ]


def public_addresses(platform: Platform) -> list[str]:
    """Those of links that are up which mean the same everywhere; raise DeviceError."""
    return [
        str(address.ip)
        for interface in platform.interfaces()
        for address in interface.addresses
        if interface.is_up and not is_private(str(address.ip))
    ]


async def follow_network(
    platform: Platform, look: Callable[[], None], changed: Callable[[], None] = lambda: None
) -> None:
    """After every change of links or addresses ``look``, then say ``changed``, until cancelled.

    A ``look`` that raises DeviceError is tried again.
    """
    async with platform.watch_network() as changes:
        async for _ in changes:
            await _look_until_seen(look)
            changed()


async def follow_clock(platform: Platform, jumped: Callable[[], None]) -> None:
    """Say ``jumped`` soon after the host slept, until cancelled.

    The clock of our timers may stand still meanwhile; the wall clock does not. Somebody who sets
    that forward causes no more than a look at the network.
    """
    while True:
        before_s = platform.wall_time()
        await trio.sleep(CLOCK_LOOK_S)
        if platform.wall_time() - before_s >= CLOCK_LOOK_S + CLOCK_JUMP_MIN_S:
            jumped()


async def _look_until_seen(look: Callable[[], None]) -> None:
    while True:
        try:
            look()
            return
        except DeviceError:
            # Interfaces come and go faster than their list can be read, as containers do.
            await trio.sleep(LOOK_AGAIN_S)
