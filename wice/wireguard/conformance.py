"""What every ``Device`` must do, runnable on any implementation.

Give ``check_device`` a way to open two devices that reach each other's port; each check gets a
fresh pair. A failed check is an AssertionError, one that hangs ``trio.TooSlowError``.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import trio

from wice.datagram import Endpoint, Path
from wice.keys import PublicKey
from wice.platform import IPNetwork
from wice.wireguard.device import Device, PeerConfig, PeerStatus

CHECK_TIMEOUT_S = 30.0
KEEPALIVE_S = 25
QUIET_S = 0.2
"""How long nothing may happen where nothing should."""


class Inside(Protocol):
    """The inner network of one device: payloads to and from the other device's inner address."""

    async def send(self, payload: bytes) -> None: ...

    async def receive(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class DeviceUnderTest:
    """A device and its surroundings.

    addresses: local addresses, the first for ordinary use, the second to roam to.
    inner_networks: what the other side is to allow for this one.
    """

    device: Device
    public_key: PublicKey
    addresses: tuple[str, ...]
    inner_networks: tuple[IPNetwork, ...]
    inside: Inside

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.addresses[0], self.device.port.port)

    def path_to(self, other: "DeviceUnderTest", address_index: int = 0) -> Path:
        return Path(other.endpoint, self.addresses[address_index])

    def add_peer(self, other: "DeviceUnderTest") -> None:
        self.device.set_peer(PeerConfig(other.public_key, other.inner_networks))

    def status_of(self, other: "DeviceUnderTest") -> PeerStatus:
        (status,) = (
            status for status in self.device.statistics() if status.public_key == other.public_key
        )
        return status


OpenPair = Callable[[], AbstractAsyncContextManager[tuple[DeviceUnderTest, DeviceUnderTest]]]
Check = Callable[[DeviceUnderTest, DeviceUnderTest], Awaitable[None]]


async def check_device(open_pair: OpenPair) -> None:
    """Run every check; those of roaming are for devices with two addresses each."""
    async with open_pair() as (left, right):
        can_roam = min(len(left.addresses), len(right.addresses)) > 1
    for check in CHECKS + (ROAMING_CHECKS if can_roam else ()):
        await run_check(check, open_pair)


async def run_check(check: Check, open_pair: OpenPair) -> None:
    """Run one check on two fresh devices that know each other and no path."""
    with trio.fail_after(CHECK_TIMEOUT_S):
        async with open_pair() as (left, right):
            left.add_peer(right)
            right.add_peer(left)
            await check(left, right)


async def _connect(left: DeviceUnderTest, right: DeviceUnderTest) -> None:
    left.device.set_path(right.public_key, left.path_to(right), KEEPALIVE_S)
    await _wait_for_handshake(left, right)
    await _wait_for_handshake(right, left)


async def _wait_for_handshake(one: DeviceUnderTest, other: DeviceUnderTest) -> None:
    while one.status_of(other).latest_handshake_at_s is None:
        await one.device.wait_changed()


async def _exchange(left: DeviceUnderTest, right: DeviceUnderTest) -> None:
    for sender, receiver, payload in ((left, right, b"ping"), (right, left, b"pong")):
        await sender.inside.send(payload)
        assert await receiver.inside.receive() == payload


async def check_a_new_peer_has_no_history(left: DeviceUnderTest, right: DeviceUnderTest) -> None:
    status = left.status_of(right)
    assert status == PeerStatus(right.public_key, None, None, None, 0, 0)


async def check_a_path_with_keepalive_makes_the_handshake(
    left: DeviceUnderTest, right: DeviceUnderTest
) -> None:
    before_s = trio.current_time()
    await _connect(left, right)
    for one, other in ((left, right), (right, left)):
        status = one.status_of(other)
        assert status.latest_handshake_at_s is not None
        assert before_s - 1 <= status.latest_handshake_at_s <= trio.current_time() + 1
        assert status.path is not None and status.path.remote == other.endpoint


