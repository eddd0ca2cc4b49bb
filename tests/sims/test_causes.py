"""Failures that are alike have one cause, whatever names and numbers they are about."""

import pytest

from sims.many.causes import PROCESS, Causes, grouped
from sims.many.swarm import SeedResult
from sims.model.result import Violation
from tests.sims.results import a_scenario

CAUSES = Causes(a_scenario(3))


def a_violation(
    detail: str, subject: str = "pc-1 to pc-2", check: str = "tunnels", at_s: float = 1.0
) -> Violation:
    return Violation(at_s=at_s, check=check, subject=subject, detail=detail)


def failed(seed: int, *violations: Violation) -> SeedResult:
    return SeedResult(seed=seed, checks={}, violations=violations, violations_count=len(violations))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("silent for 12 s", "silent for 7.5 s"),
        ("pc-1 lacks an answer", "pc-3 lacks an answer"),
        ("sends to 192.0.2.7:4500", "sends to 198.51.100.1:9"),
        ("sends to 192.0.2.7:4500", "sends to [2001:db8::7]:4500"),
        ("sends to 192.0.2.7:4500", "sends to 192.0.2.7:4500 through a relay"),
        ("is seeking (no path; tried 4 pairs)", "is seeking (the overlay (of two) is lost)"),
        ("'ping-pc-1>pc-2#7' came twice", "'ping-pc-2>pc-1#123' came twice"),
        ("began 7 sessions; 1 restart is reason", "began 9 sessions; 2 losses are reason"),
    ],
)
def test_names_numbers_and_remarks_do_not_make_another_cause(one: str, other: str) -> None:
    first, second = (CAUSES.of_violation(a_violation(text)) for text in (one, other))
    assert first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (a_violation("was lost"), a_violation("was found")),
        (a_violation("was lost"), a_violation("was lost", check="healed")),
        (a_violation("was lost"), a_violation("was lost", subject="pc-1")),
        (a_violation("was lost", "pc-1"), a_violation("was lost", "bootstrap-1")),
    ],
)
def test_another_check_message_or_role_is_another_cause(one: Violation, other: Violation) -> None:
    assert CAUSES.of_violation(one) != CAUSES.of_violation(other)


def test_failed_seeds_are_grouped_by_what_came_first() -> None:
    lost, dead = a_violation("was lost for 3 s", at_s=9.0), "was killed by SIGKILL"
    groups = grouped(
        [
            failed(1, a_violation("was found"), lost),
            failed(2, lost, a_violation("was found", at_s=9.5)),
            SeedResult(seed=3, checks={}, failure=dead),
            failed(4, a_violation("was lost for 12 s", "pc-3 to pc-2", at_s=2.0)),
            failed(5, a_violation("was lost for 1 s", at_s=2.0)),
        ],
        a_scenario(3),
    )
    assert [(group.seeds, group.fastest) for group in groups] == [
        ((2, 4, 5), 4),
        ((3,), 3),
        ((1,), 1),
    ]
    assert groups[0].cause.kind == "was lost for N s"
    assert groups[0].cause.roles == "machine to machine"
    assert groups[1].cause.check == PROCESS
