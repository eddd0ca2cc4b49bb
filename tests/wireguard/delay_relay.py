"""Carries UDP between two endpoints with a delay, run inside a network namespace by the tests.

Arguments: own address and port, one side's address and port, the other's, the delay in seconds.
"""

import sys

import trio

Address = tuple[str, int]


async def main(ours: Address, left: Address, right: Address, delay_s: float) -> None:
    async with trio.open_nursery() as nursery:
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as relay:

            async def forward(data: bytes, target: Address) -> None:
                await trio.sleep(delay_s)
                await relay.sendto(data, target)

            await relay.bind(ours)
            print("ready", flush=True)  # noqa: T201
            while True:
                data, source = await relay.recvfrom(65_535)
                nursery.start_soon(forward, data, left if source == right else right)


if __name__ == "__main__":
    words = sys.argv[1:]
    ends = [(words[place], int(words[place + 1])) for place in (0, 2, 4)]
    trio.run(main, *ends, float(words[6]))
