"""Machines of a scenario have files that daemons take, the same for one seed on every engine."""

from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

from sims.machines.mesh_files import MeshFiles
from sims.runtime.entropy import Entropy
from tests.sims.results import a_scenario
from wice.config import load_config
from wice.platform import IPInterface

ADDRESSES = {
    "bootstrap-1": [ip_interface("198.18.0.10/24"), ip_interface("2001:db8::10/64")],
    "bootstrap-2": [ip_interface("198.18.0.11/24")],
}
SCENARIO = replace(a_scenario(3), bootstraps=2, has_relay=True)


def mesh_files(seed: int = 1, addresses: dict[str, list[IPInterface]] | None = None) -> MeshFiles:
    return MeshFiles(SCENARIO, Entropy(seed), (addresses or ADDRESSES).__getitem__)


def test_a_daemon_reads_whom_it_lets_in_and_whom_it_asks(tmp_path: Path) -> None:
    made = mesh_files()
    files = made.write_keys("pc-2", tmp_path / "pc-2")
    files.config.write_text(made.config(files))
    (interface,) = load_config(files.config).interfaces
    assert interface.private_key == made.private_keys["pc-2"]
    assert interface.addresses == (made.tunnels["pc-2"],)
    assert {
        peer.name: (peer.config.public_key, [str(network) for network in peer.config.allowed_ips])
        for peer in interface.peers
    } == {
        name: (made.private_keys[name].public_key(), [f"{made.tunnels[name].ip}/32"])
        for name in ("pc-1", "pc-3")
    }
    text = files.config.read_text()
    for address in ("/ip4/198.18.0.10/", "/ip6/2001:db8::10/", "/ip4/198.18.0.11/"):
        assert f'"{address}tcp/4001/p2p/' in text
    assert "[relay]" not in text


def test_a_bootstrap_node_listens_at_the_addresses_that_it_has_now(tmp_path: Path) -> None:
    addresses = dict(ADDRESSES)
    made = mesh_files(addresses=addresses)
    files = made.write_keys("bootstrap-2", tmp_path / "bootstrap-2")
    assert 'listen = ["/ip4/198.18.0.11/tcp/4001"]' in made.config(files)
    addresses["bootstrap-2"] = [ip_interface("198.18.0.77/24")]
    text = made.config(files)
    assert 'listen = ["/ip4/198.18.0.77/tcp/4001"]' in text
    assert "bootstrap = []" in text and "[relay]" in text and "[interfaces" not in text


def test_only_the_owner_reads_keys(tmp_path: Path) -> None:
    made = mesh_files()
    for name in ("bootstrap-1", "pc-1"):
        made.write_keys(name, tmp_path / name)
    modes = {
        str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777
        for path in sorted(tmp_path.rglob("*"))
    }
    assert modes.pop("pc-1/wg0.key") == 0o600
    directories = {name: mode for name, mode in modes.items() if (tmp_path / name).is_dir()}
    assert set(directories) == {"bootstrap-1", "bootstrap-1/state", "pc-1", "pc-1/state"}
    assert set(directories.values()) == {0o700}
    keys = modes.keys() - directories
    assert len(keys) == 2 and {modes[key] for key in keys} == {0o600}


def test_keys_are_those_of_the_seed(tmp_path: Path) -> None:
    said = []
    for number, seed in enumerate((1, 1, 2)):
        made = mesh_files(seed)
        files = made.write_keys("pc-1", tmp_path / str(number))
        said.append(
            (made.private_keys, made.config(files).replace(str(tmp_path / str(number)), ""))
        )
    assert said[0] == said[1]
    assert said[0][0]["pc-1"] != said[2][0]["pc-1"] and said[0][1] != said[2][1]
