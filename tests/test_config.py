"""Every mistake in a configuration is one line with the place and the remedy."""

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wice.config import CONFIG_SIZE_MAX_BYTES, load_config
from wice.errors import ConfigError
from wice.keys import PrivateKey

OURS = PrivateKey(bytes(range(32)))
THEIRS = PrivateKey(bytes(range(1, 33))).public_key()
OTHER = PrivateKey(bytes(range(2, 34))).public_key()

GOOD = f"""
state_dir = "state"
control_socket = "wice.sock"

[overlay]
community = "harbour"

[ice]
stun = ["stun:198.51.100.7:3478"]

[interfaces.wg0]
private_key_file = "wg0.key"
listen_port = 51820
addresses = ["10.77.0.1/24", "fd00::1/64"]

[[interfaces.wg0.peers]]
public_key = "{THEIRS}"
allowed_ips = ["10.77.0.2/32", "fd00::2/128"]
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    key_file = tmp_path / "wg0.key"
    key_file.touch(mode=0o600)
    key_file.write_text(OURS.reveal_base64() + "\n")

    def write_config(text: str) -> Path:
        path = tmp_path / "wice.toml"
        path.write_text(text)
        return path

    return write_config


def test_a_good_file_is_read_whole(write: Write, tmp_path: Path) -> None:
    config = load_config(write(GOOD))
    assert config.state_dir == tmp_path / "state"
    assert [str(server) for server in config.stun] == ["stun:198.51.100.7:3478"]
    (interface,) = config.interfaces
    assert (interface.name, interface.listen_port) == ("wg0", 51820)
    assert interface.private_key == OURS
    assert [str(address) for address in interface.addresses] == ["10.77.0.1/24", "fd00::1/64"]
    (peer,) = interface.peers
    assert peer.config.public_key == THEIRS
    assert [str(network) for network in peer.config.allowed_ips] == ["10.77.0.2/32", "fd00::2/128"]


def test_the_backend_is_chosen_in_overlay_and_is_no_key_of_its_section(write: Write) -> None:
    assert load_config(write(GOOD)).backend == "libp2p"
    chosen = load_config(write(GOOD.replace("[overlay]", '[overlay]\nbackend = "pigeons"')))
    assert chosen.backend == "pigeons"
    assert dict(chosen.overlay) == {"community": "harbour"}


def peer(key: str, allowed_ips: str) -> str:
    return f'\n[[interfaces.wg0.peers]]\npublic_key = "{key}"\nallowed_ips = ["{allowed_ips}"]\n'


BOOTSTRAP = """
[overlay]
community = "harbour"
[relay]
enabled = true
"""

REFUSED_POINT = base64.b64encode((2**255 - 20).to_bytes(32, "little")).decode()
"""u = −1, which has no Edwards form."""

MISTAKES = [
    (GOOD.replace("listen_port", "listen_prot"), "interfaces.wg0.listen_prot", "listen_port"),
    (GOOD.replace("[ice]\nstun", "[ice]\nstuns"), "ice.stuns", "did you mean stun"),
    (GOOD + "\n[metrics]\n", "metrics", "known keys"),
    (GOOD.replace('[overlay]\ncommunity = "harbour"', ""), "overlay", "missing"),
    (GOOD.replace("[overlay]", "[overlay]\nbackend = 3"), "overlay.backend", "not text"),
    (GOOD.replace("51820", '"51820"'), "interfaces.wg0.listen_port", "int"),
    (GOOD.replace("51820", "70000"), "interfaces.wg0.listen_port", "0 to 65535"),
    (GOOD.replace(str(THEIRS), "nonsense"), "peers[0].public_key", "wice pubkey"),
    (GOOD.replace(str(THEIRS), REFUSED_POINT), "peers[0].public_key", "private key"),
    (GOOD.replace(str(THEIRS), str(OURS.public_key())), "peers[0].public_key", "own key"),
    (GOOD + peer(str(THEIRS), "10.77.0.3/32"), "peers[1].public_key", "peers[0]"),
    (GOOD + peer(str(OTHER), "10.77.0.2/32"), "peers[1].allowed_ips", "overlaps"),
    (GOOD.replace("10.77.0.2/32", "10.77.0.0/33"), "peers[0].allowed_ips[0]", "10.77.0.0/33"),
    (GOOD.replace("10.77.0.2/32", "10.77.0.2/24"), "peers[0].allowed_ips[0]", "host bits"),
    (GOOD.replace("10.77.0.1/24", "10.77.0.1/24x"), "addresses[0]", "10.77.0.1/24x"),
    (GOOD.replace("wg0.key", "none.key"), "private_key_file", "wice genkey"),
    (GOOD.replace("wg0.key", "no\\nsuch.key"), "private_key_file", "does not exist"),
    (GOOD.replace("wg0.key", "."), "private_key_file", "Is a directory"),
    (GOOD.replace("stun:198", "http:198"), "ice.stun[0]", "stun"),
    (GOOD.replace("interfaces.wg0", '"interfaces"."no good"'), "no good", "letters"),
    (GOOD + "=", "wice.toml", "TOML"),
    (GOOD + "x = " + "9" * 5_000, "wice.toml", "too long"),
    (GOOD + "x = " + "[" * 5_000, "wice.toml", "nest too deep"),
    (GOOD.replace('"state"', '"~nosuchuser/state"'), "state_dir", "nosuchuser"),
    (GOOD.replace('"wg0.key"', '"wg0\\u0000.key"'), "private_key_file", "null character"),
    (GOOD + "\n[relay]\nenabled = true\n", "relay.enabled", "bootstrap"),
    (
        GOOD.replace("[ice]", '[ice]\ncandidates = "relay"\nrelays = false'),
        "ice.relays",
        "remove one",
    ),
    (BOOTSTRAP + "budget = 1", "relay.budget", "known keys"),
    (BOOTSTRAP + "port = 0", "relay.port", "1 to 65535"),
    (BOOTSTRAP + "ports = [50000]", "relay.ports", "[LOWEST, HIGHEST]"),
    (BOOTSTRAP + "ports = [60000, 50000]", "relay.ports", "1024 to 65535"),
    (BOOTSTRAP + "ports = [50000, 50099]", "relay.ports", "set relay.allocations to 100"),
    (BOOTSTRAP + "allocations = 0", "relay.allocations", "more than 0"),
    (BOOTSTRAP + "member_allocations = 300", "relay.member_allocations", "raise relay.allocations"),
    (BOOTSTRAP + "bandwidth_mbit_per_s = nan", "relay.bandwidth_mbit_per_s", "out of range"),
    (BOOTSTRAP + "bandwidth_mbit_per_s = 10", "relay.member_bandwidth_mbit_per_s", "lower it"),
    (BOOTSTRAP + "traffic_gb_per_day = -1", "relay.traffic_gb_per_day", "more than 0"),
    (BOOTSTRAP + 'announce = { "10.0.0.5" = "me" }', "relay.announce", "PUBLIC ADDRESS"),
    (BOOTSTRAP + 'announce = { "10.0.0.5" = "::1" }', "relay.announce", "IPv4"),
    (BOOTSTRAP + 'announce = { "10.0.0.5" = "10.0.0.6" }', "relay.announce", "10.0.0.6 is no pub"),
    (BOOTSTRAP + 'allowed_networks = ["10.0.0.1/8"]', "relay.allowed_networks[0]", "10.0.0.0/8"),
    (BOOTSTRAP + 'denied_networks = ["all"]', "relay.denied_networks[0]", "ADDRESS/LENGTH"),
]


def test_a_relay_of_a_private_network_can_be_announced_there(write: Write) -> None:
    text = 'announce = { "10.0.0.5" = "10.9.0.6" }\nallowed_networks = ["10.9.0.0/16"]'
    assert load_config(write(BOOTSTRAP + text)).relay.announced == {"10.0.0.5": "10.9.0.6"}


def test_a_relay_has_budgets_in_units_that_people_read(write: Write) -> None:
    text = """bandwidth_mbit_per_s = 8