async def check_data_passes_both_ways_and_is_counted(
    left: DeviceUnderTest, right: DeviceUnderTest
) -> None:
    await _connect(left, right)
    before, before_s = left.status_of(right), trio.current_time()
    await _exchange(left, right)
    after = left.status_of(right)
    assert after.rx_bytes > before.rx_bytes and after.tx_bytes > before.tx_bytes
    assert after.received_at_s is not None
    assert before_s - 1 <= after.received_at_s <= trio.current_time() + 1


async def check_a_packet_starts_the_handshake(
    left: DeviceUnderTest, right: DeviceUnderTest
) -> None:
    left.device.set_path(right.public_key, left.path_to(right))
    await _exchange(left, right)


async def check_without_a_path_nothing_is_sent(
    left: DeviceUnderTest, right: DeviceUnderTest
) -> None:
    await _connect(left, right)
    await _exchange(left, right)
    left.device.set_path(right.public_key, None)
    before = left.status_of(right)
    await left.inside.send(b"goes nowhere")
    await trio.sleep(QUIET_S)
    after = left.status_of(right)
    assert after.path is None and after.tx_bytes == before.tx_bytes
    # Only sending stopped.
    await right.inside.send(b"arrives")
    assert await left.inside.receive() == b"arrives"


async def check_a_handshake_finds_its_way_without_a_path(
    left: DeviceUnderTest, right: DeviceUnderTest
) -> None:
    left.device.set_path(right.public_key, None)
    await _connect(right, left)
    await _exchange(left, right)
    status = left.status_of(right)
    assert status.path is not None and status.path.remote == right.endpoint


async def check_authenticated_packets_move_the_path(
    left: DeviceUnderTest, right: DeviceUnderTest
) -> None:
    await _connect(left, right)
    right.device.set_path(left.public_key, right.path_to(left, 1))
    await right.inside.send(b"from elsewhere")
    assert await left.inside.receive() == b"from elsewhere"
    await left.device.wait_changed()
    status = left.status_of(right)
    assert status.path is not None and status.path.remote.host == right.addresses[1]
    await _exchange(left, right)


async def check_a_missed_change_is_told_at_once(
    left: DeviceUnderTest, right: DeviceUnderTest
) -> None:
    left.device.set_path(right.public_key, left.path_to(right), KEEPALIVE_S)
    await _exchange(left, right)
    await left.device.wait_changed()


async def check_new_settings_keep_the_session(
    left: DeviceUnderTest, right: DeviceUnderTest
) -> None:
    await _connect(left, right)
    before = left.status_of(right)
    left.add_peer(right)
    assert left.status_of(right).latest_handshake_at_s == before.latest_handshake_at_s
    await _exchange(left, right)


async def check_a_removed_peer_is_gone(left: DeviceUnderTest, right: DeviceUnderTest) -> None:
    await _connect(left, right)
    left.device.remove_peer(right.public_key)
    left.device.remove_peer(right.public_key)
    assert list(left.device.statistics()) == []
    left.add_peer(right)
    assert left.status_of(right).latest_handshake_at_s is None


async def check_the_port_carries_other_datagrams(
    left: DeviceUnderTest, right: DeviceUnderTest
) -> None:
    await _connect(left, right)
    datagram = b"\x00\x01\x00\x00\x21\x12\xa4\x42 not WireGuard's"
    left.device.port.send(datagram, left.path_to(right))
    data, source, destination = await right.device.port.receive()
    assert (data, source) == (datagram, left.endpoint)
    assert destination in (None, right.addresses[0])
    await _exchange(left, right)


CHECKS: tuple[Check, ...] = (
    check_a_new_peer_has_no_history,
    check_a_path_with_keepalive_makes_the_handshake,
    check_data_passes_both_ways_and_is_counted,
    check_a_packet_starts_the_handshake,
    check_without_a_path_nothing_is_sent,
    check_a_handshake_finds_its_way_without_a_path,
    check_a_missed_change_is_told_at_once,
    check_new_settings_keep_the_session,
    check_a_removed_peer_is_gone,
    check_the_port_carries_other_datagrams,
)

ROAMING_CHECKS: tuple[Check, ...] = (check_authenticated_packets_move_the_path,)
"""These need a second address of the right device, and a device that can pin its source."""
