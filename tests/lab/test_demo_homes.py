"""What the machines of the demo are given beforehand."""

import stat
from collections.abc import Callable

import pytest

from sims.lab.homes import equip_bootstrap, equip_homes
from sims.lab.lab import Lab
from wice.config import load_config
from wice.errors import ConfigError
from wice.keys import PrivateKey

pytestmark = pytest.mark.root


def test_no_file_of_a_home_holds_an_address_or_a_secret_of_another(
    build: Callable[..., Lab],
) -> None:
    lab = build(alice="port-restricted", bob="port-restricted")
    _, bootstrap = equip_bootstrap(lab, "bootstrap")
    homes = equip_homes(lab, ("alice", "bob"), bootstrap)
    for name, other in (("alice", "bob"), ("bob", "alice")):
        node, router = lab.nodes[other], lab.nodes[f"{other}-nat"]
        secret = (homes[other].directory / "wg0.key").read_text().strip()
        files = [path for path in homes[name].directory.rglob("*") if path.is_file()]
        assert files
        for path in files:
            text = path.read_text()
            for address in (node.address, node.public_address, router.address):
                assert str(address) not in text
            assert secret not in text
            assert "endpoint" not in text


def test_the_daemon_takes_the_configurations(build: Callable[..., Lab]) -> None:
    lab = build(alice="port-restricted", bob="none")
    machine, bootstrap = equip_bootstrap(lab, "bootstrap")
    homes = equip_homes(lab, ("alice", "bob"), bootstrap)
    assert load_config(machine.config).interfaces == ()
    for home in homes.values():
        key_file = home.directory / "wg0.key"
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        config = load_config(home.config)
        (interface,) = config.interfaces
        private_key = PrivateKey.from_base64(key_file.read_text().strip())
        assert private_key.public_key() == home.public_key
        assert interface.addresses == (home.tunnel,)
        assert config.overlay["bootstrap"] == list(bootstrap)
        assert config.control_socket == home.control_socket
    with pytest.raises(ConfigError, match="private_key_file"):
        key_file.chmod(0o644)
        load_config(home.config)


def test_without_a_tunnel_the_homes_cannot_reach_each_others_tunnel_address(
    build: Callable[..., Lab],
) -> None:
    lab = build(alice="port-restricted", bob="port-restricted")
    for name, own, other in (("alice", 1, 2), ("bob", 2, 1)):
        lab[name].run(["ip", "address", "add", f"10.77.0.{own}/32", "dev", "lo"])
        ping = f"ping -c 1 -W 0.3 -I 10.77.0.{own} 10.77.0.{other} || echo lost"
        assert "lost" in lab[name].run(["sh", "-c", ping])
