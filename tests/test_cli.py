"""The command line as a person meets it: exit codes and single lines."""

import subprocess
import sys
from pathlib import Path

import pytest

from wice.keys import PrivateKey

HANG_S = 300.0

Output = subprocess.CompletedProcess[str]


def wice(*arguments: str | Path, stdin: str = "", cwd: Path | None = None) -> Output:
    return subprocess.run(
        [sys.executable, "-m", "wice", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        cwd=cwd,
    )


def assert_one_line(run: Output, exit_code: int, *parts: str) -> None:
    assert run.returncode == exit_code, run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    for part in parts:
        assert part in run.stderr


def test_keys_are_as_wg_makes_them() -> None:
    private_key = wice("genkey").stdout.strip()
    assert wice("pubkey", stdin=private_key).stdout.strip() == str(
        PrivateKey.from_base64(private_key).public_key()
    )
    assert len(wice("genpsk").stdout.strip()) == 44
    assert wice("genkey").stdout != wice("genkey").stdout


def test_pubkey_refuses_nonsense_without_repeating_it() -> None:
    run = wice("pubkey", stdin="hunter2")
    assert_one_line(run, 2, "standard input", "wice genkey")
    assert "hunter2" not in run.stderr


def test_a_full_disk_is_one_line() -> None:
    command = [sys.executable, "-m", "wice", "genkey"]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANG_S
        )
    assert_one_line(run, 1, "cannot write: No space left on device")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("sim", "run", "two-homes", "--seed", "x"),
            "invalid value for '--seed': 'x' is not a valid whole number; "
            "see `wice sim run --help`",
        ),
        (("sim", "shrink", "two-homes"), "missing option '--seed'; see `wice sim shrink --help`"),
        (("sim", "rnu"), "no such command 'rnu'. Did you mean 'run'?"),
        (("status", "--jsn"), "no such option '--jsn'. Did you mean '--json'?"),
        (
            ("sim", "new", "."),
            "invalid value for '[FILE]': File '.' is a directory; see `wice sim new --help`",
        ),
        (
            ("pubkey", "odd\nname"),
            "got unexpected extra argument (odd name); see `wice pubkey --help`",
        ),
    ],
)
def test_a_mistake_of_usage_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    run = wice(*arguments)
    assert_one_line(run, 2)
    assert run.stderr == f"wice: {said}\n"


def test_no_verb_shows_what_there_is() -> None:
    run = wice()
    assert run.returncode == 2
    assert "Commands:" in run.stderr


def test_ctrl_c_while_modules_are_loaded_is_no_traceback() -> None:
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'wice.cli.commands': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from wice.cli import main\n"
        "main()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S
    )
    assert (run.returncode, run.stderr) == (130, "")


def test_help_names_the_verbs() -> None:
    text = wice("--help").stdout
    for verb in (
        "up",
        "bootstrap",
        "status",
        "why",
        "config",
        "genkey",
        "pubkey",
        "genpsk",
        "demo",
        "sim",
    ):
        assert f"\n  {verb} " in text


def test_status_without_a_daemon(tmp_path: Path) -> None:
    config = tmp_path / "wice.toml"
    config.write_text('control_socket = "wice.sock"\n')
    assert_one_line(wice("status", config), 1, "wice.sock", "wice up")
    assert_one_line(wice("why", "bob", config), 1, "wice.sock", "wice up")


