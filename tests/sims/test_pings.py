"""Pings go every way, now and then as large as they can be, and are told apart by their numbers."""

from collections.abc import Callable

import trio

from sims.model.world import PING_MARKER
from sims.running.pings import FULL_SIZE_EVERY, Pings
from sims.runtime.clock import VirtualClock
from sims.stack.icmp import headers_size_bytes

ADDRESSES = {"laptop": "10.77.0.1", "nas": "10.77.0.2"}
SIZE_MAX_BYTES = 100


class Machine:
    """Answers at once what ``passes`` lets through."""

    def __init__(self, answer: Callable[[str, bytes], None]) -> None:
        self.is_running = True
        self.passes: Callable[[int, bool], bool] = lambda _number, _is_full_size: True
        self.sizes: list[bool] = []
        self._answer = answer

    def ping(self, destination: str, payload: bytes, *, is_full_size: bool = False) -> bool:
        assert payload.startswith(PING_MARKER)
        self.sizes.append(is_full_size)
        if self.passes(len(self.sizes) - 1, is_full_size):
            self._answer(destination, payload.ljust(SIZE_MAX_BYTES) if is_full_size else payload)
        return True


class Mesh:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.replies: list[tuple[str, str, int]] = []
        self.laptop = Machine(self._replied)
        self.pings = Pings(
            self.clock,
            {"laptop": self.laptop, "nas": self.laptop},  # type: ignore[dict-item]
            ADDRESSES,
            [("laptop", "nas")],
            5.0,
            lambda *_: None,
        )
        self.pings.start()

    def run(self, for_s: float) -> None:
        trio.run(trio.sleep, for_s, clock=self.clock)

    def _replied(self, source: str, payload: bytes) -> None:
        def reply() -> None:
            replied = self.pings.replied("laptop", source, payload)
            if replied is not None:
                self.replies.append(replied)
            assert self.pings.replied("laptop", source, payload) is None

        self.clock.call_later(0.05, reply)


def test_now_and_then_a_ping_is_as_large_as_it_can_be() -> None:
    mesh = Mesh()
    mesh.run(for_s=100)
    sizes = mesh.laptop.sizes
    assert len(sizes) > 3 * FULL_SIZE_EVERY
    assert [number for number, is_full_size in enumerate(sizes) if is_full_size] == list(
        range(FULL_SIZE_EVERY - 1, len(sizes), FULL_SIZE_EVERY)
    )
    answered = len(mesh.replies)
    assert answered >= len(sizes) - 1, "of the last one alone the answer may be under way"
    assert mesh.replies == [("laptop", "nas", number) for number in range(answered)]


def test_where_large_ones_do_not_pass_silence_shows_it() -> None:
    mesh = Mesh()
    mesh.laptop.passes = lambda _number, is_full_size: not is_full_size
    mesh.run(for_s=100)
    assert len(mesh.replies) == FULL_SIZE_EVERY - 1
    assert all(mesh.laptop.sizes[FULL_SIZE_EVERY - 1 :])
    mesh.laptop.passes = lambda _number, _is_full_size: True
    mesh.run(for_s=20)
    assert not mesh.laptop.sizes[-1]


def test_the_first_answer_is_awaited_with_small_ones() -> None:
    mesh = Mesh()
    mesh.laptop.passes = lambda number, _is_full_size: number >= 2 * FULL_SIZE_EVERY
    mesh.run(for_s=60)
    assert not any(mesh.laptop.sizes[: 2 * FULL_SIZE_EVERY + 1])
    assert any(mesh.laptop.sizes)


def test_headers_of_an_echo() -> None:
    assert headers_size_bytes("10.77.0.1") == 28
    assert headers_size_bytes("fd00::1") == 48
