"""The vectors of docs/reference/signaling.md."""

import re
import tomllib
from pathlib import Path

from wice.keys import KeyPair, LocalKeyHolder, PrivateKey
from wice.signaling.description import (
    Acknowledgement,
    Description,
    SessionMessage,
    decode_message,
    encode_message,
    tai64n,
)
from wice.signaling.envelope import open_envelope, open_inner, seal, seal_inner

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "signaling.md"
VECTORS = {
    name: bytes.fromhex(value)
    for name, value in tomllib.loads(
        "\n".join(re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.M | re.S))
    ).items()
}


def ascending(size_bytes: int) -> bytes:
    return bytes(range(size_bytes))


SENDER = LocalKeyHolder(PrivateKey(bytes(range(32))), ascending)
RECIPIENT = LocalKeyHolder(PrivateKey(bytes(range(32, 64))), ascending)
MESSAGE = SessionMessage(
    session_id=b"0123456789abcdef",
    version=2,
    acknowledged=Acknowledgement(b"fedcba9876543210", 1),
    bound=True,
    acknowledgement_wanted=True,
    timestamp=tai64n(1_700_000_000.0),
    description=Description(
        ufrag="ufragufrag",
        password="passwordpasswordpasswo",
        candidates=("candidate:1 1 udp 2130706431 192.0.2.1 51820 typ host",),
        end_of_candidates=True,
        options=("renomination",),
    ),
)


def test_message() -> None:
    assert encode_message(MESSAGE) == VECTORS["message"]
    assert decode_message(VECTORS["message"]) == MESSAGE


def test_envelopes() -> None:
    theirs = RECIPIENT.public_key
    assert seal_inner(SENDER, theirs, VECTORS["message"], ascending) == VECTORS["inner"]
    assert seal(SENDER, theirs, VECTORS["message"], ascending) == VECTORS["outer"]
    for opened in (
        open_inner(RECIPIENT, VECTORS["inner"]),
        open_envelope(RECIPIENT, VECTORS["outer"]),
    ):
        assert opened.key_pair == KeyPair(theirs, SENDER.public_key)
        assert opened.message == VECTORS["message"]
