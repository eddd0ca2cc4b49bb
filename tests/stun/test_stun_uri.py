import pytest
from hypothesis import given
from hypothesis import strategies as st

from wice.stun import StunURI, TurnURI, parse_stun_uri, parse_turn_uri
from wice.stun.uri import Transport


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("stun:stun.example.org", StunURI("stun.example.org")),
        ("STUN:stun.example.org:3479", StunURI("stun.example.org", 3479)),
        ("stun:192.0.2.1:19302", StunURI("192.0.2.1", 19302)),
        ("stun:[2001:DB8:0::1]", StunURI("2001:db8::1")),
        ("stun:[2001:db8::1]:1", StunURI("2001:db8::1", 1)),
        ("stun:xn--bcher-kva.example", StunURI("xn--bcher-kva.example")),
        ("stuns:stun.example.org", StunURI("stun.example.org", None, is_secure=True)),
    ],
)
def test_reads_stun(text: str, uri: StunURI) -> None:
    assert parse_stun_uri(text) == uri
    assert parse_stun_uri(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("turn:turn.example.org", TurnURI("turn.example.org")),
        ("turns:turn.example.org", TurnURI("turn.example.org", is_secure=True)),
        (
            "turn:turn.example.org:8000?transport=udp",
            TurnURI("turn.example.org", 8000, transport=Transport.UDP),
        ),
        (
            "TURNS:[2001:db8::1]?transport=TCP",
            TurnURI("2001:db8::1", None, True, Transport.TCP),
        ),
    ],
)
def test_reads_turn(text: str, uri: TurnURI) -> None:
    assert parse_turn_uri(text) == uri
    assert parse_turn_uri(str(uri)) == uri


BAD_AUTHORITIES = [
    ("", "not a host name"),
    ("host:", "not a port"),
    ("host:0", "not a port"),
    ("host:65536", "not a port"),
    ("host:x", "not a port"),
    ("host:٣", "not a port"),
    ("2001:db8::1", "in brackets"),
    ("[2001:db8::1", "ADDRESS"),
    ("[2001:db8::1]3478", "ADDRESS"),
    ("[192.0.2.1]:1", "not an IPv6 address"),
    ("[fe80::1%25eth0]", "not an IPv6 address"),
    ("[fe80::1%eth0]", "not an IPv6 address"),
    ("192.0.2.256", "not an IPv4 address"),
    ("//host", "not a host name"),
    ("user@host", "not a host name"),
    ("ho st", "not a host name"),
    ("host/path", "not a host name"),
    ("host#fragment", "not a host name"),
]


@pytest.mark.parametrize(("authority", "reason"), BAD_AUTHORITIES)
def test_refuses_with_the_reason(authority: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_stun_uri(f"stun:{authority}")
    with pytest.raises(ValueError, match=reason):
        parse_turn_uri(f"turn:{authority}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("stun.example.org", "stun:HOST"),
        ("turn:turn.example.org", "stun:HOST"),
        ("stun:host?transport=udp", "no .transport="),
    ],
)
def test_refuses_what_is_not_stun(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_stun_uri(text)


@pytest.mark.parametrize(
    "text",
    [
        "turn:host?",
        "turn:host?transport=",
        "turn:host?transport=sctp",
        "turn:host?transport=udp&x=1",
        "turn:host?transport=udp?transport=udp",
        "turn:host?ttl=5",
        "stun:host",
        "turn.example.org",
    ],
)
def test_refuses_what_is_not_turn(text: str) -> None:
    with pytest.raises(ValueError, match=r"transport="):
        parse_turn_uri(text)


@given(st.text(alphabet="stunr:[]0123456789.abc-_ü?=tp", max_size=30))
def test_anything_else_is_a_value_error(tail: str) -> None:
    for parse, scheme in ((parse_stun_uri, "stun"), (parse_turn_uri, "turns")):
        for text in (tail, f"{scheme}:{tail}"):
            try:
                uri = parse(text)
            except ValueError:
                continue
            assert uri.port is None or 0 < uri.port < 65_536
            assert parse(str(uri)) == uri
