"""Changes a valid message as a *program* says: a few bytes, from hypothesis or from a seed.

The first byte chooses the message; each five bytes after it are one change: what, where (16 bits),
how (16 bits). Any bytes are a program, so hypothesis shrinks a failing one byte by byte, and a
seeded generator makes 100,000 of them in a second.
"""

from collections.abc import Callable, Sequence

SIZE_MAX_BYTES = 1 << 17
"""No message grows beyond this: larger than anything that a limit of ours admits."""

CHANGES_MAX = 4
PROGRAM_SIZE_MIN_BYTES = 6
PROGRAM_SIZE_MAX_BYTES = 1 + 5 * CHANGES_MAX

Samples = Sequence[bytes]

_EDGES = b"\x00\x01\x7f\x80\xfe\xff"
_LENGTHS = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF)
_GROWTHS = (1, 3, 4, 16, 300, 70_000)


def mutate(
    program: bytes, samples: Samples, changes: "Sequence[Change]", tokens: Samples = ()
) -> bytes:
    """One of ``samples`` with those of ``changes`` that ``program`` names.

    tokens: what ``insert_token`` and ``set_value`` put into texts.
    """
    data = samples[program[0] % len(samples)]
    for at in range(1, len(program) - 4, 5):
        change = changes[program[at] % len(changes)]
        where = int.from_bytes(program[at + 1 : at + 3], "big")
        how = int.from_bytes(program[at + 3 : at + 5], "big")
        data = change(data, where, how, tokens if change in _WITH_TOKENS else samples)
        data = data[:SIZE_MAX_BYTES]
    return data


def _flip_bit(data: bytes, where: int, how: int, _: Samples) -> bytes:
    at = where % (len(data) or 1)
    return data[:at] + bytes((data[at] ^ 1 << how % 8,)) + data[at + 1 :] if data else b""


def _set_byte(data: bytes, where: int, how: int, _: Samples) -> bytes:
    at = where % (len(data) + 1)
    value = _EDGES[how % 6] if how & 0x100 else how & 0xFF
    return data[:at] + bytes((value,)) + data[at + 1 :]


def _truncate(data: bytes, where: int, how: int, _: Samples) -> bytes:
    return data[: where % (len(data) + 1)]


def _extend(data: bytes, where: int, how: int, _: Samples) -> bytes:
    return data + bytes((where & 0xFF,)) * _GROWTHS[how % len(_GROWTHS)]


def _delete(data: bytes, where: int, how: int, _: Samples) -> bytes:
    at = where % (len(data) + 1)
    return data[:at] + data[at + 1 + how % 64 :]


