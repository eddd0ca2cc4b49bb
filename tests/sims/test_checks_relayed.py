"""What relays carry is judged as what it is, and by whom it is carried."""

from ipaddress import ip_address

import pytest

from sims.checks.relayed import Relayed, Way
from sims.internet.packet import Packet, PacketEvent, Protocol
from sims.model.scenario import Expectation
from sims.runtime.clock import STARTS_AT_S
from tests.sims.story_for_checks import INITIATION, LAPTOP, NAS, TO_NAS, Story
from wice.datagram import Endpoint

SERVER = Endpoint("192.0.2.1", 3478)
HERE = Endpoint("192.168.1.2", 51820)
COOKIE = b"\x21\x12\xa4\x42"
TRANSACTION = bytes(range(12))
THROUGH = f"{TO_NAS} through 192.0.2.1:50000"


def message(kind: int, *attributes: tuple[int, bytes]) -> bytes:
    body = b"".join(
        number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
        for number, value in attributes
    )
    return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + COOKIE + TRANSACTION + body


def peer(endpoint: Endpoint) -> tuple[int, bytes]:
    packed = ip_address(endpoint.host).packed
    mask = COOKIE + TRANSACTION
    port = (endpoint.port ^ 0x2112).to_bytes(2, "big")
    address = bytes(one ^ other for one, other in zip(packed, mask, strict=False))
    return 0x0012, bytes((0, 2 if endpoint.is_ipv6 else 1)) + port + address


def data(payload: bytes) -> tuple[int, bytes]:
    return 0x0013, payload


def udp(source: Endpoint, destination: Endpoint, payload: bytes) -> Packet:
    return Packet(Protocol.UDP, source, destination, payload)


@pytest.mark.parametrize("remote", [TO_NAS, Endpoint("2001:db8::7", 4000)])
def test_indications_are_opened(remote: Endpoint) -> None:
    relayed = Relayed()
    sent = relayed.sent(LAPTOP, udp(HERE, SERVER, message(0x0016, peer(remote), data(b"hello"))))
    assert sent == (Way(remote, is_wrapped=True), SERVER, b"hello")
    came = udp(SERVER, HERE, message(0x0017, peer(remote), data(b"hello")))
    assert relayed.received(LAPTOP, came) == sent


def test_channels_lead_where_they_were_bound_by_the_machine() -> None:
    relayed = Relayed()
    wrapped = udp(HERE, SERVER, b"\x40\x01\x00\x05hello\x00\x00\x00")
    assert relayed.sent(LAPTOP, wrapped).way == Way(SERVER)
    bind = message(0x0009, (0x000C, b"\x40\x01\x00\x00"), peer(TO_NAS))
    relayed.sent(LAPTOP, udp(HERE, SERVER, bind))
    assert relayed.sent(LAPTOP, wrapped) == (Way(TO_NAS, is_wrapped=True), SERVER, b"hello")
    assert relayed.sent(NAS, wrapped).way == Way(SERVER)


@pytest.mark.parametrize("end", range(0, 48, 3))
def test_what_is_cut_short_breaks_nothing(end: int) -> None:
    whole = message(0x0016, peer(TO_NAS), data(b"hello"))
    Relayed().sent(LAPTOP, udp(HERE, SERVER, whole[:end]))


def test_wireguard_goes_through_the_relay_that_ice_selected_and_not_beside_it() -> None:
    story = Story(has_relay=True)
    story.transition("checking", "selected", "path selected", THROUGH)
    story.sent(message(0x0016, peer(TO_NAS), data(INITIATION)), SERVER)
    assert story.found("wireguard-destinations") == []
    story.sent(INITIATION, TO_NAS)
    assert len(story.found("wireguard-destinations")) == 1


@pytest.mark.parametrize(
    ("has_relay", "taken_after_s", "proved_at_s", "found"),
    [(True, 0, 17, 0), (True, 1, 17, 1), (True, 0, None, 1), (False, 0, 17, 1)],
)
def test_where_a_path_is_lost_the_other_that_was_proved_takes_over(
    has_relay: bool, taken_after_s: float, proved_at_s: float | None, found: int
) -> None:
    story = Story(has_relay=has_relay)
    if proved_at_s is not None:
        story.now_s = proved_at_s
        story.proved(TO_NAS)
    story.now_s = 20
    story.transition("connected", "checking", "path lost", THROUGH)
    story.now_s += taken_after_s
    story.transition("checking", "selected", "path selected", str(TO_NAS))
    assert len(story.found("proved-paths")) == found


def test_what_a_relay_passes_on_is_not_its_own() -> None:
    story = Story(has_relay=True)
    packet = udp(Endpoint("192.0.2.1", 50_000), TO_NAS, INITIATION)
    story.checks.on_packet(PacketEvent(STARTS_AT_S, "sent", "bootstrap-1", packet))
    assert story.found("wireguard-destinations") == []


def _path(story: Story, path: str | None) -> None:
    for status in story.peers.values():
        status.update(path=path)


@pytest.mark.parametrize("can_be_direct", [True, False])
def test_who_stays_relayed_without_need_is_told(can_be_direct: bool) -> None:
    story = Story(has_relay=True)
    story.are_direct = can_be_direct
    _path(story, "relayed")
    story.wait(60)
    assert story.found("relayed-by-need") == []
    story.wait(10)
    assert bool(story.found("relayed-by-need")) is can_be_direct


@pytest.mark.parametrize("path", ["direct", "relayed", None])
def test_paths_are_as_expected_at_the_end(path: str | None) -> None:
    story = Story(has_relay=True, expect=Expectation(relayed=((LAPTOP, NAS),)))
    _path(story, path)
    story.wait(10)
    assert story.found("expected-paths") == []
    story.checks.finish()
    assert len(story.found("expected-paths")) == (0 if path == "relayed" else 2)
