"""The control socket's protocol, and its client: a JSON line each way.

Request: ``{"version": 1, "verb": VERB}``. Answer: one object with ``"version": 1``, or
``{"version": 1, "error": TEXT}``. The verb ``events`` streams one object per event until the
client leaves. Unknown keys are ignored on both sides.

This module imports neither trio nor anything heavy: ``wice status`` has to be quick.
"""

import json
import os
import socket
from pathlib import Path as FilePath
from typing import Any

from wice.errors import RemoteProtocolError, SignalingUnavailableError

VERSION = 1
REQUEST_SIZE_MAX_BYTES = 4_096
ANSWER_SIZE_MAX_BYTES = 64 * 1024 * 1024
CLIENT_TIMEOUT_S = 10.0


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


def decode_verb(line: bytes) -> str:
    """The verb of a request; raise RemoteProtocolError."""
    verb = decode_line(line).get("verb")
    if not isinstance(verb, str):
        raise RemoteProtocolError("the control socket got a request without a verb")
    return verb


def request(path: FilePath, verb: str) -> dict[str, Any]:
    """Ask the daemon behind ``path``; block until it answered.

    Raise SignalingUnavailableError when no daemon is there or it refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CLIENT_TIMEOUT_S)
        try:
            client.connect(os.fspath(path))
            client.sendall(encode_line({"verb": verb}))
            line = _read_line(client)
        except (FileNotFoundError, ConnectionError):
            raise SignalingUnavailableError(
                f"no daemon answers at {path}; start one with `wice up`"
            ) from None
        except PermissionError:
            raise SignalingUnavailableError(
                f"{path} belongs to another user; run as the user of the daemon"
            ) from None
        except TimeoutError:
            raise SignalingUnavailableError(f"the daemon at {path} does not answer") from None
    answer = decode_line(line)
    if "error" in answer:
        raise SignalingUnavailableError(f"the daemon at {path} refused: {answer['error']}")
    return answer


def _read_line(client: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        chunk = client.recv(65_536)
        if not chunk:
            raise ConnectionResetError
        received += chunk
        if len(received) > ANSWER_SIZE_MAX_BYTES:
            raise RemoteProtocolError("the control socket's answer does not end")
    return bytes(received)
