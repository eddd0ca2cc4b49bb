"""What tshark, Wireshark without a window, reads in captures."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FIELDS: Final = (
    "frame.time_epoch",
    "frame.interface_name",
    "frame.interface_description",
    "frame.packet_flags_direction",
    "frame.protocols",
    "frame.len",
    "frame.comment",
    "_ws.malformed",
    "ip.checksum.status",
    "udp.checksum.status",
    "tcp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
    "tcp.analysis.flags",
    "_ws.col.Protocol",
    "_ws.col.Info",
)
_VERIFYING: Final = ("ip.check_checksum", "udp.check_checksum", "tcp.check_checksum")
_GOOD: Final = "1"


@dataclass(frozen=True, slots=True)
class Frame:
    """One packet, as Wireshark has it.

    checksums: the status of each that is in it, also of what is in a tunnel.
    """

    at_s: str
    interface: str
    interface_text: str
    is_outbound: bool
    protocols: tuple[str, ...]
    size_bytes: int
    comment: str
    is_malformed: bool
    checksums: tuple[str, ...]
    tcp_remarks: str
    protocol: str
    info: str

    @property
    def has_good_checksums(self) -> bool:
        return bool(self.checksums) and set(self.checksums) == {_GOOD}

    @property
    def is_tunnelled_ping(self) -> bool:
        return "wg" in self.protocols and bool({"icmp", "icmpv6"} & set(self.protocols))


def read(path: Path) -> list[Frame]:
    """Raise CalledProcessError for what is no capture."""
    verifying = [word for name in _VERIFYING for word in ("-o", f"{name}:TRUE")]
    fields = [word for name in _FIELDS for word in ("-e", name)]
    done = subprocess.run(
        ["tshark", "-n", "-r", path, *verifying, "-T", "fields", "-E", "separator=/t", *fields],
        capture_output=True,
        text=True,
        check=True,
    )
    return [_frame(line.split("\t")) for line in done.stdout.splitlines()]


def _frame(values: Sequence[str]) -> Frame:
    at_s, interface, text, direction, protocols, size_bytes, comment, malformed, *rest = values
    *sums, remarks, protocol, info = rest
    return Frame(
        at_s=at_s,
        interface=interface,
        interface_text=text,
        is_outbound=int(direction, 0) == 2,
        protocols=tuple(protocols.split(":")),
        size_bytes=int(size_bytes),
        comment=comment,
        is_malformed=bool(malformed),
        checksums=tuple(status for one in sums if one for status in one.split(",")),
        tcp_remarks=remarks,
        protocol=protocol,
        info=info,
    )
