"""``wice status`` for people."""

from typing import Any

from wice.cli.status import format_status


def status(endpoint: str | None, selected: str | None) -> dict[str, Any]:
    peer = {
        "public_key": "peer",
        "name": "nas",
        "state": "connected",
        "path": "direct",
        "endpoint": endpoint,
        "selected": selected,
        "reason": "",
        "rtt_ms": 1.5,
        "latest_handshake_age_s": 61.0,
        "rx_bytes": 4_096,
        "tx_bytes": 0,
        "stages": {"found": 1.0},
    }
    interface = {
        "name": "wg0",
        "public_key": "ours",
        "listen_port": 51_820,
        "addresses": ["10.77.0.1/24"],
        "device": "embedded",
        "peers": [peer],
    }
    overlay = {"joined": True, "peer_id": "us", "connections": [], "unreachable": {}}
    return {"overlay": overlay, "interfaces": [interface]}


def test_a_person_sees_when_wireguard_went_elsewhere_than_ice_said() -> None:
    settled = format_status(status("192.0.2.1:51820", "192.0.2.1:51820"))
    assert "  endpoint: 192.0.2.1:51820\n" in settled
    roamed = format_status(status("192.0.2.1:51820", "198.51.100.7:40000"))
    assert "  endpoint: 192.0.2.1:51820 (ICE selected 198.51.100.7:40000)\n" in roamed
    assert "  endpoint: 192.0.2.1:51820\n" in format_status(status("192.0.2.1:51820", None))
