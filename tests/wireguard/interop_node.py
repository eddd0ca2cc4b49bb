"""An embedded device as a process of its own, run inside a network namespace by the tests.

The first line of stdin is its settings in JSON, so that no key is seen in a process list. It
prints ``ready``, then answers each further line with its statistics, and ends with stdin.
"""

import ipaddress
import json
import sys
from collections import Counter
from typing import Any

import trio

from wice.datagram import Endpoint, Path
from wice.events import EventStream
from wice.keys import PresharedKey, PrivateKey, PublicKey
from wice.linux import LinuxPlatform
from wice.platform import LinkConfig
from wice.wireguard.cookie import CookieChecker, CookieJar
from wice.wireguard.device import DeviceConfig, PeerConfig
from wice.wireguard.embedded import EmbeddedDevice, open_embedded
from wice.wireguard.messages import CookieReply

COOKIES: Counter[str] = Counter()


def count_cookies() -> None:
    """Note the cookies that we ask for, are asked for, and accept."""
    create_reply, has_mac2 = CookieChecker.create_reply, CookieChecker.has_mac2
    consume_reply = CookieJar.consume_reply

    def create(self: CookieChecker, *arguments: Any) -> CookieReply:
        COOKIES["asked for"] += 1
        return create_reply(self, *arguments)

    def check(self: CookieChecker, *arguments: Any) -> bool:
        is_proved = has_mac2(self, *arguments)
        COOKIES["accepted"] += is_proved
        return is_proved

    def consume(self: CookieJar, reply: CookieReply, now: float) -> None:
        consume_reply(self, reply, now)
        COOKIES["received"] += 1

    CookieChecker.create_reply, CookieChecker.has_mac2 = create, check  # type: ignore[method-assign]
    CookieJar.consume_reply = consume  # type: ignore[method-assign]


async def run(settings: dict[str, Any], lines: "LineReader") -> None:
    platform, events = LinuxPlatform(), EventStream()
    private_key = PrivateKey.from_base64(settings["private_key"])
    config = DeviceConfig(private_key, settings["listen_port"])
    async with open_embedded("wg0", config, platform, events) as device:
        address = ipaddress.ip_interface(settings["address"])
        platform.configure_link("wg0", LinkConfig((address,), (), 1420))
        peer = settings["peer"]
        preshared = peer.get("preshared_key")
        public_key = PublicKey.from_base64(peer["public_key"])
        allowed_ips = tuple(ipaddress.ip_network(one) for one in peer["allowed_ips"])
        preshared_key = PresharedKey.from_base64(preshared) if preshared else None
        device.set_peer(PeerConfig(public_key, allowed_ips, preshared_key))
        if peer.get("endpoint"):
            path = Path(Endpoint.parse(peer["endpoint"]), peer.get("source"))
            device.set_path(public_key, path, peer.get("persistent_keepalive_s", 0))
        print("ready", flush=True)  # noqa: T201
        while await lines.read() is not None:
            print(json.dumps(report(device, events)), flush=True)  # noqa: T201


def report(device: EmbeddedDevice, events: EventStream) -> dict[str, Any]:
    (peer,) = device.statistics()
    return {
        "path": str(peer.path.remote) if peer.path else None,
        "latest_handshake_at_s": peer.latest_handshake_at_s,
        "rx_bytes": peer.rx_bytes,
        "tx_bytes": peer.tx_bytes,
        "events": dict(events.counts),
        "dropped": dict(device.port.dropped),
        "cookies": COOKIES,
    }


class LineReader:
    """Lines of stdin, None at its end."""

    def __init__(self) -> None:
        self._stream = trio.lowlevel.FdStream(sys.stdin.fileno())
        self._buffer = b""

    async def read(self) -> bytes | None:
        while b"\n" not in self._buffer:
            received = await self._stream.receive_some()
            if not received:
                return None
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


async def main() -> None:
    lines = LineReader()
    settings = await lines.read()
    assert settings is not None
    count_cookies()
    await run(json.loads(settings), lines)


if __name__ == "__main__":
    trio.run(main)
