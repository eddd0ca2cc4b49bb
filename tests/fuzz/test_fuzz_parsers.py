"""Every parser of outside bytes, with valid messages mutated: its documented error or nothing."""

import gc
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import overlay, records, signaling, stun_and_ice, texts, turn, wireguard
from tests.fuzz.mutation import PROGRAM_SIZE_MAX_BYTES, PROGRAM_SIZE_MIN_BYTES, mutate
from tests.fuzz.target import Case, Target

TARGETS = (
    *stun_and_ice.TARGETS,
    *turn.TARGETS,
    *signaling.TARGETS,
    *wireguard.TARGETS,
    *texts.TARGETS,
    *records.TARGETS,
    *overlay.TARGETS,
)

EXAMPLES = 1_000
EXAMPLES_NIGHTLY = 100_000
SEED = 20_260_101

MEMORY_EXAMPLES = 2_000
MEMORY_GROWTH_MAX_BYTES = 256 * 1024
"""What ``MEMORY_EXAMPLES`` more messages may leave behind, once tables are as full as they get."""

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


def feed(target: Target, case: Case, program: bytes) -> None:
    """Parse one mutated message; fail with the message where it is not refused as documented."""
    data = mutate(program, case.samples, target.changes, target.tokens)
    try:
        case.parse(data)
    except target.errors:
        return
    except Exception as error:
        error.add_note(f"{target.name}: program {program.hex()}, message {data.hex()}")
        raise


@each_target
def test_valid_messages_are_accepted(target: Target, tmp_path: Path) -> None:
    for index in range(len(target.build(tmp_path).samples)):
        case = target.build(tmp_path)
        case.parse(case.samples[index])
        case.check()


@each_target
def test_mutated_messages_are_refused_as_documented(target: Target, tmp_path: Path) -> None:
    case = target.build(tmp_path)

    @settings(max_examples=EXAMPLES, database=None)
    @given(st.binary(min_size=PROGRAM_SIZE_MIN_BYTES, max_size=PROGRAM_SIZE_MAX_BYTES))
    def run(program: bytes) -> None:
        feed(target, case, program)

    run()
    case.check()


@pytest.mark.nightly
@each_target
def test_many_mutated_messages_are_refused_and_leave_nothing_behind(
    target: Target, tmp_path: Path
) -> None:
    case = target.build(tmp_path)
    dice = random.Random(SEED)

    def run(count: int) -> None:
        for _ in range(count):
            size = dice.randint(PROGRAM_SIZE_MIN_BYTES, PROGRAM_SIZE_MAX_BYTES)
            feed(target, case, dice.randbytes(size))

    run(EXAMPLES_NIGHTLY - 2 * MEMORY_EXAMPLES)
    tracemalloc.start()
    try:
        run(MEMORY_EXAMPLES)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        run(MEMORY_EXAMPLES)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= MEMORY_GROWTH_MAX_BYTES
    case.check()
