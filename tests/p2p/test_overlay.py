"""The overlay as its users see it: nodes on loopback, real sockets, real py-libp2p."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import base58
import pytest
import trio

from p2p import anchors as anchors_module
from p2p import backend as backend_module
from p2p import inboxes as inboxes_module
from p2p.anchors import AnchorServer
from p2p.host import Host
from p2p.section import TcpAddress, check_peer_id
from p2p.watches import WatchServer
from wice.errors import (
    ConfigError,
    SignalingClosedError,
    SignalingError,
    SignalingUnavailableError,
)
from wice.events import (
    EnvelopeDelivered,
    OverlayJoined,
    OverlayLost,
    PeerFound,
    PresencePublished,
)
from wice.keys import KeyHolder

if TYPE_CHECKING:
    from p2p.backend import OverlayTransport
    from tests.p2p.conftest import Overlay, Sink


@pytest.fixture
async def bootstrap(
    overlay: "Overlay", free_port: Callable[[], int]
) -> AsyncIterator["OverlayTransport"]:
    overlay.place_bootstrap("bootstrap", free_port())
    async with overlay.open_bootstrap("bootstrap") as transport:
        yield transport


async def test_a_peer_says_when_it_joins_publishes_finds_and_delivers(
    overlay: "Overlay", bootstrap: "OverlayTransport", sink: "Sink"
) -> None:
    ours, theirs = overlay.make_holder(), overlay.make_holder()
    async with (
        overlay.open_peer("a", sink=sink) as a,
        overlay.open_peer("b") as b,
        a.subscribe(ours),
        b.subscribe(theirs) as inbox,
    ):
        (joined,) = await sink.wait_for(OverlayJoined)
        assert joined.as_json()["peer_id"] == bootstrap.status()["peer_id"]
        published = await sink.wait_for(PresencePublished, 2)
        assert {event.as_json()["replicas"] for event in published} == {1}
        assert len({event.as_json()["epoch"] for event in published}) == 2
        await overlay.send(a, theirs.public_key, b"hello")
        assert await inbox.receive() == b"hello"
        assert sink.of(PeerFound)[0].as_json()["peer"] == str(theirs.public_key)
        (delivered,) = sink.of(EnvelopeDelivered)
        assert delivered.as_json()["way"] == "anchor"


async def test_who_is_written_to_is_found_the_moment_it_appears(
    overlay: "Overlay", bootstrap: "OverlayTransport", sink: "Sink"
) -> None:
    theirs = overlay.make_holder()
    async with overlay.open_peer("a", sink=sink) as a:
        await sink.wait_for(OverlayJoined)
        with pytest.raises(SignalingUnavailableError):
            await a.send(theirs.public_key, b"too early")
        async with overlay.open_peer("b") as b, b.subscribe(theirs) as inbox:
            await sink.wait_for(PeerFound)
            await a.send(theirs.public_key, b"now")
            assert await inbox.receive() == b"now"


async def test_what_a_bootstrap_node_stores_names_nobody(
    overlay: "Overlay", bootstrap: "OverlayTransport", sink: "Sink"
) -> None:
    holder = overlay.make_holder()
    section = {"community": "harbour-of-names", "announce": ["/ip4/198.51.100.77/tcp/4077"]}
    async with overlay.open_peer("a", sink=sink, **section) as a, a.subscribe(holder):
        await sink.wait_for(PresencePublished, 2)
        peer_id = a.status()["peer_id"]
    stored = bootstrap._state.store.stored_bytes()
    assert len(stored) == 2
    public_key = bytes(holder.public_key)
    secrets = [
        public_key,
        base64.b64encode(public_key),
        base64.urlsafe_b64encode(public_key).rstrip(b"="),
        b"harbour-of-names",
        b"198.51.100.77",
        bytes([198, 51, 100, 77]),
        (4077).to_bytes(2, "big"),
        b"127.0.0.1",
    ]
    for identity in (peer_id, bootstrap.status()["peer_id"]):
        raw = check_peer_id(identity)
        secrets += [identity.encode(), raw, raw[-32:], base58.b58encode(raw[-32:])]
    for key, record in stored:
        for secret in secrets:
            if len(secret) > 2:  # two bytes come up by chance
                assert secret not in key + record
    # Nothing but the form is common to the records of two epochs.
    (key, record), (other_key, other) = stored
    windows = {record[at : at + 8] for at in range(len(record) - 8)}
    shared = [at for at in range(len(other) - 8) if other[at : at + 8] in windows]
    assert all(at < 26 for at in shared), "beyond version, sequence, expiry and epoch"
    assert key[:6] == other_key[:6] == b"/wice/"
    assert key[6:] != other_key[6:]


async def test_a_bootstrap_node_restarted_from_its_state_is_rejoined(
    overlay: "Overlay", free_port: Callable[[], int], sink: "Sink"
) -> None:
    overlay.place_bootstrap("bootstrap", free_port())
    theirs = overlay.make_holder()
    async with (
        overlay.open_peer("a", sink=sink) as a,
        overlay.open_peer("b") as b,
        b.subscribe(theirs) as inbox,
    ):
        async with overlay.open_bootstrap("bootstrap") as first:
            peer_id = first.status()["peer_id"]
            await overlay.send(a, theirs.public_key, b"before")
        await sink.wait_for(OverlayLost)
        with pytest.raises(SignalingUnavailableError):
            await a.send(theirs.public_key, b"while it is away")
        async with overlay.open_bootstrap("bootstrap") as again:
            assert again.status()["peer_id"] == peer_id
            await sink.wait_for(OverlayJoined, 2)
            await overlay.send(a, theirs.public_key, b"after")
        assert await inbox.receive() == b"before"
        assert await inbox.receive() == b"after"


async def test_one_of_two_bootstrap_nodes_may_die(
    overlay: "Overlay", free_port: Callable[[], int]
) -> None:
    overlay.place_bootstrap("first", free_port())
    overlay.place_bootstrap("second", free_port())
    theirs = overlay.make_holder()
    async with (
        overlay.open_bootstrap("second"),
        overlay.open_peer("a") as a,
        overlay.open_peer("b") as b,
        b.subscribe(theirs) as inbox,
    ):
        async with overlay.open_bootstrap("first"):
            await overlay.eventually(lambda: len(a.status()["connections"]) == 2)
            await overlay.eventually(lambda: set(b.status()["published"].values()) == {2})
            await overlay.send(a, theirs.public_key, b"with both")
        await a.send(theirs.public_key, b"with one, at the first attempt")
        assert await inbox.receive() == b"with both"
        assert await inbox.receive() == b"with one, at the first attempt"
        await overlay.eventually(lambda: len(b.status()["anchors"]) == 1)


async def test_what_is_known_gives_way_to_what_is_so(
    overlay: "Overlay", free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipient moved to another anchor, and no watch told: it is looked up afresh."""
    overlay.place_bootstrap("first", free_port())
    overlay.place_bootstrap("second", free_port())
    theirs = overlay.make_holder()
    async with (
        overlay.open_bootstrap("first"),
        overlay.open_bootstrap("second"),
        overlay.open_peer("a") as a,
    ):
        async with (
            overlay.open_peer("b", bootstrap=overlay.bootstrap[:1]) as b,
            b.subscribe(theirs),
        ):
            await overlay.send(a, theirs.public_key, b"over the first")
        monkeypatch.setattr(WatchServer, "stored", lambda *_: None)
        async with (
            overlay.open_peer("b", bootstrap=overlay.bootstrap[1:]) as b,
            b.subscribe(theirs) as inbox,
        ):
            await overlay.eventually(lambda: len(b.status()["published"]) == 2)
            await a.send(theirs.public_key, b"over the second")
            assert await inbox.receive() == b"over the second"


