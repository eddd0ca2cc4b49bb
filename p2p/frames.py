"""Frames on a libp2p stream: an unsigned varint length and that many bytes (sans-IO)."""

from collections.abc import Iterator

from google.protobuf.message import DecodeError, Message

from wice.errors import RemoteProtocolError

LENGTH_SIZE_MAX_BYTES = 3
"""Bytes of a varint length: frames stay below 2 MiB whatever their own limit says."""


def encode_frame(payload: bytes) -> bytes:
    """``payload`` behind its length (multiformats, unsigned-varint)."""
    length = len(payload)
    head = bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    assert len(head) <= LENGTH_SIZE_MAX_BYTES
    return bytes(head) + payload


class FrameDecoder:
    """Cuts what a stream brings into frames of at most ``size_max_bytes``."""

    def __init__(self, size_max_bytes: int) -> None:
        self._size_max_bytes = size_max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next whole frame, None until there is one; raise RemoteProtocolError."""
        head = self._length()
        if head is None:
            return None
        length, start = head
        if length > self._size_max_bytes:
            raise RemoteProtocolError(f"a frame of {length} bytes, above {self._size_max_bytes}")
        if len(self._buffer) < start + length:
            return None
        frame = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length]
        return frame

    def __iter__(self) -> Iterator[bytes]:
        while (frame := self.next_frame()) is not None:
            yield frame

    def _length(self) -> tuple[int, int] | None:
        value = 0
        for index, byte in enumerate(self._buffer[:LENGTH_SIZE_MAX_BYTES]):
            value |= (byte & 0x7F) << (7 * index)
            if not byte & 0x80:
                if byte == 0 and index:
                    raise RemoteProtocolError("a length that is not the shortest varint")
                return value, index + 1
        if len(self._buffer) >= LENGTH_SIZE_MAX_BYTES:
            raise RemoteProtocolError("a length that is too long")
        return None


def parse(message: Message, frame: bytes) -> None:
    """Fill ``message`` from ``frame``; raise RemoteProtocolError."""
    try:
        message.ParseFromString(frame)
    except DecodeError:
        raise RemoteProtocolError(f"a {message.DESCRIPTOR.name} that does not parse") from None
