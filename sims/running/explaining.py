"""Has the daemons of a run say why paths are not direct."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import trio

from sims.running.story_recorder import StoryRecorder


class Asked(Protocol):
    """A machine whose daemon can be asked."""

    async def why(self, peer: str) -> dict[str, Any] | None:
        """What ``wice why --json`` prints on it of ``peer``; None where nobody answers."""
        ...


async def explain_paths(
    recorder: StoryRecorder,
    machines: Mapping[str, Asked],
    statuses: Mapping[str, Mapping[str, Any]],
) -> None:
    """statuses: the last of each daemon, by machine."""

    async def ask(name: str, peers: Sequence[str]) -> None:
        for peer in peers:
            answer = await machines[name].why(peer)
            if answer is None or "error" in answer:
                # Who does not answer once would be waited for again and again.
                return
            recorder.explained(name, peer, answer)

    async with trio.open_nursery() as nursery:
        for name, peers in recorder.to_explain(statuses).items():
            nursery.start_soon(ask, name, peers)
