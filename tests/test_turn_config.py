"""``[[ice.turn]]``: relays of a person's own."""

from pathlib import Path

import pytest

from wice.config import load_config
from wice.errors import ConfigError
from wice.stun import LongTermCredentials, TurnURI

SERVER = """
[[ice.turn]]
uri = "turn:turn.example.org"
username = "alice"
password_file = "turn.password"
"""


def config(
    directory: Path, servers: str, *, password: bytes = b"secret\n", mode: int = 0o600
) -> Path:
    password_file = directory / "turn.password"
    password_file.write_bytes(password)
    password_file.chmod(mode)
    path = directory / "wice.toml"
    path.write_text('[overlay]\ncommunity = "harbour"\n' + servers)
    return path


def test_a_server_is_read_with_its_password(tmp_path: Path) -> None:
    (server,) = load_config(config(tmp_path, SERVER)).ice.turn
    assert server.uri == TurnURI("turn.example.org")
    assert server.credentials == LongTermCredentials("alice", "secret")
    assert "secret" not in repr(server)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("turn:turn", "turns:turn", r"ice.turn\[0\].uri: 'turns:turn.*only UDP"),
        ("example.org", "example.org?transport=tcp", "only UDP"),
        ("turn:turn", "stun:turn", r"ice.turn\[0\].uri: a TURN server is"),
        ("turn.password", "nowhere", r"ice.turn\[0\].password_file: .*nowhere cannot be read"),
        ('username = "alice"', "", r"ice.turn\[0\]"),
        ('"alice"', '""', r"ice.turn\[0\].username: is empty; write the user name"),
        ('"alice"', '"a\\u0000b"', r"ice.turn\[0\].username"),
        ("username", "user", r"ice.turn\[0\]"),
    ],
)
def test_a_mistake_is_a_line(tmp_path: Path, old: str, new: str, why: str) -> None:
    assert old in SERVER
    with pytest.raises(ConfigError, match=why):
        load_config(config(tmp_path, SERVER.replace(old, new)))


@pytest.mark.parametrize(
    ("password", "mode", "why"),
    [
        (b"secret", 0o644, "readable by others; chmod 600"),
        (b"", 0o600, "must hold"),
        (b"x" * 2_000, 0o600, "must hold"),
        (b"\xff", 0o600, "not UTF-8"),
    ],
)
def test_a_bad_password_file_is_a_line(
    tmp_path: Path, password: bytes, mode: int, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        load_config(config(tmp_path, SERVER, password=password, mode=mode))


def test_the_servers_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ice\.turn: has more than 4 servers"):
        load_config(config(tmp_path, SERVER * 5))


def test_with_a_server_of_its_own_a_host_can_do_without_those_of_the_community(
    tmp_path: Path,
) -> None:
    relays_alone = '[ice]\ncandidates = "relay"\nrelays = false\n'
    assert load_config(config(tmp_path, relays_alone + SERVER)).ice.turn
    with pytest.raises(ConfigError):
        load_config(config(tmp_path, relays_alone))
