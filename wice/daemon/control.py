"""The control socket: a Unix socket that only the daemon's own user and root may use."""

import os
import socket as stdlib_socket
import stat
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Self

import trio

from wice.daemon.control_protocol import (
    ANSWER_SIZE_MAX_BYTES,
    REQUEST_SIZE_MAX_BYTES,
    Request,
    decode_line,
    decode_request,
    encode_line,
    shown,
)
from wice.errors import (
    ConfigError,
    DevicePermissionDeniedError,
    DeviceRejectedError,
    RemoteProtocolError,
)
from wice.events import Dropped, EventStream

CLIENTS_MAX = 32
REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Verb:
    """What clients may ask. answer: gets every one of ``arguments`` by its name and gives plain
    JSON values; raise ConfigError for an argument that is wrong, ``where`` being its name.
    """

    answer: Callable[..., dict[str, Any]]
    arguments: tuple[str, ...] = ()


@asynccontextmanager
async def bind_control(path: FilePath) -> AsyncIterator[trio.SocketListener]:
    """Hold ``path`` while the context lasts; the file is gone afterwards.

    Clients may connect at once, and wait until ``serve_control`` runs. Raise DeviceRejectedError
    when another daemon answers there, DevicePermissionDeniedError.
    """
    listener = await _bind(path)
    inode = path.stat().st_ino
    try:
        async with listener:
            yield listener
    finally:
        # Another daemon may have taken the place since.
        if path.exists() and path.stat().st_ino == inode:
            path.unlink()


async def serve_control(
    listener: trio.SocketListener, verbs: Mapping[str, Verb], events: EventStream
) -> None:
    """Answer clients until cancelled; ``events`` is a verb beside ``verbs``."""
    await trio.serve_listeners(_Server(verbs, events).client, [listener])


@asynccontextmanager
async def open_events(path: FilePath) -> AsyncIterator["EventReader"]:
    """Every event of the daemon behind ``path`` from now on, until it ends.

    Raise OSError when no daemon is there.
    """
    async with await trio.open_unix_socket(os.fspath(path)) as stream:
        await stream.send_all(encode_line({"verb": "events"}))
        yield EventReader(stream)


class EventReader:
    """Iterates over events as JSON objects; raises RemoteProtocolError."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = bytearray()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            chunk = await self._stream.receive_some()
            if not chunk:
                raise StopAsyncIteration
            self._received += chunk
            _check_size(self._received)
        line, _, rest = self._received.partition(b"\n")
        self._received = rest
        return decode_line(bytes(line))


async def request_async(path: FilePath, verb: str, **arguments: str) -> dict[str, Any]:
    """``control_protocol.request`` for trio programs, who see an ``error`` as the answer; raise
    OSError, RemoteProtocolError.
    """
    async with await trio.open_unix_socket(os.fspath(path)) as stream:
        await stream.send_all(encode_line({"verb": verb, **arguments}))
        received = bytearray()
        async for chunk in stream:
            received += chunk
            _check_size(received)
            if received.endswith(b"\n"):
                break
        return decode_line(bytes(received))


def _check_size(received: bytearray) -> None:
    if len(received) > ANSWER_SIZE_MAX_BYTES:
        raise RemoteProtocolError("the control socket's answer does not end")


async def _bind(path: FilePath) -> trio.SocketListener:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            await _remove_stale(path)
        socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        umask = os.umask(0o177)
        try:
            await socket.bind(os.fspath(path))
        finally:
            os.umask(umask)
    except PermissionError:
        raise DevicePermissionDeniedError(
            f"control socket {path}: no permission; set control_socket to a place of this user"
        ) from None
    except OSError as error:
        raise DeviceRejectedError(f"control socket {path}: {error.strerror or error}") from None
    socket.listen(CLIENTS_MAX)
    return trio.SocketListener(socket)


async def _remove_stale(path: FilePath) -> None:
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise DeviceRejectedError(f"control socket {path}: is there already and no socket")
    try:
        stream = await trio.open_unix_socket(os.fspath(path))
    except ConnectionRefusedError:
        path.unlink()
        return
    await stream.aclose()
    raise DeviceRejectedError(
        f"control socket {path}: a daemon is running there; stop it, or set another control_socket"
    )


class _Server:
    def __init__(self, verbs: Mapping[str, Verb], events: EventStream) -> None:
        self._verbs = verbs
        self._events = events
        self._places = trio.CapacityLimiter(CLIENTS_MAX)

    async def client(self, stream: trio.SocketStream) -> None:
        async with stream, self._places:
            if not _is_allowed(stream):
                self._events.emit(Dropped(room="control", reason="a process of another user"))
                return
            try:
                await self._answer(stream)
            except RemoteProtocolError as error:
                self._events.emit(Dropped(room="control", reason=str(error)))
                with trio.move_on_after(REQUEST_TIMEOUT_S), suppress(trio.BrokenResourceError):
                    await stream.send_all(encode_line({"error": str(error)}))
            except (trio.BrokenResourceError, trio.TooSlowError):
                return

    async def _answer(self, stream: trio.SocketStream) -> None:
        with trio.fail_after(REQUEST_TIMEOUT_S):
            asked = decode_request(await _receive_line(stream))
        if asked.verb == "events":
            _check_arguments(asked, ())
            await self._stream_events(stream)
            return
        verb = self._verbs.get(asked.verb)
        if verb is None:
            known = ", ".join([*self._verbs, "events"])
            raise RemoteProtocolError(f"unknown verb {shown(asked.verb)}; there are {known}")
        _check_arguments(asked, verb.arguments)
        try:
            answer = verb.answer(**asked.arguments)
        except ConfigError as error:
            why = f"{error.why}; {error.hint}" if error.hint else error.why
            answer = {"error": why, "argument": error.where}
        with trio.fail_after(REQUEST_TIMEOUT_S):
            await stream.send_all(encode_line(answer))

    async def _stream_events(self, stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:

            async def watch_for_end() -> None:
                # A client that was killed resets the connection instead of closing it.
                with suppress(trio.BrokenResourceError):
                    while await stream.receive_some(REQUEST_SIZE_MAX_BYTES):
                        pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch_for_end)
            with self._events.subscribe() as events, suppress(trio.BrokenResourceError):
                async for event in events:
                    await stream.send_all(encode_line(event.as_json()))


def _check_arguments(asked: Request, names: tuple[str, ...]) -> None:
    for name in asked.arguments:
        if name not in names:
            raise RemoteProtocolError(f"{asked.verb} takes no argument {shown(name)}")
    for name in names:
        if name not in asked.arguments:
            raise RemoteProtocolError(f"{asked.verb} needs the argument {name!r}")


def _is_allowed(stream: trio.SocketStream) -> bool:
    """Linux tells who connected (unix(7), SO_PEERCRED)."""
    size_bytes = struct.calcsize("3i")
    credentials = stream.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_PEERCRED, size_bytes)
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return uid in (0, os.geteuid())


async def _receive_line(stream: trio.SocketStream) -> bytes:
    received = bytearray()
    while b"\n" not in received:
        chunk = await stream.receive_some(REQUEST_SIZE_MAX_BYTES)
        received += chunk
        if not chunk or len(received) > REQUEST_SIZE_MAX_BYTES:
            raise RemoteProtocolError("the control socket got no whole request")
    return bytes(received).partition(b"\n")[0]
