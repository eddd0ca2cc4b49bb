"""The handshake against an implementation of the Noise framework that is not ours."""

import random

import pytest
from noise.connection import Keypair as NoiseKeypair
from noise.connection import NoiseConnection

from wice.errors import LocalProtocolError, RemoteProtocolError
from wice.keys import PrivateKey, PublicKey
from wice.wireguard import noise
from wice.wireguard.messages import Initiation, Response
from wice.wireguard.tai64n import RESOLUTION_NS, Tai64nClock, encode

RANDOM = random.Random(7)
OURS = noise.Identity.of(PrivateKey(RANDOM.randbytes(32)))
THEIRS = noise.Identity.of(PrivateKey(RANDOM.randbytes(32)))
OURS_SEEN, THEIRS_SEEN = (
    noise.RemoteIdentity.of(THEIRS, OURS.public_key),
    noise.RemoteIdentity.of(OURS, THEIRS.public_key),
)
TIMESTAMP = bytes(range(12))
SMALL_ORDER = PublicKey(bytes(32))


def oracle(preshared_key: bytes, static: noise.Identity) -> NoiseConnection:
    connection = NoiseConnection.from_name(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    connection.set_psks(preshared_key)
    connection.set_prologue(noise.IDENTIFIER)
    connection.set_keypair_from_private_bytes(NoiseKeypair.STATIC, bytes(static.private_key))
    return connection


def initiate(ephemeral: bytes | None = None) -> tuple[Initiation, noise.InitiationSent]:
    return noise.create_initiation(
        OURS,
        THEIRS_SEEN,
        sender=1,
        timestamp=TIMESTAMP,
        ephemeral=ephemeral or RANDOM.randbytes(32),
    )


def respond(message: Initiation, psk: bytes) -> tuple[Response, noise.TransportKeys]:
    opened = noise.open_initiation(THEIRS, message)
    proven = noise.prove_initiation(OURS_SEEN, opened)
    return noise.create_response(
        proven, OURS_SEEN, preshared_key=psk, sender=2, ephemeral=RANDOM.randbytes(32)
    )


@pytest.mark.parametrize("psk", [noise.NO_PRESHARED_KEY, b"\x05" * 32], ids=["no-psk", "psk"])
def test_another_noise_implementation_answers_our_initiation(psk: bytes) -> None:
    responder = oracle(psk, THEIRS)
    responder.set_as_responder()
    responder.start_handshake()
    message, sent = initiate()
    assert responder.read_message(message.pack()[8:]) == TIMESTAMP
    answer = bytes(responder.write_message())
    response = Response(2, 1, answer[:32], answer[32:])
    keys = noise.consume_response(OURS, sent, response, preshared_key=psk)
    cipher = responder.noise_protocol
    assert (keys.send, keys.receive) == (
        cipher.cipher_state_decrypt.k,
        cipher.cipher_state_encrypt.k,
    )


@pytest.mark.parametrize("psk", [noise.NO_PRESHARED_KEY, b"\x05" * 32], ids=["no-psk", "psk"])
def test_we_answer_the_initiation_of_another_noise_implementation(psk: bytes) -> None:
    initiator = oracle(psk, OURS)
    initiator.set_keypair_from_public_bytes(NoiseKeypair.REMOTE_STATIC, bytes(THEIRS.public_key))
    initiator.set_as_initiator()
    initiator.start_handshake()
    begun = bytes(initiator.write_message(TIMESTAMP))
    message = Initiation(1, begun[:32], begun[32:80], begun[80:])
    opened = noise.open_initiation(THEIRS, message)
    assert opened.static == OURS.public_key
    assert noise.prove_initiation(OURS_SEEN, opened).timestamp == TIMESTAMP
    response, keys = respond(message, psk)
    assert initiator.read_message(response.pack()[12:]) == b""
    cipher = initiator.noise_protocol
    assert (keys.send, keys.receive) == (
        cipher.cipher_state_decrypt.k,
        cipher.cipher_state_encrypt.k,
    )


def test_a_wrong_preshared_key_is_found_in_the_response() -> None:
    message, sent = initiate()
    response, _ = respond(message, b"\x05" * 32)
    with pytest.raises(RemoteProtocolError, match="does not authenticate"):
        noise.consume_response(OURS, sent, response, preshared_key=b"\x06" * 32)


def test_an_initiation_to_another_key_is_not_opened() -> None:
    message, _ = initiate()
    with pytest.raises(RemoteProtocolError, match="does not authenticate"):
        noise.open_initiation(OURS, message)


def test_a_static_key_alone_proves_nothing() -> None:
    """Anyone can name our peer's public key; only its owner can seal the timestamp."""
    liar = noise.Identity(PrivateKey(RANDOM.randbytes(32)), OURS.public_key)
    seen = noise.RemoteIdentity.of(liar, THEIRS.public_key)
    message, _ = noise.create_initiation(
        liar, seen, sender=1, timestamp=TIMESTAMP, ephemeral=RANDOM.randbytes(32)
    )
    opened = noise.open_initiation(THEIRS, message)
    assert opened.static == OURS.public_key
    with pytest.raises(RemoteProtocolError, match="does not authenticate"):
        noise.prove_initiation(OURS_SEEN, opened)


def test_keys_of_small_order_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="small order"):
        noise.RemoteIdentity.of(OURS, SMALL_ORDER)
    message, sent = initiate()
    with pytest.raises(RemoteProtocolError, match="small order"):
        noise.open_initiation(THEIRS, message._replace(ephemeral=bytes(32)))
    response, _ = respond(message, noise.NO_PRESHARED_KEY)
    with pytest.raises(RemoteProtocolError, match="small order"):
        noise.consume_response(
            OURS,
            sent,
            response._replace(ephemeral=bytes(32)),
            preshared_key=noise.NO_PRESHARED_KEY,
        )


