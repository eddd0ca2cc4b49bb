"""A peer made of ``aioice.Connection``, as a process of its own: asyncio stays out of the tests.

One JSON line out with its description, one in with the remote's, one out when connected; ends
when its input does.
"""

import asyncio
import json
import sys

import aioice
import aioice.ice


async def main(address: str, controlling: bool) -> None:
    # aioice leaves loopback out.
    aioice.ice.get_host_addresses = lambda **_: [address]  # type: ignore[attr-defined]
    connection = aioice.Connection(ice_controlling=controlling)
    await connection.gather_candidates()
    description = {
        "ufrag": connection.local_username,
        "password": connection.local_password,
        "candidates": [candidate.to_sdp() for candidate in connection.local_candidates],
    }
    print(json.dumps(description), flush=True)  # noqa: T201
    loop = asyncio.get_running_loop()
    remote = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    connection.remote_username = remote["ufrag"]
    connection.remote_password = remote["password"]
    connection.remote_is_lite = remote["lite"]
    for text in remote["candidates"]:
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(text))
    connecting = asyncio.ensure_future(connection.connect())
    for text in remote["late_candidates"]:
        await asyncio.sleep(0.1)
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(text))
    await connection.add_remote_candidate(None)
    await connecting
    await connection.send(b"hello from aioice")
    print(json.dumps({"controlling": connection.ice_controlling}), flush=True)  # noqa: T201
    await loop.run_in_executor(None, sys.stdin.read)
    await connection.close()


asyncio.run(main(sys.argv[1], sys.argv[2] == "controlling"))