@pytest.mark.parametrize("cause", ["silence", "network change"])
async def test_a_connection_on_which_nobody_answers_is_dialled_anew(
    overlay: "Overlay",
    bootstrap: "OverlayTransport",
    sink: "Sink",
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
) -> None:
    sessions: list[Any] = []
    open_session: Any = anchors_module._AnchorSession

    def keep_session(*arguments: Any) -> Any:
        sessions.append(open_session(*arguments))
        return sessions[-1]

    async def take_no_pings(server: AnchorServer, message: Any, subscriber: Any) -> None:
        if message.WhichOneof("kind") != "ping":
            await take(server, message, subscriber)

    take = AnchorServer._take
    monkeypatch.setattr(anchors_module, "_AnchorSession", keep_session)
    if cause == "silence":
        monkeypatch.setattr(anchors_module, "PING_INTERVAL_S", 0.1)
    async with overlay.open_peer("a", sink=sink) as a:
        await sink.wait_for(OverlayJoined)
        assert a._node is not None
        (connection,) = a._node.host._swarm.get_connections()
        await overlay.eventually(lambda: bool(sessions))
        if cause == "network change":
            overlay.platform.change_network()
        pongs = {"silence": 2, "network change": 1}[cause]
        await overlay.eventually(lambda: sessions[0]._pongs.count >= pongs)
        assert not connection.is_closed, "pings are answered"
        monkeypatch.setattr(AnchorServer, "_take", take_no_pings)
        # A machine that is busy takes as long to answer: no sooner may silence be short.
        monkeypatch.setattr(anchors_module, "PING_TIMEOUT_S", 0.2)
        monkeypatch.setattr(anchors_module, "PROBE_TIMEOUT_S", 0.2)
        if cause == "network change":
            overlay.platform.change_network()
        await sink.wait_for(OverlayLost)
        await sink.wait_for(OverlayJoined, 2)
        assert connection.is_closed
        assert a.status()["unreachable"] == {}


