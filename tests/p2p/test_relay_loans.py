"""Relays of the community: who is lent the use of one, and on real sockets by whom."""

import contextlib
import hashlib
import hmac
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from p2p import bootstrap, clock
from p2p import relay_loans as loans_module
from p2p.identity import Identity
from p2p.relay_loans import (
    ANSWER_SIZE_MAX_BYTES,
    BORROWER_REMEMBERED_S,
    BORROWERS_PER_SOURCE_MAX,
    OPEN_BORROWERS_PER_SOURCE_MAX,
    PROOF_PERIOD_S,
    RELAY_PROTOCOL,
    REQUEST_RATE,
    REQUEST_SIZE_MAX_BYTES,
    LoanServer,
    MembershipProof,
    decode_answer,
    decode_request,
    encode,
    hour_at,
)
from p2p.section import check_peer_id
from tests.p2p.test_rendezvous import VirtualPlatform
from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.keys import CommunitySecret, length_prefixed
from wice.proto.overlay_pb2 import RelayAnswer, RelayRequest
from wice.signaling.transport import RelayGrant, RelayLoan

if TYPE_CHECKING:
    from p2p.backend import OverlayTransport
    from tests.p2p.conftest import Overlay

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "overlay.md"
HARBOUR = CommunitySecret.from_name("harbour")
PRIVATE = CommunitySecret(bytes(range(32)), is_private=True)
RELAY, OTHER_RELAY, MEMBER, OTHER_MEMBER = (
    Identity.from_seed(bytes([number]) * 32).peer_id for number in range(4)
)
LIFETIME_S = 3_600.0
PATIENCE_S = 30.0


class Lender:
    """Lends a relay, each time under another password."""

    def __init__(self, port: int = 3478) -> None:
        self.port = port
        self.members: list[str] = []

    def __call__(self, member: str) -> RelayLoan:
        self.members.append(member)
        return RelayLoan(self.port, f"1:{member}", f"password-{len(self.members)}", LIFETIME_S)


def a_member(number: int) -> str:
    return Identity.from_seed(number.to_bytes(32, "big")).peer_id


class Desk:
    """A relay's node, in virtual time. A member's network is what ``networks`` says."""

    def __init__(self, community: CommunitySecret = HARBOUR) -> None:
        self.platform = VirtualPlatform()
        self.lender = Lender()
        self.faults: list[str] = []
        self.networks: dict[str, str] = {}
        self.community = community
        self.server = LoanServer(
            RELAY,
            community,
            self.lender,
            self.platform,  # type: ignore[arg-type]
            self.faults.append,
            lambda peer_id: self.networks.get(peer_id, "198.51.100.1"),
        )

    def request(self, member: str, relay: str = RELAY, hours_off: int = 0) -> RelayRequest:
        hour = hour_at(self.platform.wall_time()) + hours_off
        proof = MembershipProof(self.community).make(relay, member, hour)
        return RelayRequest(hour=hour, proof=proof)

    def ask(self, member: str, request: RelayRequest | None = None) -> str:
        """Why ``member`` is refused; empty where it is lent the relay."""
        lent = len(self.lender.members)
        answer = self.server._answer(request or self.request(member), member)
        if answer.HasField("loan"):
            assert self.lender.members[lent:] == [member]
            return ""
        assert len(self.lender.members) == lent
        assert self.faults[-1] == f"{RELAY_PROTOCOL}: {answer.refused.reason}"
        return answer.refused.reason


# Who is a member


async def test_a_proof_is_for_one_borrower_one_relay_and_one_community() -> None:
    desk = Desk()
    assert desk.ask(MEMBER) == ""
    assert "not a member" in desk.ask(OTHER_MEMBER, desk.request(MEMBER))
    assert "not a member" in desk.ask(MEMBER, desk.request(MEMBER, relay=OTHER_RELAY))
    assert "not a member" in desk.ask(MEMBER, Desk(PRIVATE).request(MEMBER))
    altered = desk.request(MEMBER)
    altered.hour += 1
    assert "not a member" in desk.ask(MEMBER, altered)
    assert len(desk.server) == 1, "who proved nothing takes no place"


