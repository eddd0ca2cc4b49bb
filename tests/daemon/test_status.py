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
        "relays": [],
        "peers": [peer],
    }
    overlay = {"joined": True, "peer_id": "us", "connections": [], "unreachable": {}}
    return {"overlay": overlay, "interfaces": [interface], "relay": None}


def test_a_person_sees_when_wireguard_went_elsewhere_than_ice_said() -> None:
    settled = format_status(status("192.0.2.1:51820", "192.0.2.1:51820"))
    assert "  endpoint: 192.0.2.1:51820\n" in settled
    roamed = format_status(status("192.0.2.1:51820", "198.51.100.7:40000"))
    assert "  endpoint: 192.0.2.1:51820 (ICE selected 198.51.100.7:40000)\n" in roamed
    assert "  endpoint: 192.0.2.1:51820\n" in format_status(status("192.0.2.1:51820", None))


def test_a_person_sees_what_is_relayed_and_by_whom() -> None:
    answer = status("192.0.2.1:51820", "192.0.2.1:51820")
    (interface,) = answer["interfaces"]
    interface["peers"][0]["path"] = "relayed"
    relay = {"server": "192.0.2.10:3478", "state": "allocated", "reason": "", "relayed": []}
    interface["relays"] = [
        {**relay, "relayed": ["192.0.2.10:50000", "[2001:db8::10]:50000"]},
        {**relay, "state": "waiting", "reason": "the server is full"},
        {**relay, "state": "asking"},
    ]
    text = format_status(answer)
    assert "  state: connected, relayed\n" in text
    assert (
        "  relay: 192.0.2.10:3478, our address there 192.0.2.10:50000, [2001:db8::10]:50000\n"
        in text
    )
    assert "  relay: 192.0.2.10:3478, the server is full\n" in text
    assert "  relay: 192.0.2.10:3478, asking\n" in text


def test_an_overlay_that_was_joined_is_lost_and_not_yet_to_be_joined() -> None:
    for joined, joined_s, said in (
        (False, None, "not joined yet"),
        (True, 0.4, "joined"),
        (False, 0.4, "lost"),
    ):
        answer = status(None, None)
        answer["overlay"] |= {"joined": joined, "joined_s": joined_s}
        assert format_status(answer).startswith(f"overlay: {said}\n")


def test_who_relays_sees_for_how_many() -> None:
    allocation = {"client": "192.0.2.1:1", "relayed": ["192.0.2.10:50000"], "expires_in_s": 1.0}
    allocations = [{"member": name, **allocation} for name in ("one", "one", "two")]
    answer = status(None, None)
    answer |= {"interfaces": [], "relay": {"port": 3478, "allocations": allocations}}
    text = format_status(answer)
    assert "relay: UDP port 3478\n  allocations: 3, of 2 members\n" in text
    assert "relay:" not in format_status({**answer, "relay": None})
