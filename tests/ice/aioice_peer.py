"""A peer made of ``aioice.Connection``, as a process of its own: asyncio stays out of the tests.

Its lines are those of ``interop.py``; it ends when its input does. It cannot trickle its own
candidates, and takes ours as late as they come.
"""

import argparse
import asyncio
import sys

import aioice
import aioice.ice


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201


async def obey(connection: aioice.Connection, lines: asyncio.StreamReader) -> None:
    connecting: asyncio.Future[None] | None = None
    while line := (await lines.readline()).decode().rstrip("\n"):
        word, _, rest = line.partition(" ")
        match word:
            case "lite":
                connection.remote_is_lite = True
            case "credentials":
                connection.remote_username, connection.remote_password = rest.split(" ")
            case "candidate":
                await connection.add_remote_candidate(aioice.Candidate.from_sdp(rest))
            case "connect":
                connecting = asyncio.ensure_future(report(connection))
            case "end-of-candidates":
                await connection.add_remote_candidate(None)
            case "send":
                await connection.send(rest.encode())
            case _:
                raise ValueError(f"what is {line!r}?")
    if connecting is not None:
        connecting.cancel()


async def report(connection: aioice.Connection) -> None:
    await connection.connect()
    pair = connection._nominated[1]
    ends = (pair.local_candidate, pair.remote_candidate)
    role = "controlling" if connection.ice_controlling else "controlled"
    say("selected", role, *(word for end in ends for word in (end.host, end.port, end.type)))
    while True:
        say("received", (await connection.recv()).decode())


async def main(arguments: argparse.Namespace) -> None:
    if arguments.address:
        # aioice leaves loopback out.
        addresses = [arguments.address]
        aioice.ice.get_host_addresses = lambda **_: addresses
    options = {}
    if arguments.stun:
        options["stun_server"] = (arguments.stun[0], int(arguments.stun[1]))
    if arguments.turn:
        host, port, user, password = arguments.turn
        options |= {
            "turn_server": (host, int(port)),
            "turn_username": user,
            "turn_password": password,
        }
    connection = aioice.Connection(ice_controlling=arguments.role == "controlling", **options)
    await connection.gather_candidates()
    say("credentials", connection.local_username, connection.local_password)
    for candidate in connection.local_candidates:
        say("candidate", candidate.to_sdp())
    say("end-of-candidates")
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    await obey(connection, lines)
    await connection.close()


parser = argparse.ArgumentParser()
parser.add_argument("role", choices=("controlling", "controlled"))
parser.add_argument("--address")
parser.add_argument("--stun", nargs=2)
parser.add_argument("--turn", nargs=4)
asyncio.run(main(parser.parse_args()))
