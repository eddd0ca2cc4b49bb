"""[overlay]: what is taken, and one line with place and remedy for what is not."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.identity import Identity
from p2p.section import (
    BOOTSTRAP_MAX,
    NodeAddress,
    Section,
    TcpAddress,
    check_peer_id,
    peer_id_text,
    validate,
)
from wice.errors import ConfigError

PEER_ID = Identity.from_seed(bytes(32)).peer_id
NODE = f"/ip4/203.0.113.10/tcp/4001/p2p/{PEER_ID}"
HASHED_PEER_ID = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"


def test_takes_the_documented_section() -> None:
    section = Section.parse(
        {
            "community": "harbour",
            "secret_file": "/etc/wice/secret",
            "bootstrap": [NODE, f"/ip6/2001:db8:0::1/tcp/1/p2p/{HASHED_PEER_ID}"],
            "listen": ["/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/0"],
            "announce": ["/ip4/203.0.113.9/tcp/4001"],
        }
    )
    assert section.bootstrap[0] == NodeAddress(TcpAddress("203.0.113.10", 4001), PEER_ID)
    assert str(section.bootstrap[0]) == NODE
    assert section.bootstrap[1].address.host == "2001:db8::1"
    assert [str(server) for server in section.stun_servers()] == [
        "203.0.113.10:3478",
        "203.0.113.10:3479",
        "[2001:db8::1]:3478",
        "[2001:db8::1]:3479",
    ]


def test_an_ordinary_node_does_not_listen_unless_told() -> None:
    assert Section.parse({"community": "x"}).listen == ()


def test_a_bootstrap_node_listens_on_4001() -> None:
    (address,) = Section.parse({"community": "x"}, is_bootstrap=True).listen
    assert str(address) == "/ip4/0.0.0.0/tcp/4001"


@pytest.mark.parametrize(
    ("wrong", "where", "why"),
    [
        ({"community": None}, "overlay.community", "missing"),
        ({"community": ""}, "overlay.community", "not a name"),
        ({"community": "x" * 256}, "overlay.community", "longer"),
        ({"bootstraps": []}, "overlay.bootstraps", "unknown key"),
        ({"bootstrap": NODE}, "overlay.bootstrap", "not a list"),
        ({"bootstrap": [NODE, "/ip4/203.0.113.10/tcp/4001"]}, "overlay.bootstrap[1]", "peer id"),
        ({"bootstrap": ["/ip4/203.0.113.10/tcp/4001/p2p/12D3"]}, "overlay.bootstrap[0]", "12D3"),
        ({"bootstrap": [NODE.replace("tcp", "udp")]}, "overlay.bootstrap[0]", "looks like"),
        ({"bootstrap": [NODE.replace("203.0.113.10", "0.0.0.0")]}, "overlay.bootstrap[0]", "dial"),
        ({"bootstrap": [NODE.replace("4001", "65536")]}, "overlay.bootstrap[0]", "TCP port"),
        ({"bootstrap": [NODE.replace("ip4", "ip6")]}, "overlay.bootstrap[0]", "ip6"),
        ({"bootstrap": [NODE] * (BOOTSTRAP_MAX + 1)}, "overlay.bootstrap", "more than"),
        ({"listen": [4001]}, "overlay.listen[0]", "text"),
        ({"announce": ["/ip4/0.0.0.0/tcp/4001"]}, "overlay.announce[0]", "dial"),
        ({"announce": ["/ip4/203.0.113.9/tcp/0"]}, "overlay.announce[0]", "dial"),
        ({"secret_file": 7}, "overlay.secret_file", "path"),
    ],
)
def test_says_where_and_why(wrong: dict[str, Any], where: str, why: str) -> None:
    section = {
        key: value for key, value in ({"community": "x"} | wrong).items() if value is not None
    }
    with pytest.raises(ConfigError) as caught:
        validate(section)
    assert caught.value.where == where
    assert why in caught.value.why
    assert "\n" not in str(caught.value)


def test_reads_the_secret_without_the_line_end(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_bytes(b"correct horse\n")
    section = Section.parse({"community": "x", "secret_file": str(file)})
    assert section.read_secret() == b"correct horse"
    assert "correct horse" not in repr(section)


@pytest.mark.parametrize("content", [None, b"\n", bytes(5_000) + b"x"])
def test_a_secret_that_cannot_be_read_is_a_config_error(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.touch(mode=0o600)
        file.write_bytes(content)
    section = {"community": "x", "bootstrap": [NODE], "secret_file": str(file)}
    with pytest.raises(ConfigError) as caught:
        Section.parse(section).read_secret()
    assert caught.value.where == "overlay.secret_file"
    with pytest.raises(ConfigError) as checked:
        validate(section)
    assert str(checked.value) == str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"correct horse\n")
    file.chmod(mode)
    section = {"community": "x", "bootstrap": [NODE], "secret_file": str(file)}
    with pytest.raises(ConfigError, match="is readable by others") as caught:
        validate(section)
    assert caught.value.where == "overlay.secret_file"
    assert "chmod 600" in str(caught.value)
    file.chmod(0o600)
    validate(section)


@pytest.mark.parametrize("bootstrap", [{}, {"bootstrap": []}])
def test_only_a_bootstrap_node_needs_no_other(bootstrap: dict[str, Any]) -> None:
    section = {"community": "x"} | bootstrap
    validate(section, is_bootstrap=True)
    with pytest.raises(ConfigError, match="wice bootstrap") as caught:
        validate(section)
    assert caught.value.where == "overlay.bootstrap"


@given(st.one_of(st.ip_addresses()), st.integers(0, 65_535))
def test_addresses_survive_text_and_bytes(host: Any, port: int) -> None:
    address = TcpAddress(str(host), port)
    assert TcpAddress.parse(str(address)) == address
    assert TcpAddress.from_bytes(address.to_bytes()) == address


@given(st.binary(max_size=40))
def test_bytes_are_an_address_or_refused(raw: bytes) -> None:
    try:
        address = TcpAddress.from_bytes(raw)
    except ValueError:
        return
    assert address.to_bytes() == raw


@given(st.integers(0, len(NODE)), st.integers(0, 8), st.text(max_size=8))
def test_a_mutated_node_address_is_one_or_refused(at: int, cut: int, put: str) -> None:
    text = NODE[:at] + put + NODE[at + cut :]
    try:
        node = NodeAddress.parse(text)
    except ValueError:
        return
    assert NodeAddress.parse(str(node)) == node


def test_peer_ids() -> None:
    assert peer_id_text(check_peer_id(PEER_ID)) == PEER_ID
    assert peer_id_text(check_peer_id(HASHED_PEER_ID)) == HASHED_PEER_ID
    with pytest.raises(ValueError, match="base58"):
        check_peer_id("0" * 52)


def test_checking_a_section_does_not_import_libp2p() -> None:
    code = (
        "import sys, p2p.section, p2p.identity; "
        "p2p.section.validate({'community': 'x'}, is_bootstrap=True); "
        "sys.exit('libp2p' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
