"""What the tunnel costs without I/O. Run as ``python -m tests.bench wireguard``."""

import time
from collections.abc import Iterator

from tests.bench.report import Row
from tests.wireguard.conftest import A_ENDPOINT, Pair, ipv4_packet

PACKETS, ROUNDS, HANDSHAKES = 2_000, 7, 40
INNER_PACKET_SIZE_BYTES = 1_420


def rows() -> Iterator[Row]:
    pair = Pair().connect()
    a, b = pair.a.tunnel, pair.b.tunnel
    payload = bytes(INNER_PACKET_SIZE_BYTES - 20)
    packet = ipv4_packet(pair.a.inside, pair.b.inside, payload)
    send_us, receive_us, handshake_us = [], [], []
    for round_number in range(ROUNDS):
        sealed = []
        began_s = time.process_time()
        for _ in range(PACKETS):
            a.send(packet, pair.now)
            sealed.append(a.poll_transmit())
        send_us.append((time.process_time() - began_s) / PACKETS * 1e6)
        began_s = time.process_time()
        for transmit in sealed:
            assert transmit is not None
            b.receive(transmit.data, A_ENDPOINT, pair.b.endpoint.host, pair.now)
            assert b.poll_packet() is not None
        receive_us.append((time.process_time() - began_s) / PACKETS * 1e6)
        began_s = time.process_time()
        for seed in range(HANDSHAKES):
            Pair(round_number * HANDSHAKES + seed).connect()
        handshake_us.append((time.process_time() - began_s) / HANDSHAKES * 1e6)
    yield Row("wireguard", f"send a packet of {INNER_PACKET_SIZE_BYTES} bytes", "µs", send_us)
    yield Row("wireguard", f"receive a packet of {INNER_PACKET_SIZE_BYTES} bytes", "µs", receive_us)
    yield Row("wireguard", "handshake, both sides", "µs", handshake_us)
