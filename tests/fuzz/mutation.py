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


def mutate(program: bytes, samples: Samples, tokens: Samples = ()) -> bytes:
    """One of ``samples`` with the changes of ``program``; ``tokens`` are put into texts."""
    data = samples[program[0] % len(samples)]
    changes = _CHANGES if tokens else _CHANGES_OF_BINARY
    for at in range(1, len(program) - 4, 5):
        change = changes[program[at] % len(changes)]
        where = int.from_bytes(program[at + 1 : at + 3], "big")
        how = int.from_bytes(program[at + 3 : at + 5], "big")
        data = change(data, where, how, tokens if change in _CHANGES_WITH_TOKENS else samples)
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


def _insert_token(data: bytes, where: int, how: int, tokens: Samples) -> bytes:
    at = where % (len(data) + 1)
    return data[:at] + tokens[how % len(tokens)] + data[at + (how >> 8) % 16 :]


def _set_value(data: bytes, where: int, how: int, tokens: Samples) -> bytes:
    """One of the lines ``key = value`` gets another value, and all else stays well-formed."""
    lines = data.splitlines(keepends=True)
    settings = [at for at, line in enumerate(lines) if b"=" in line]
    if settings:
        at = settings[where % len(settings)]
        token = tokens[how % len(tokens)].removeprefix(b"= ").rstrip(b"\n")
        lines[at] = lines[at].partition(b"=")[0] + b"= " + token + b"\n"
    return b"".join(lines)


Change = Callable[[bytes, int, int, Samples], bytes]

_CHANGES_OF_BINARY: Sequence[Change] = (
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
_CHANGES: Sequence[Change] = (*_CHANGES_OF_BINARY, *(_insert_token,) * 4, *(_set_value,) * 6)
_CHANGES_WITH_TOKENS = frozenset({_insert_token, _set_value})