async def test_a_peer_with_a_public_address_is_reached_directly(
    overlay: "Overlay", bootstrap: "OverlayTransport", free_port: Callable[[], int], sink: "Sink"
) -> None:
    theirs = overlay.make_holder()
    address = f"/ip4/127.0.0.1/tcp/{free_port()}"
    public = {"listen": [address], "announce": [address]}
    async with (
        overlay.open_peer("a", sink=sink) as a,
        overlay.open_peer("b", **public) as b,
        b.subscribe(theirs) as inbox,
    ):
        await overlay.send(a, theirs.public_key, b"hello")
        assert await inbox.receive() == b"hello"
        assert [event.as_json()["way"] for event in sink.of(EnvelopeDelivered)] == ["stream"]
        # A client that listens is still no server of the DHT.
        assert bootstrap._node is not None
        assert len(bootstrap._node._table) == 0


async def test_servers_get_to_know_each_other_and_only_where_they_answer(
    overlay: "Overlay", free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay.place_bootstrap("first", free_port())
    dialled: list[str] = []
    verify = Host.verify_address

    async def spy(host: Host, peer_id: str, address: TcpAddress) -> bool:
        dialled.append(str(address))
        return await verify(host, peer_id, address)

    monkeypatch.setattr(Host, "verify_address", spy)

    def listening() -> dict[str, list[str]]:
        return {"listen": [f"/ip4/127.0.0.1/tcp/{free_port()}"]}

    nobody = [f"/ip4/127.0.0.1/tcp/{free_port()}"]
    async with (
        overlay.open_bootstrap("first") as first,
        overlay.open_bootstrap("lying", **listening(), announce=nobody) as lying,
        overlay.open_bootstrap(
            "elsewhere", **listening(), announce=["/ip4/192.0.2.1/tcp/4001"]
        ) as elsewhere,
    ):
        assert first._node is not None
        table = first._node._table
        for liar in (lying, elsewhere):
            await overlay.eventually(lambda liar=liar: bool(liar.status()["connections"]))
            assert liar._node is not None
            await liar._node.dht.refresh()
        async with overlay.open_bootstrap("second", **listening()) as second:
            await overlay.eventually(lambda: second.status()["peer_id"] in table)
            assert lying.status()["peer_id"] not in table
            assert elsewhere.status()["peer_id"] not in table
    assert nobody[0] in dialled, "it was asked"
    assert "/ip4/192.0.2.1/tcp/4001" not in dialled, "nobody is dialled at another's address"


async def test_a_host_that_dies_is_started_again(
    overlay: "Overlay", bootstrap: "OverlayTransport", sink: "Sink"
) -> None:
    theirs = overlay.make_holder()

    async def die() -> None:
        raise OSError("something the library did not think of")

    async with (
        overlay.open_peer("a", sink=sink) as a,
        overlay.open_peer("b") as b,
        b.subscribe(theirs) as inbox,
    ):
        await overlay.send(a, theirs.public_key, b"before")
        for transport in (a, b, bootstrap):
            assert transport._node is not None
            transport._node.host._swarm.manager.run_task(die)
        await sink.wait_for(OverlayLost)
        await overlay.send(a, theirs.public_key, b"after")
        assert [await inbox.receive(), await inbox.receive()] == [b"before", b"after"]
        assert [t.status()["restarts"] for t in (a, b, bootstrap)] == [1, 1, 1]
        assert "the host died: OSError" in sink.dropped


async def test_a_host_that_keeps_dying_is_given_up(
    overlay: "Overlay", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "RESTART_WAIT_S", 0.0)
    monkeypatch.setattr(backend_module, "RESTARTS_MAX", 2)

    async def die() -> None:
        raise OSError("again")

    with pytest.raises(SignalingError, match="keeps dying"):
        async with overlay.open_bootstrap("bootstrap") as transport:
            killed = None
            while True:
                # One that is dying is not gone yet, and takes no further task.
                if transport._node is not None and transport._node is not killed:
                    killed = transport._node
                    killed.host._swarm.manager.run_task(die)
                await trio.sleep(0.05)


async def test_a_full_inbox_refuses_and_says_so(
    overlay: "Overlay", bootstrap: "OverlayTransport", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inboxes_module, "INBOX_MAX", 3)
    theirs = overlay.make_holder()
    async with (
        overlay.open_peer("a") as a,
        overlay.open_peer("b") as b,
        b.subscribe(theirs) as inbox,
    ):
        for _ in range(3):
            await overlay.send(a, theirs.public_key, b"as many as fit")
        with pytest.raises(SignalingUnavailableError):
            await a.send(theirs.public_key, b"one too many")
        await inbox.receive()
        await a.send(theirs.public_key, b"room again")


async def test_a_port_in_use_is_one_line(overlay: "Overlay", bootstrap: "OverlayTransport") -> None:
    listen = bootstrap.status()["listen"][0].partition("/p2p/")[0]
    with pytest.raises(SignalingError, match=r"cannot listen on .*overlay\.listen"):
        async with overlay.open_bootstrap("other", listen=[listen]):
            pass


async def test_a_peer_without_a_bootstrap_list_is_a_config_error(overlay: "Overlay") -> None:
    with pytest.raises(ConfigError) as caught:
        async with overlay.open_peer("a"):
            pass
    assert caught.value.where == "overlay.bootstrap"


async def test_what_the_body_raises_comes_out_as_itself(
    overlay: "Overlay", bootstrap: "OverlayTransport"
) -> None:
    with pytest.raises(KeyError):
        async with overlay.open_peer("a"):
            raise KeyError("of the caller")


async def test_without_a_bootstrap_node_sending_fails_soon_and_says_why(
    overlay: "Overlay", free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "JOIN_WAIT_S", 0.2)
    overlay.place_bootstrap("bootstrap", free_port())
    async with overlay.open_peer("a") as a:
        with pytest.raises(SignalingUnavailableError, match="no bootstrap node"):
            await a.send(overlay.make_holder().public_key, b"hello")
        await overlay.eventually(lambda: bool(a.status()["unreachable"]))
        (reason,) = a.status()["unreachable"].values()
        assert reason.startswith("127.0.0.1:")
        assert reason.endswith(" does not answer over TCP (Connection refused)")


async def test_closing_ends_everything(overlay: "Overlay", bootstrap: "OverlayTransport") -> None:
    holder: KeyHolder = overlay.make_holder()
    async with overlay.open_peer("a") as a, a.subscribe(holder) as inbox:
        await a.aclose()
        with pytest.raises(trio.EndOfChannel):
            await inbox.receive()
        with pytest.raises(SignalingClosedError):
            await a.send(holder.public_key, b"late")
        with pytest.raises(SignalingClosedError):
            async with a.subscribe(holder):
                pass
        await a.aclose()
    await overlay.eventually(lambda: not bootstrap.status()["connections"])


async def test_the_status_is_json(overlay: "Overlay", bootstrap: "OverlayTransport") -> None:
    async with overlay.open_peer("a") as a, a.subscribe(overlay.make_holder()):
        await overlay.eventually(lambda: len(a.status()["published"]) == 2)
        await overlay.eventually(lambda: bootstrap.status()["subscriptions"] == 2)
        status = json.loads(json.dumps(a.status()))
        assert status["joined"] is True
        assert status["anchors"] == [bootstrap.status()["peer_id"]]
        assert [str(server) for server in a.stun_servers()] == ["127.0.0.1:3478", "127.0.0.1:3479"]
        served = json.loads(json.dumps(bootstrap.status()))
        assert served["listen"] == overlay.bootstrap
        assert served["records"] == served["subscriptions"] == 2
