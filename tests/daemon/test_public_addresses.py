"""From which addresses a bootstrap node's STUN server answers, where it is asked to change."""

from ipaddress import ip_interface

from wice.daemon.network import public_addresses
from wice.linux import LinuxPlatform
from wice.platform import NetworkInterface


class Host(LinuxPlatform):
    def interfaces(self) -> list[NetworkInterface]:
        def interface(index: int, is_up: bool, *addresses: str) -> NetworkInterface:
            found = tuple(ip_interface(text) for text in addresses)
            return NetworkInterface(f"eth{index}", index, is_up, False, found)

        return [
            interface(1, True, "203.0.113.1/24", "10.0.0.1/8", "2001:db8::1/64", "fe80::1/64"),
            interface(2, False, "203.0.113.2/24"),
            interface(3, True, "203.0.113.3/24", "100.64.0.1/10", "fd00::1/8", "127.0.0.1/8"),
        ]


def test_public_ones_of_links_that_are_up() -> None:
    assert public_addresses(Host()) == ["203.0.113.1", "2001:db8::1", "203.0.113.3"]