@pytest.mark.parametrize(
    ("key", "data", "expected"),
    [
        (
            b"test-key",
            b"test-input",
            (
                "6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
                "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
                "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24",
            ),
        ),
        (
            b"",
            b"",
            (
                "8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0",
                "58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e",
                "0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e",
            ),
        ),
    ],
)
def test_the_kdf_gives_the_known_outputs(
    key: bytes, data: bytes, expected: tuple[str, str, str]
) -> None:
    """The values that wireguard-go's own tests expect."""
    assert tuple(one.hex() for one in noise.kdf(key, data, 3)) == expected
    assert noise.kdf(key, data, 2) == noise.kdf(key, data, 3)[:2]


def test_secrets_stay_out_of_reprs() -> None:
    message, sent = initiate(ephemeral=b"\x2a" * 32)
    _, keys = respond(message, noise.NO_PRESHARED_KEY)
    shown = repr((OURS, OURS_SEEN, sent, keys))
    for secret in (sent.ephemeral_private, sent.chaining_key, keys.send, keys.receive):
        assert repr(secret)[2:-1] not in shown and secret.hex() not in shown
    assert repr(bytes(OURS.private_key))[2:-1] not in shown


def test_tai64n_begins_at_its_epoch_and_counts_nanoseconds() -> None:
    assert encode(0).hex() == "400000000000000a00000000"
    assert encode(1_500_000_001).hex() == "400000000000000b1dcd6501"


def test_timestamps_grow_though_the_clock_stands_or_steps_back() -> None:
    times = iter([1e9, 1e9, 0.0, 1e9 + 5])
    clock = Tai64nClock(lambda: next(times))
    stamps = [clock.next() for _ in range(4)]
    assert stamps == sorted(set(stamps))


def test_timestamps_tell_the_time_only_roughly() -> None:
    clock = Tai64nClock(lambda: 1_700_000_000.123456789)
    stamp = clock.next()
    nanoseconds = (int.from_bytes(stamp[:8], "big") - (1 << 62) - 10) * 10**9
    assert (nanoseconds + int.from_bytes(stamp[8:], "big")) % RESOLUTION_NS == 0


def test_a_floor_is_exceeded_by_the_first_timestamp() -> None:
    before = Tai64nClock(lambda: 2e9).next()
    assert Tai64nClock(lambda: 1e9, before).next() > before


@pytest.mark.parametrize("floor", [b"short", bytes(12), b"\xff" * 12])
def test_a_floor_that_is_no_timestamp_is_refused(floor: bytes) -> None:
    with pytest.raises(ValueError, match="TAI64N"):
        Tai64nClock(lambda: 0.0, floor)
