"""The control socket answers its owner, refuses nonsense and never ends for it."""

import socket
import stat
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from wice.daemon import control_protocol
from wice.daemon.control import Verb, bind_control, open_events, request_async, serve_control
from wice.daemon.control_protocol import (
    ARGUMENTS_MAX,
    Request,
    decode_request,
    encode_line,
    request,
)
from wice.errors import (
    ConfigError,
    DeviceRejectedError,
    RemoteProtocolError,
    SignalingUnavailableError,
)
from wice.events import EventStream, OverlayLost


def status_verb(**answer: Any) -> dict[str, Verb]:
    return {"status": Verb(lambda: answer)}


def praise(peer: str) -> dict[str, Any]:
    if peer != "bob":
        raise ConfigError("peer", f"{peer!r} is nobody here", "there is bob")
    return {"praise": f"{peer} is reachable"}


@asynccontextmanager
async def listen_control(
    path: Path, verbs: Mapping[str, Verb], events: EventStream
) -> AsyncIterator[None]:
    async with bind_control(path) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(serve_control, listener, verbs, events)
        yield
        nursery.cancel_scope.cancel()


async def test_a_client_waits_for_a_daemon_that_is_starting(tmp_path: Path) -> None:
    path = tmp_path / "wice.sock"
    answers: list[dict[str, Any]] = []

    async def ask() -> None:
        answers.append(await request_async(path, "status"))
        nursery.cancel_scope.cancel()

    async with bind_control(path) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(serve_control, listener, status_verb(uptime_s=0.5), EventStream())
    assert answers[0]["uptime_s"] == 0.5


async def test_status_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "run" / "wice.sock"
    async with listen_control(path, status_verb(uptime_s=1.5), EventStream()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await request_async(path, "status"))["uptime_s"] == 1.5
        assert (await trio.to_thread.run_sync(request, path, "status"))["uptime_s"] == 1.5
    assert not path.exists()


async def test_events_are_streamed(tmp_path: Path) -> None:
    path, events = tmp_path / "wice.sock", EventStream()
    async with listen_control(path, status_verb(), events), trio.open_nursery() as nursery:
        got = trio.Event()

        async def watch() -> None:
            async with open_events(path) as stream:
                event = await anext(stream)
            assert event["event"] == "OverlayLost"
            got.set()

        async def emit() -> None:
            while not got.is_set():
                events.emit(OverlayLost())
                await trio.sleep(0.001)

        nursery.start_soon(watch)
        nursery.start_soon(emit)


async def test_nonsense_is_refused_and_the_next_is_served(tmp_path: Path) -> None:
    path, events = tmp_path / "wice.sock", EventStream()
    async with listen_control(path, status_verb(uptime_s=2.0), events):
        for nonsense in (b"\n", b"\xff\n", b"[]\n", b'{"version":1}\n', b'{"version":2}\n', b"x"):
            async with await trio.open_unix_socket(str(path)) as stream:
                await stream.send_all(nonsense)
                await stream.send_eof()
                assert b"error" in await stream.receive_some()
        with pytest.raises(SignalingUnavailableError, match="unknown verb"):
            await trio.to_thread.run_sync(request, path, "dance")
        assert (await request_async(path, "status"))["uptime_s"] == 2.0
        assert events.counts["Dropped.control"] == 7


async def test_a_client_that_dies_ends_nothing(tmp_path: Path) -> None:
    path, events = tmp_path / "wice.sock", EventStream()
    async with listen_control(path, status_verb(uptime_s=2.0), events):
        for _ in range(3):
            async with open_events(path):
                # Closing with unread events resets the connection.
                await trio.testing.wait_all_tasks_blocked()
                events.emit(OverlayLost())
                await trio.testing.wait_all_tasks_blocked()
            events.emit(OverlayLost())
            assert (await request_async(path, "status"))["uptime_s"] == 2.0


async def test_a_second_daemon_is_refused_and_a_dead_ones_socket_is_taken_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "wice.sock"
    async with listen_control(path, status_verb(), EventStream()):
        with pytest.raises(DeviceRejectedError, match="running"):
            async with listen_control(path, status_verb(), EventStream()):
                pass
        assert await request_async(path, "status")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with listen_control(path, status_verb(), EventStream()):
        assert await request_async(path, "status")


def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SignalingUnavailableError, match="wice up"):
        request(tmp_path / "none.sock", "status")


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_daemon_that_never_answers_is_one_line(
    tmp_path: Path, waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_protocol, "CLIENT_TIMEOUT_S", 0.05)
    path = tmp_path / "wice.sock"
    with ExitStack() as stack:
        stuck = stack.enter_context(socket.socket(socket.AF_UNIX))
        stuck.bind(str(path))
        # A queue of length 0 takes one client.
        stuck.listen(0)
        for _ in range(waiting):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        with pytest.raises(SignalingUnavailableError, match="does not answer"):
            request(path, "status")


def test_an_answer_that_only_drips_is_waited_for_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(step=1.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(b"{")
        with pytest.raises(TimeoutError):
            control_protocol._read_line(ours, deadline_s=0.5)


async def test_a_verb_gets_its_arguments_and_no_others(tmp_path: Path) -> None:
    path, events = tmp_path / "wice.sock", EventStream()
    verbs = {**status_verb(uptime_s=2.0), "praise": Verb(praise, ("peer",))}

    async def ask(verb: str, **arguments: str) -> dict[str, Any]:
        return await trio.to_thread.run_sync(lambda: request(path, verb, **arguments))

    async with listen_control(path, verbs, events):
        assert (await ask("praise", peer="bob"))["praise"] == "bob is reachable"
        assert await request_async(path, "praise", peer="bob") == await ask("praise", peer="bob")
        with pytest.raises(ConfigError, match=r"^PEER: 'eve' is nobody here; there is bob$"):
            await ask("praise", peer="eve")
        assert events.counts["Dropped.control"] == 0  # Who mistypes a name attacks nobody.
        for verb, arguments, refusal in (
            ("praise", {}, "praise needs the argument 'peer'"),
            ("praise", {"peer": "bob", "loud": "1"}, "praise takes no argument 'loud'"),
            ("status", {"peer": "bob"}, "status takes no argument 'peer'"),
            ("events", {"since": "1"}, "events takes no argument 'since'"),
            ("dance", {}, "unknown verb 'dance'; there are status, praise, events"),
        ):
            with pytest.raises(SignalingUnavailableError, match=refusal):
                await ask(verb, **arguments)
        assert events.counts["Dropped.control"] == 5


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ({"peer": 1}, "no text"),
        ({"peer": ["bob"]}, "no text"),
        ({"peer": "x" * 257}, "longer than 256"),
        ({"x" * 257: "bob"}, "longer than 256"),
        ({str(i): "" for i in range(ARGUMENTS_MAX + 1)}, "more than 8"),
    ],
)
def test_an_argument_is_a_short_text(arguments: dict[str, Any], refusal: str) -> None:
    with pytest.raises(RemoteProtocolError, match=refusal) as refused:
        decode_request(encode_line({"verb": "praise", **arguments}))
    assert len(str(refused.value)) < 120 and str(refused.value).isascii()


@given(st.binary(max_size=200))
def test_any_request_is_read_or_refused(line: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert isinstance(decode_request(line), Request)