def test_config_check(tmp_path: Path) -> None:
    key_file = tmp_path / "wg0.key"
    key_file.touch(0o600)
    key_file.write_text(PrivateKey(bytes(range(32))).reveal_base64())
    config = tmp_path / "wice.toml"
    peer_id = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
    good = f"""
[overlay]
community = "harbour"
bootstrap = ["/ip4/203.0.113.10/tcp/4001/p2p/{peer_id}"]
[interfaces.wg0]
private_key_file = "wg0.key"
"""
    config.write_text(good)
    run = wice("config", "check", config)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith("ok, 1 interfaces, 0 peers")

    config.write_text(good.replace(f"/p2p/{peer_id}", ""))
    assert_one_line(wice("config", "check", config), 2, "overlay.bootstrap[0]", "/p2p/")

    config.write_text(good.replace("[overlay]", '[overlay]\nbackend = "lib2p2"'))
    refused = ("overlay.backend: 'lib2p2' is not installed", "did you mean libp2p?")
    for verb in (("config", "check"), ("up",)):
        assert_one_line(wice(*verb, config), 2, *refused)
    config.write_text(good.replace("[overlay]", '[overlay]\nbackend = "libp2p"'))
    assert wice("config", "check", config).returncode == 0

    config.write_text(good.replace("community", "comunity"))
    assert_one_line(wice("config", "check", config), 2, "overlay.comunity", "community")


def test_config_check_where_only_public_parts_are(tmp_path: Path) -> None:
    config = tmp_path / "wice.toml"
    peer_id = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
    key = PrivateKey(bytes(range(32))).public_key()
    good = f"""
[overlay]
community = "harbour"
secret_file = "community.secret"
bootstrap = ["/ip4/203.0.113.10/tcp/4001/p2p/{peer_id}"]
[[ice.turn]]
uri = "turn:203.0.113.10"
username = "harbour"
password_file = "turn.password"
[interfaces.wg0]
private_key_file = "wg0.key"
[[interfaces.wg0.peers]]
public_key = "{key}"
preshared_key_file = "peer.psk"
[interfaces.wg1]
private_key_file = "wg1.key"
"""
    config.write_text(good)
    assert_one_line(wice("config", "check", config), 2, "wg0.private_key_file", "does not exist")
    run = wice("config", "check", "--without-secrets", config)
    assert run.returncode == 0, run.stderr
    assert "ok, 2 interfaces, 1 peers; 5 files of secrets are not here" in run.stdout

    for mistaken, said in (
        (good.replace("community =", "comunity ="), "overlay.comunity"),
        (good.replace(str(key), "none"), "peers[0].public_key"),
        (good.replace("wg1.key", "wg0.key"), "holds the key of wg0 too"),
        (good.replace(f"/p2p/{peer_id}", ""), "overlay.bootstrap[0]"),
    ):
        config.write_text(mistaken)
        assert_one_line(wice("config", "check", "--without-secrets", config), 2, said)

    config.write_text(good)
    secret = tmp_path / "wg0.key"
    secret.touch(0o644)
    at = ("interfaces.wg0.private_key_file", "readable by others")
    assert_one_line(wice("config", "check", "--without-secrets", config), 2, *at)


def test_up_refuses_a_config_before_it_touches_anything(tmp_path: Path) -> None:
    assert_one_line(wice("up", tmp_path / "none.toml"), 2, "none.toml", "No such file")
    config = tmp_path / "wice.toml"
    config.write_text('[overlay]\ncommunity = "harbour"\n')
    assert_one_line(wice("up", config), 2, "interfaces", "[interfaces.wg0]")


STARTED_CONFIG = """
import sys, trio
trio.run = lambda _, config, is_bootstrap: print(is_bootstrap, config.relay.is_enabled)
import wice.cli.run
wice.cli.run.preload = lambda _: None
from wice.cli import main
sys.argv[0] = "wice"
main()
"""


def test_a_bootstrap_node_relays_when_it_is_told_to_in_either_way(tmp_path: Path) -> None:
    config = tmp_path / "wice.toml"
    for table, option, is_relay in (
        ("", (), False),
        ("[relay]\nenabled = true\n", (), True),
        ("[relay]\nenabled = false\n", ("--relay",), True),
    ):
        config.write_text(f'[overlay]\ncommunity = "harbour"\n{table}')
        command = [sys.executable, "-c", STARTED_CONFIG, "bootstrap", str(config), *option]
        run = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
        assert run.stdout == f"True {is_relay}\n", run.stderr
