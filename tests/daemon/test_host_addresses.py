"""Which of the host's interfaces give candidates."""

from ipaddress import ip_interface
from types import SimpleNamespace
from typing import Any, cast

from wice.config import IceConfig
from wice.daemon.network import HostAddresses
from wice.platform import NetworkInterface, Platform


def _platform(**addresses: str) -> Platform:
    interfaces: list[Any] = [
        NetworkInterface(name, index, name != "down0", name == "lo", (ip_interface(address),))
        for index, (name, address) in enumerate(addresses.items(), 1)
    ]
    return cast(Platform, SimpleNamespace(interfaces=lambda: interfaces))


def test_own_tunnels_and_excluded_interfaces_give_none() -> None:
    platform = _platform(
        eth0="192.0.2.1/24",
        eth1="192.0.2.65/26",
        docker0="172.17.0.1/16",
        wg0="10.77.0.1/24",
        down0="192.0.2.129/26",
    )
    own = frozenset({"wg0"})
    assert HostAddresses(platform, own).known() == ("192.0.2.1", "192.0.2.65", "172.17.0.1")
    config = IceConfig(interfaces=("eth*", "wg*"), exclude_interfaces=("eth1",))
    assert HostAddresses(platform, own, config.uses).known() == ("192.0.2.1",)
    config = IceConfig(exclude_interfaces=("docker*",))
    assert HostAddresses(platform, own, config.uses).known() == ("192.0.2.1", "192.0.2.65")
