"""WireGuard's configuration format."""

import contextlib
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wice.errors import ConfigError
from wice.keys import PrivateKey
from wice.wireguard.conf import Configuration, format_configuration, parse

RANDOM = random.Random(11)
PRIVATE = PrivateKey(RANDOM.randbytes(32))
OTHER = PrivateKey(RANDOM.randbytes(32))

WHOLE = f"""\
# as wg showconf prints it
[Interface]
ListenPort = 51820
FwMark = 0x2a
PrivateKey = {PRIVATE.reveal_base64()}

[Peer]
PublicKey = {OTHER.public_key()}
PresharedKey = {PRIVATE.reveal_base64()}
AllowedIPs = 10.0.0.2/32, fd00::2/128
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25

[peer]   # names and sections in any case
publickey={PRIVATE.public_key()}
allowedips = 10.1.0.0/16
AllowedIPs = 10.2.0.5/16
PersistentKeepalive = off
"""


def test_a_whole_file_is_read() -> None:
    read = parse(WHOLE)
    assert (read.device.listen_port, read.firewall_mark) == (51_820, 42)
    assert read.device.private_key == PRIVATE
    first, second = read.peers
    assert first.peer.public_key == OTHER.public_key() and first.persistent_keepalive_s == 25
    assert str(first.endpoint) == "[2001:db8::1]:51820" and first.peer.preshared_key is not None
    assert [str(one) for one in second.peer.allowed_ips] == ["10.1.0.0/16", "10.2.0.0/16"]
    assert (second.endpoint, second.persistent_keepalive_s) == (None, 0)


def test_what_is_printed_reads_the_same() -> None:
    read = parse(WHOLE)
    assert parse(format_configuration(read)) == read


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ListenPort = 51820", "ListenPort = 65536"), "line 3: ListenPort: a number from 0"),
        (("ListenPort = 51820", "Address = 10.0.0.1/24"), "line 3: Address is not a setting here"),
        (("ListenPort = 51820", "ListenPort"), "line 3: a line without = is not"),
        (("[Interface]", ""), "line 3: comes before any section"),
        (("PrivateKey", "#"), "[Interface]: has no PrivateKey"),
        (("PublicKey", "#"), "line 7: a [Peer] without PublicKey"),
        (("10.0.0.2/32", "10.0.0.2/33"), "line 10: AllowedIPs"),
        (("[2001:db8::1]:51820", "example:1"), "line 11: Endpoint"),
    ],
)
def test_mistakes_name_their_place(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"wg0.conf: {message}")):
        parse(WHOLE.replace(*change, 1), "wg0.conf")


def test_no_error_shows_a_secret() -> None:
    secret = PRIVATE.reveal_base64()
    for bent in (secret[:-1], secret + "x", secret.replace(secret[3], "?", 1)):
        with pytest.raises(ConfigError) as caught:
            parse(WHOLE.replace(secret, bent, 1))
        assert bent[:20] not in str(caught.value)
        assert bent[:20] not in repr(caught.value.__context__)


@given(st.data())
def test_mutated_files_raise_only_config_errors(data: st.DataObject) -> None:
    text = list(WHOLE)
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] = data.draw(st.sampled_from("[]=#\n ,/:.0aA\u00e9\0"))
    with contextlib.suppress(ConfigError):
        assert isinstance(parse("".join(text)), Configuration)
