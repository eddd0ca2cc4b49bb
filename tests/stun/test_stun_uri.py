import pytest
from hypothesis import given
from hypothesis import strategies as st

from wice.stun import StunURI, parse_stun_uri


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("stun:stun.example.org", StunURI("stun.example.org", 3478)),
        ("STUN:stun.example.org:3479", StunURI("stun.example.org", 3479)),
        ("stun:192.0.2.1:19302", StunURI("192.0.2.1", 19302)),
        ("stun:[2001:DB8:0::1]", StunURI("2001:db8::1", 3478)),
        ("stun:[2001:db8::1]:1", StunURI("2001:db8::1", 1)),
        ("stun:xn--bcher-kva.example", StunURI("xn--bcher-kva.example", 3478)),
    ],
)
def test_reads(text: str, uri: StunURI) -> None:
    assert parse_stun_uri(text) == uri
    assert parse_stun_uri(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("stun.example.org", r"stun:HOST"),
        ("turn:turn.example.org", r"stun:HOST"),
        ("stuns:stun.example.org", "not supported"),
        ("stun:", "not a host name"),
        ("stun:host:", "not a port"),
        ("stun:host:0", "not a port"),
        ("stun:host:65536", "not a port"),
        ("stun:host:x", "not a port"),
        ("stun:host:٣", "not a port"),
        ("stun:2001:db8::1", "in brackets"),
        ("stun:[2001:db8::1", "ADDRESS"),
        ("stun:[2001:db8::1]3478", "ADDRESS"),
        ("stun:[192.0.2.1]:1", "not an IPv6 address"),
        ("stun:192.0.2.256", "not an IPv4 address"),
        ("stun://host", "not a host name"),
        ("stun:user@host", "not a host name"),
        ("stun:ho st", "not a host name"),
    ],
)
def test_refuses_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_stun_uri(text)


@given(st.text(alphabet="stun:[]0123456789.abc-_ü", max_size=30))
def test_anything_else_is_a_value_error(tail: str) -> None:
    for text in (tail, f"stun:{tail}"):
        try:
            uri = parse_stun_uri(text)
        except ValueError:
            continue
        assert 0 < uri.port < 65_536
        assert parse_stun_uri(str(uri)) == uri
