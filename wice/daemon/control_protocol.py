"""The control socket's protocol, and its client: a JSON line each way.

Request: ``{"version": 1, "verb": VERB}`` and the verb's arguments, texts by name: one that is
missing or that the verb does not know is refused, since a request that was meant otherwise must
not look answered. Answer: one object with ``"version": 1``, or ``{"version": 1, "error": TEXT}``,
with ``"argument": NAME`` where that argument is to blame; unknown keys in it are ignored. The verb
``events`` streams one object per event until the client leaves.

This module imports neither trio nor anything heavy: ``wice status`` has to be quick.
"""

import json
import os
import socket
import time
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from wice.errors import ConfigError, RemoteProtocolError, SignalingUnavailableError

VERSION = 1
REQUEST_SIZE_MAX_BYTES = 4_096
ANSWER_SIZE_MAX_BYTES = 64 * 1024 * 1024
ARGUMENTS_MAX = 8
ARGUMENT_LENGTH_MAX = 256
"""Characters of an argument's name, and of its text."""

CLIENT_TIMEOUT_S = 5.0
"""From connecting to the end of the answer."""


class Request(NamedTuple):
    """What a client asks. arguments: by name."""

    verb: str
    arguments: dict[str, str]


def encode_line(value: dict[str, Any]) -> bytes:
    return json.dumps({"version": VERSION, **value}, separators=(",", ":")).encode() + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """Read one line; raise RemoteProtocolError when it is none of this protocol."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("the control socket got a line that is not JSON") from None
    if not isinstance(value, dict):
        raise RemoteProtocolError("the control socket got a line that is no JSON object")
    if value.get("version") != VERSION:
        raise RemoteProtocolError("the control socket got another protocol version")
    return value


def decode_request(line: bytes) -> Request:
    """Read a request; raise RemoteProtocolError."""
    arguments = decode_line(line)
    del arguments["version"]
    verb = arguments.pop("verb", None)
    if not isinstance(verb, str):
        raise RemoteProtocolError("the control socket got a request without a verb")
    if len(arguments) > ARGUMENTS_MAX:
        raise RemoteProtocolError(f"more than {ARGUMENTS_MAX} arguments")
    for name, text in arguments.items():
        if not isinstance(text, str):
            raise RemoteProtocolError(f"the argument {shown(name)} is no text")
        if any(len(part) > ARGUMENT_LENGTH_MAX for part in (name, text)):
            raise RemoteProtocolError(
                f"the argument {shown(name)} is longer than {ARGUMENT_LENGTH_MAX} characters"
            )
    return Request(verb, arguments)


def shown(text: str) -> str:
    """``text`` as an error may repeat it: short, and on one line of ASCII."""
    return ascii(text if len(text) <= 48 else f"{text[:45]}...")


def request(path: FilePath, verb: str, **arguments: str) -> dict[str, Any]:
    """Ask the daemon behind ``path``; block until it answered.

    Raise SignalingUnavailableError when no daemon is there, it refuses, or it does not answer in
    ``CLIENT_TIMEOUT_S``; ConfigError when an argument is to blame.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        deadline_s = time.monotonic() + CLIENT_TIMEOUT_S
        client.settimeout(CLIENT_TIMEOUT_S)
        try:
            client.connect(os.fspath(path))
            client.sendall(encode_line({"verb": verb, **arguments}))
            line = _read_line(client, deadline_s)
        except (FileNotFoundError, ConnectionError):
            raise SignalingUnavailableError(
                f"no daemon answers at {path}; start one with `wice up`"
            ) from None
        except PermissionError:
            raise SignalingUnavailableError(
                f"{path} belongs to another user; run as the user of the daemon"
            ) from None
        except (TimeoutError, BlockingIOError):
            # unix(7) does not wait for a place in a queue that is full.
            raise SignalingUnavailableError(
                f"the daemon at {path} does not answer; if that lasts, restart it"
            ) from None
    answer = decode_line(line)
    if "error" not in answer:
        return answer
    if isinstance(answer.get("argument"), str):
        raise ConfigError(answer["argument"].upper(), str(answer["error"]))
    raise SignalingUnavailableError(f"the daemon at {path} refused: {answer['error']}")


def _read_line(client: socket.socket, deadline_s: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        client.settimeout(remaining_s)
        chunk = client.recv(65_536)
        if not chunk:
            raise ConnectionResetError
        received += chunk
        if len(received) > ANSWER_SIZE_MAX_BYTES:
            raise RemoteProtocolError("the control socket's answer does not end")
    return bytes(received)