member_bandwidth_mbit_per_s = 0.8
traffic_gb_per_day = 10
member_traffic_gb_per_day = 1.5
allocations = 20
member_allocations = 2
ports = [50000, 50099]
announce = { "10.0.0.5" = "203.0.113.10" }
"""
    relay = load_config(write(BOOTSTRAP + text)).relay
    assert relay.is_enabled
    assert relay.relayed_ports == range(50_000, 50_100)
    assert relay.announced == {"10.0.0.5": "203.0.113.10"}
    budgets = relay.budgets
    assert (budgets.bytes_per_s, budgets.bytes_per_s_per_user) == (1_000_000, 100_000)
    assert (budgets.bytes_per_day, budgets.bytes_per_day_per_user) == (10**10, 1_500_000_000)
    assert (budgets.allocations, budgets.allocations_per_user) == (20, 2)
    assert not load_config(write(BOOTSTRAP.replace("true", "false"))).relay.is_enabled


@pytest.mark.parametrize(("text", "place", "remedy"), MISTAKES)
def test_a_mistake_is_one_line_with_place_and_remedy(
    write: Write, text: str, place: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(text))
    line = str(caught.value)
    assert "\n" not in line
    assert place in caught.value.where
    assert remedy in line


def test_an_overlap_with_a_wider_network_is_seen(write: Write) -> None:
    text = GOOD + peer(str(OTHER), "10.0.0.0/8")
    with pytest.raises(ConfigError, match="overlaps"):
        load_config(write(text))


def test_a_key_that_others_can_read_is_refused(write: Write, tmp_path: Path) -> None:
    path = write(GOOD)
    (tmp_path / "wg0.key").chmod(0o640)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "chmod 600" in str(caught.value)
    assert OURS.reveal_base64() not in str(caught.value)


def test_a_key_file_with_other_content_does_not_show_it(write: Write, tmp_path: Path) -> None:
    path = write(GOOD)
    (tmp_path / "wg0.key").write_text("hunter2")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "hunter2" not in str(caught.value)


def test_secrets_that_are_elsewhere_can_be_stood_in_for(write: Write, tmp_path: Path) -> None:
    turn = """
