"""What the tunnel costs without I/O: run it as a script."""

import time

from tests.wireguard.conftest import A_ENDPOINT, Pair, ipv4_packet

PACKETS, ROUNDS, HANDSHAKES = 5_000, 5, 100
INNER_PACKET_SIZE_BYTES = 1_420


def main() -> None:
    pair = Pair().connect()
    a, b = pair.a.tunnel, pair.b.tunnel
    payload = bytes(INNER_PACKET_SIZE_BYTES - 20)
    packet = ipv4_packet(pair.a.inside, pair.b.inside, payload)
    best_send_s = best_receive_s = float("inf")
    for _ in range(ROUNDS):
        sealed = []
        began_s = time.perf_counter()
        for _ in range(PACKETS):
            a.send(packet, pair.now)
            sealed.append(a.poll_transmit())
        best_send_s = min(best_send_s, time.perf_counter() - began_s)
        began_s = time.perf_counter()
        for transmit in sealed:
            assert transmit is not None
            b.receive(transmit.data, A_ENDPOINT, pair.b.endpoint.host, pair.now)
            assert b.poll_packet() is not None
        best_receive_s = min(best_receive_s, time.perf_counter() - began_s)
    began_s = time.perf_counter()
    for seed in range(HANDSHAKES):
        Pair(seed).connect()
    handshake_s = (time.perf_counter() - began_s) / HANDSHAKES
    print(f"send a 1420-byte packet      {best_send_s / PACKETS * 1e6:6.1f} us")  # noqa: T201
    print(f"receive a 1420-byte packet   {best_receive_s / PACKETS * 1e6:6.1f} us")  # noqa: T201
    print(f"handshake, both sides        {handshake_s * 1e6:6.0f} us")  # noqa: T201


if __name__ == "__main__":
    main()