@pytest.mark.parametrize(
    ("hours_off", "is_good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
async def test_a_proof_is_good_for_the_hours_next_to_its_own(hours_off: int, is_good: bool) -> None:
    desk = Desk()
    reason = desk.ask(MEMBER, desk.request(MEMBER, hours_off=hours_off))
    assert reason == "" if is_good else "clocks" in reason


async def test_a_recorded_proof_is_worth_nothing_later(autojump_clock: Any) -> None:
    desk = Desk()
    recorded = desk.request(MEMBER)
    await trio.sleep(2 * PROOF_PERIOD_S)
    assert "clocks" in desk.ask(MEMBER, recorded)
    assert desk.ask(MEMBER) == ""


def test_the_documented_proof() -> None:
    (vector,) = tomllib.loads("\n".join(re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)))[
        "relay_proof"
    ]
    secret = bytes.fromhex(vector["community"])
    label = b"wice relay proof v1"
    # Once more without the code under test, but for length_prefixed.
    key = hashlib.sha512(length_prefixed(label, secret)).digest()[:32]
    ids = check_peer_id(vector["relay"]), check_peer_id(vector["borrower"])
    message = length_prefixed(label, *ids, vector["hour"].to_bytes(8, "big"))
    assert hmac.digest(key, message, "sha256").hex() == vector["proof"]
    proof = MembershipProof(CommunitySecret(secret, is_private=True))
    assert proof.make(vector["relay"], vector["borrower"], vector["hour"]).hex() == vector["proof"]
    assert CommunitySecret(secret, is_private=True).derive_key(b"other") != key


# How much


async def test_a_borrower_asks_so_often_and_no_more(autojump_clock: Any) -> None:
    desk = Desk()
    for _ in range(REQUEST_RATE.burst):
        assert desk.ask(MEMBER) == ""
    assert "too many requests" in desk.ask(MEMBER)
    assert desk.ask(OTHER_MEMBER) == "", "that is another's"
    await trio.sleep(REQUEST_RATE.interval_s)
    assert desk.ask(MEMBER) == ""
    assert "too many requests" in desk.ask(MEMBER)


@pytest.mark.parametrize(
    ("community", "names_max"),
    [(HARBOUR, OPEN_BORROWERS_PER_SOURCE_MAX), (PRIVATE, BORROWERS_PER_SOURCE_MAX)],
)
async def test_one_network_does_not_take_the_relay_by_many_names(
    autojump_clock: Any, community: CommunitySecret, names_max: int
) -> None:
    desk = Desk(community)
    reasons = [desk.ask(a_member(number)) for number in range(names_max + 5)]
    assert reasons == [""] * names_max + ["too many members from one network"] * 5
    desk.networks[MEMBER] = "198.51.100.2"
    assert desk.ask(MEMBER) == "", "others do not suffer for it"
    await trio.sleep(BORROWER_REMEMBERED_S - 1)
    assert desk.ask(a_member(0)) == "", "who was admitted goes on"
    await trio.sleep(1)
    assert desk.ask(a_member(names_max)) == "", "the others' hour is over"
    assert len(desk.server) == 2
    await trio.sleep(BORROWER_REMEMBERED_S)
    desk.server.drop_expired()
    assert len(desk.server) == 0


async def test_a_full_table_makes_room_where_most_is_held(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loans_module, "BORROWERS_MAX", 10)
    desk = Desk(PRIVATE)
    crowd = [a_member(number) for number in range(9)]
    desk.networks[MEMBER] = "198.51.100.2"
    for _ in range(REQUEST_RATE.burst):
        assert desk.ask(MEMBER) == ""
    for member in crowd:
        assert desk.ask(member) == ""
    desk.networks[OTHER_MEMBER] = "198.51.100.3"
    assert desk.ask(OTHER_MEMBER) == ""
    assert len(desk.server) == 10
    assert "too many requests" in desk.ask(MEMBER), "it was remembered"


# What is on the wire


def test_messages_go_through() -> None:
    request = RelayRequest(hour=480_000, proof=bytes(32))
    assert decode_request(encode(request)) == request
    assert len(encode(RelayRequest(hour=2**64 - 1, proof=bytes(32)))) <= REQUEST_SIZE_MAX_BYTES
    loan = RelayAnswer.Loan(
        port=65_535, username="u" * 256, password="p" * 256, lifetime_s=2**32 - 1
    )
    assert decode_answer(encode(RelayAnswer(loan=loan))).loan == loan


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        encode(RelayRequest(hour=1, proof=bytes(31))),
        encode(RelayRequest(hour=1, proof=bytes(33))),
        b"\x00" + encode(RelayRequest(hour=1, proof=bytes(32)))[1:],
        b"\x02" + encode(RelayRequest(hour=1, proof=bytes(32)))[1:],
        encode(RelayRequest(hour=1, proof=bytes(32))) + b"\x1a\x20" + bytes(32),
        encode(RelayRequest(hour=1, proof=bytes(32))) + b"\xff",
    ],
)
def test_requests_that_no_member_sends(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_request(payload)


def test_an_answer_has_a_size() -> None:
    fits = encode(RelayAnswer(refused=RelayAnswer.Refused(reason="x" * 1_000)))
    assert decode_answer(fits)
    with pytest.raises(RemoteProtocolError, match="bytes"):
        decode_answer(fits + bytes(ANSWER_SIZE_MAX_BYTES))


@given(payload=st.binary(max_size=100) | st.binary(max_size=100).map(lambda body: b"\x01" + body))
@example(payload=b"\x01\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x20" + bytes(32))
async def test_any_bytes_are_a_request_that_is_answered_or_refused(payload: bytes) -> None:
    desk = Desk()
    with contextlib.suppress(RemoteProtocolError):
        assert desk.ask(MEMBER, decode_request(payload))
    with contextlib.suppress(RemoteProtocolError):
        decode_answer(payload).SerializeToString()
    assert len(desk.server) == 0


# On real sockets


async def next_grants(transport: "OverlayTransport", *known: RelayGrant) -> tuple[RelayGrant, ...]:
    with trio.fail_after(PATIENCE_S):
        return tuple(await transport.relay_grants(known))


async def test_a_member_is_lent_the_relay(overlay: "Overlay", free_port: Callable[[], int]) -> None:
    lender, sink = Lender(), overlay.make_sink()
    overlay.place_bootstrap("bootstrap", free_port())
    async with (
        overlay.open_bootstrap("bootstrap", lend_relay=lender, sink=sink) as node,
        overlay.open_peer("a", sink=sink) as peer,
    ):
        (grant,) = await next_grants(peer)
        peer_id = peer.status()["peer_id"]
        assert lender.members == [peer_id]
        assert grant.server == Endpoint("127.0.0.1", 3478)
        assert (grant.username, grant.password) == (f"1:{peer_id}", "password-1")
        lifetime_s = grant.expires_at_wall_s - overlay.platform.wall_time()
        assert LIFETIME_S - PATIENCE_S < lifetime_s <= LIFETIME_S
        (relay,) = peer.status()["relays"]
        assert relay["server"] == "127.0.0.1:3478"
        assert 0 < relay["expires_in_s"] <= LIFETIME_S
        shown = (peer.status(), node.status(), sink.events, grant, lender("somebody"))
        assert "password-" not in repr(shown)
        assert node.status()["borrowers"] == 1
        with trio.move_on_after(0.1) as scope:
            await peer.relay_grants([grant])
        assert scope.cancelled_caught, "nothing has changed"


async def test_a_node_forgets_who_no_longer_borrows(
    overlay: "Overlay", free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "EXPIRE_S", 0.1)
    overlay.place_bootstrap("bootstrap", free_port())
    async with (
        overlay.open_bootstrap("bootstrap", lend_relay=Lender()) as node,
        overlay.open_peer("a") as peer,
    ):
        await next_grants(peer)
        assert node.status()["borrowers"] == 1
        monkeypatch.setattr(loans_module, "BORROWER_REMEMBERED_S", 0.0)
        await overlay.eventually(lambda: node.status()["borrowers"] == 0)


async def test_a_node_without_a_relay_is_asked_and_nobody_complains(
    overlay: "Overlay", free_port: Callable[[], int]
) -> None:
    for name in ("bootstrap", "relay"):
        overlay.place_bootstrap(name, free_port())
    async with (
        overlay.open_bootstrap("bootstrap") as node,
        overlay.open_bootstrap("relay", lend_relay=Lender(port=5_000)) as relay,
        overlay.open_peer("a") as peer,
    ):
        (grant,) = await next_grants(peer)
        assert grant.server.port == 5_000
        await overlay.eventually(lambda: len(peer.status()["connections"]) == 2)
        for one in (node, relay, peer):
            assert not one.status()["dropped"]


async def test_a_node_that_goes_away_keeps_its_grant_and_is_asked_when_it_is_back(
    overlay: "Overlay", free_port: Callable[[], int]
) -> None:
    overlay.place_bootstrap("bootstrap", free_port())
    async with overlay.open_peer("a") as peer:
        async with overlay.open_bootstrap("bootstrap", lend_relay=Lender()):
            (grant,) = await next_grants(peer)
        await overlay.eventually(lambda: not peer.status()["joined"])
        assert await next_grants(peer) == (grant,)
        async with overlay.open_bootstrap("bootstrap", lend_relay=Lender(port=5_000)):
            overlay.platform.change_network()  # it dials again at once
            (renewed,) = await next_grants(peer, grant)
            assert renewed.server.port == 5_000
        await overlay.eventually(lambda: not peer.status()["joined"])
        async with overlay.open_bootstrap("bootstrap"):
            overlay.platform.change_network()
            assert await next_grants(peer, renewed) == (), "it says that it relays no longer"


async def test_a_grant_is_renewed_by_the_wall_clock_too(
    overlay: "Overlay", free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "STEP_S", 0.05)
    overlay.place_bootstrap("bootstrap", free_port())
    async with (
        overlay.open_bootstrap("bootstrap", lend_relay=Lender()),
        overlay.open_peer("a") as peer,
    ):
        (grant,) = await next_grants(peer)
        overlay.platform.clock_offset_s += LIFETIME_S / 2
        (renewed,) = await next_grants(peer, grant)
        assert renewed.password == "password-2"
        assert renewed.expires_at_wall_s >= grant.expires_at_wall_s + LIFETIME_S / 2


async def test_a_stranger_is_refused_and_counted(
    overlay: "Overlay", free_port: Callable[[], int], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery staple")
    secret.chmod(0o600)
    lender = Lender()
    address = overlay.place_bootstrap("bootstrap", free_port())
    async with (
        overlay.open_bootstrap("bootstrap", lend_relay=lender, secret_file=str(secret)) as node,
        overlay.open_peer("member", secret_file=str(secret)) as member,
        overlay.open_peer("outsider") as outsider,
        overlay.open_stranger(address) as stranger,
    ):
        await next_grants(member)
        assert lender.members == [member.status()["peer_id"]]
        await overlay.eventually(lambda: bool(outsider.status()["dropped"]))
        assert outsider.status()["relays"] == []
        (reason,) = outsider.status()["dropped"]
        assert "not a member of the community" in reason

        hour = hour_at(overlay.platform.wall_time())
        proof = MembershipProof(CommunitySecret.from_passphrase("harbour", secret.read_bytes()))
        stolen = proof.make(stranger.other, member.status()["peer_id"], hour)
        stream = await stranger.open(RELAY_PROTOCOL)
        await stream.send(encode(RelayRequest(hour=hour, proof=stolen)))
        answer = decode_answer(await stream.receive())
        assert answer.refused.reason == "not a member of the community"
        assert len(lender.members) == 1
        await overlay.eventually(
            lambda: node.status()["dropped"] == {f"{RELAY_PROTOCOL}: {answer.refused.reason}": 2}
        )
