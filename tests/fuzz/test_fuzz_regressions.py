"""What the fuzzer found once, told plainly."""

from pathlib import Path

import pytest

from tests.fuzz import overlay
from wice.errors import RemoteProtocolError
from wice.proto.overlay_pb2 import AnchorMessage


@pytest.mark.parametrize(
    ("envelope_id", "envelope", "reason"),
    [(bytes(16_000), b"sealed", "id"), (b"", b"sealed", "id"), (bytes(16), bytes(17_000), "long")],
)
def test_an_anchor_hands_over_no_more_than_a_sender_may(
    tmp_path: Path, envelope_id: bytes, envelope: bytes, reason: str
) -> None:
    """Ids are remembered by the thousand: their size is a limit on memory."""
    case = overlay.anchor_client(tmp_path)
    deliver = AnchorMessage.Deliver(
        id=1,
        blinded_key=bytes(overlay.BLINDED_KEY),
        envelope_id=envelope_id,
        envelope=envelope,
    )
    with pytest.raises(RemoteProtocolError, match=reason):
        case.parse(AnchorMessage(deliver=deliver).SerializeToString())