def _double(data: bytes, where: int, how: int, _: Samples) -> bytes:
    """A piece stands there several times: repeated fields, attributes, lines."""
    at = where % (len(data) + 1)
    piece = data[at : at + 1 + how % 64]
    return data[:at] + piece * (2 + how // 64 % 64) + data[at + len(piece) :]


def _splice(data: bytes, where: int, how: int, samples: Samples) -> bytes:
    """The head of this message and the tail of another."""
    other = samples[how % len(samples)]
    at = where % (len(data) + 1)
    return data[:at] + other[how * len(other) >> 16 :]


def _graft(data: bytes, where: int, how: int, samples: Samples) -> bytes:
    """A piece of another message over a piece of this one, in the same place."""
    other = samples[how % len(samples)]
    at = where % (len(data) + 1)
    piece = other[at : at + 1 + how % 48]
    return data[:at] + piece + data[at + len(piece) :]


def _set_length(data: bytes, where: int, how: int, _: Samples) -> bytes:
    """Two or four bytes, in either order, that may be a length say something else."""
    at = where % (len(data) + 1)
    size = 4 if how & 1 else 2
    order = "big" if how & 2 else "little"
    assert order in ("big", "little")
    field = int.from_bytes(data[at : at + size], order)
    changed = field + (how >> 8 & 0xF) - 8 if how & 4 else _LENGTHS[(how >> 8) % len(_LENGTHS)]
    return data[:at] + (changed % (1 << 8 * size)).to_bytes(size, order) + data[at + size :]


def _insert_varint(data: bytes, where: int, how: int, _: Samples) -> bytes:
    """A long or overlong varint, as protobuf and frames have for numbers and lengths."""
    at = where % (len(data) + 1)
    return data[:at] + b"\xff" * (how % 11) + bytes((how >> 8 & 0x7F,)) + data[at + how % 3 :]


def insert_token(data: bytes, where: int, how: int, tokens: Samples) -> bytes:
    at = where % (len(data) + 1)
    return data[:at] + tokens[how % len(tokens)] + data[at + (how >> 8) % 16 :]


def set_value(data: bytes, where: int, how: int, tokens: Samples) -> bytes:
    """One of the lines ``key = value`` gets another value, and all else stays well-formed."""
    lines = data.splitlines(keepends=True)
    settings = [at for at, line in enumerate(lines) if b"=" in line]
    if settings:
        at = settings[where % len(settings)]
        token = tokens[how % len(tokens)].removeprefix(b"= ").rstrip(b"\n")
        lines[at] = lines[at].partition(b"=")[0] + b"= " + token + b"\n"
    return b"".join(lines)


def change_field(data: bytes, where: int, how: int, _: Samples) -> bytes:
    """A field of a protobuf message changes, at any depth, and every length around it fits."""
    fields = _fields(data)
    if not fields:
        return data
    start, content, end = fields[where % len(fields)]
    kind, value = data[start] & 7, data[content:end]
    deeper = how & 1 and kind == _LENGTH_DELIMITED and _fields(value)
    if deeper:
        value = change_field(value, where // len(fields), how >> 1, ())
    elif how & 0xE == 0:
        return data[:start] + data[end:]
    elif how & 0xE == 2:
        return data[:end] + data[start:end] * (how >> 4 & 0x7F) + data[end:]
    elif kind == _LENGTH_DELIMITED:
        size = (0, 1, len(value) - 1, len(value) + 1, 300, 20_000)[(how >> 4) % 6]
        value = value[: max(size, 0)].ljust(size, bytes((how >> 8,)))
    elif kind == 0:
        value = _varint((1 << (how >> 4 & 0x3F)) - (how & 1))
    head = _varint(len(value)) if kind == _LENGTH_DELIMITED else b""
    return data[:start] + data[start : _tag_end(data, start)] + head + value + data[end:]


_LENGTH_DELIMITED = 2


def _fields(data: bytes) -> list[tuple[int, int, int]]:
    """Where each field starts, where its value does, and where it ends; none where data is bad."""
    fields = []
    at = 0
    while at < len(data):
        start, kind = at, data[at] & 7
        at = content = _tag_end(data, at)
        if kind == _LENGTH_DELIMITED:
            content = _tag_end(data, at)
            at = content + _number(data[at:content])
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 0:
            at = _tag_end(data, at)
        else:
            return []
        if at > len(data):
            return []
        fields.append((start, content, at))
    return fields


def _tag_end(data: bytes, at: int) -> int:
    while at < len(data) and data[at] & 0x80:
        at += 1
    return at + 1


def _number(varint: bytes) -> int:
    return sum((byte & 0x7F) << 7 * index for index, byte in enumerate(varint))


def _varint(number: int) -> bytes:
    head = bytearray()
    while number > 0x7F:
        head.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*head, number))


def change_attribute(data: bytes, where: int, how: int, _: Samples) -> bytes:
    """A STUN attribute changes its size or its place, and what stands around it fits."""
    spans = []
    at = 20
    while at + 4 <= len(data):
        end = at + 4 + (int.from_bytes(data[at + 2 : at + 4], "big") + 3 & ~3)
        spans.append((at, end))
        at = end
    if not spans or at != len(data):
        return data
    at, end = spans[where % len(spans)]
    attribute = data[at:end]
    if how & 3 == 0:
        changed = attribute * (how >> 2 & 0x7F)
    else:
        size = (0, 1, 3, 4, 8, 12, 20, 21)[how >> 2 & 7]
        value = attribute[4:][:size].ljust(size, bytes((how >> 8,)))
        changed = attribute[:2] + size.to_bytes(2, "big") + value + bytes(-size % 4)
    return data[:at] + changed + data[end:]


Change = Callable[[bytes, int, int, Samples], bytes]

BINARY: Sequence[Change] = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _set_byte,
    _truncate,
    _extend,
    _delete,
    _double,
    _splice,
    _graft,
    _set_length,
    _set_length,
    _insert_varint,
)
PROTOBUF: Sequence[Change] = (*BINARY, *(change_field,) * 12)
STUN: Sequence[Change] = (*BINARY, *(change_attribute,) * 8)
TEXT: Sequence[Change] = (*BINARY, *(insert_token,) * 4, *(set_value,) * 6)
VALUES: Sequence[Change] = (set_value,)
"""For texts that a single wrong byte makes unreadable."""

_WITH_TOKENS = frozenset({insert_token, set_value})
