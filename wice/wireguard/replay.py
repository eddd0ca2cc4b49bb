"""The sliding window of counters already received (white paper, section 5.4.6; RFC 6479)."""

WINDOW_BLOCKS = 128
BLOCK_BITS = 64
REPLAY_WINDOW_SIZE = (WINDOW_BLOCKS - 1) * BLOCK_BITS
"""How far a packet may come behind the newest one; one block is always partly ahead of it."""


class ReplayWindow:
    """Remembers counters in a ring of bit blocks, so that advancing clears whole blocks."""

    __slots__ = ("_blocks", "_newest")

    def __init__(self) -> None:
        self._newest = -1
        self._blocks = [0] * WINDOW_BLOCKS

    def is_fresh(self, counter: int) -> bool:
        """Whether ``counter`` was neither seen nor has fallen out of the window."""
        if counter > self._newest:
            return True
        if self._newest - counter > REPLAY_WINDOW_SIZE:
            return False
        block = self._blocks[(counter // BLOCK_BITS) % WINDOW_BLOCKS]
        return not block >> (counter % BLOCK_BITS) & 1

    def mark(self, counter: int) -> None:
        """Remember ``counter``. Only after its packet authenticated, or anyone could shut us."""
        assert self.is_fresh(counter)
        block = counter // BLOCK_BITS
        if counter > self._newest:
            newest_block = self._newest // BLOCK_BITS
            for passed in range(max(newest_block, block - WINDOW_BLOCKS) + 1, block + 1):
                self._blocks[passed % WINDOW_BLOCKS] = 0
            self._newest = counter
        self._blocks[block % WINDOW_BLOCKS] |= 1 << counter % BLOCK_BITS