[[ice.turn]]
uri = "turn:198.51.100.9"
username = "harbour"
password_file = "turn.password"
"""
    path = write(GOOD.replace("wg0.key", "wg1.key") + turn)
    asked: list[Path] = []

    def stand_in(file: Path) -> str:
        asked.append(file)
        return OURS.reveal_base64()

    config = load_config(path, stand_in=stand_in)
    assert config.interfaces[0].private_key == OURS
    assert asked == [tmp_path / "wg1.key", tmp_path / "turn.password"]
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(path)


def test_a_secret_that_is_here_is_not_stood_in_for(write: Write) -> None:
    config = load_config(write(GOOD), stand_in=lambda _: str(OTHER))
    assert config.interfaces[0].private_key == OURS


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_of_a_secret_is_stood_in_for(
    write: Write, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = write(GOOD)
    (tmp_path / "wg0.key").unlink()
    make(tmp_path / "wg0.key")
    config = load_config(path, stand_in=lambda _: OURS.reveal_base64())
    assert config.interfaces[0].private_key == OURS


def test_a_file_too_large_is_refused_and_not_read_in_part(write: Write) -> None:
    filled = (GOOD + "#").ljust(CONFIG_SIZE_MAX_BYTES)
    assert load_config(write(filled)).interfaces
    with pytest.raises(ConfigError, match=r"wice.toml: is larger than 16 MiB"):
        load_config(write(filled + " "))


def test_a_message_is_one_line_that_no_terminal_obeys() -> None:
    error = ConfigError("a\nb\x1b[31m.toml", "'\u202e' \udcff", "ä")
    assert str(error) == r"a b\x1b[31m.toml: '\u202e' \udcff; ä"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 20), st.text(max_size=12))
def test_a_mutated_file_is_read_or_refused(
    write: Write, at: int, length: int, replacement: str
) -> None:
    try:
        load_config(write(GOOD[:at] + replacement + GOOD[at + length :]))
    except ConfigError as error:
        assert "\n" not in str(error)


def test_which_addresses_are_used_and_told(write: Write) -> None:
    ice = load_config(write(GOOD)).ice
    assert (ice.candidates, ice.uses("anything0")) == ("all", True)
    section = """[ice]
candidates = "public"
interfaces = ["eth*", "wlan0"]
exclude_interfaces = ["eth1"]
"""
    ice = load_config(write(GOOD.replace("[ice]\n", section))).ice
    assert ice.candidates == "public"
    used = [name for name in ("eth0", "eth1", "wlan0", "wlan1", "lo") if ice.uses(name)]
    assert used == ["eth0", "wlan0"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'candidates = "none"',
            """ice.candidates: 'none' is not among its values; use "all", "public" or "relay\"""",
        ),
        ('turn = "x"', "ice.turn: is text, not a list; docs/reference/configuration.md has"),
        ('turn = ["x"]', "ice.turn[0]: is text, not a table; docs/reference"),
        ('relays = "no"', "ice.relays: is text, not true or false; docs/reference"),
        ("interfaces = [3]", "ice.interfaces[0]: is a whole number, not text; docs/reference"),
        ('interfaces = [""]', "ice.interfaces[0]: '' matches no interface name"),
        ('exclude_interfaces = ["a b"]', "ice.exclude_interfaces[0]: 'a b' matches no"),
    ],
)
def test_mistakes_in_what_is_told(write: Write, line: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(GOOD.replace("[ice]\n", f"[ice]\n{line}\n")))
    assert said in str(raised.value)
