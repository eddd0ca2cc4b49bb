"""When a pair that works replaces the selected one (draft-thatcher-ice-renomination).

Paths are never made worse (DESIGN D13): a switch needs a reason, and a refusal has one too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wice.ice.pair import Pair

NOMINATION_MAX: Final = 2**24 - 1
"""The greatest number of a nomination that every implementation reads."""


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """What another pair must be better by.

    A direct pair replaces a relayed one always, a relayed one never replaces a direct one. Through
    one relay less is better unless the round trip is longer by the same measure, once that is known
    from ``rtt_samples_min`` answers. Otherwise the round trip decides: shorter by ``rtt_gain_s``
    and by the share ``rtt_gain_fraction``, each known from ``rtt_samples_min`` answers, and not
    within ``interval_s`` of the last switch.
    relay_patience_s: how long a relayed pair waits for a direct one where the remote does not know
    renomination, and the first nomination is the last.
    """

    rtt_gain_s: float = 0.005
    rtt_gain_fraction: float = 0.2
    rtt_samples_min: int = 3
    interval_s: float = 30.0
    relay_patience_s: float = 2.0


def refusal(
    selected: Pair, other: Pair, hysteresis: Hysteresis, selected_for_s: float = float("inf")
) -> str:
    """Why ``other``, which works, does not replace ``selected``, for a person; empty if it does."""
    if other.is_relayed != selected.is_relayed:
        return "relayed, and the selected pair is direct" if other.is_relayed else ""
    has_fewer_relays = other.relay_count < selected.relay_count
    known = [other.rtt_samples] if has_fewer_relays else [other.rtt_samples, selected.rtt_samples]
    if min(known) < hysteresis.rtt_samples_min:
        return "its round trip is not known well enough yet"
    assert selected.smoothed_rtt_s is not None and other.smoothed_rtt_s is not None
    gain_s = selected.smoothed_rtt_s - other.smoothed_rtt_s
    needed_s = max(hysteresis.rtt_gain_s, hysteresis.rtt_gain_fraction * selected.smoothed_rtt_s)
    if has_fewer_relays and gain_s > -needed_s:
        return ""
    if gain_s < needed_s:
        if gain_s <= 0:
            return f"its round trip is {-gain_s * 1e3:.1f} ms longer"
        return f"its round trip is only {gain_s * 1e3:.1f} ms shorter, {needed_s * 1e3:.1f} needed"
    if selected_for_s < hysteresis.interval_s:
        return f"the last switch was {selected_for_s:.0f} s ago, {hysteresis.interval_s:.0f} needed"
    return ""


def remark(
    selected: Pair | None, other: Pair, hysteresis: Hysteresis, *, knows_renomination: bool
) -> str:
    """Why ``other``, which works, is not the selected pair, for a person; empty where it is.

    knows_renomination: the remote follows a later nomination.
    """
    if other is selected:
        return ""
    if selected is None or selected.remote is not other.remote:
        return "it answers, and is not nominated yet"
    why = refusal(selected, other, hysteresis)
    if not why and not knows_renomination:
        return "it is better, and the peer does not know renomination"
    return why


def best_pair(valid: Sequence[Pair], controlling: bool) -> Pair | None:
    """The first to nominate: through the fewest relays, then by priority."""
    key = [(-pair.relay_count, pair.priority(controlling)) for pair in valid]
    return valid[key.index(max(key))] if valid else None


def replacement(
    selected: Pair, valid: Sequence[Pair], hysteresis: Hysteresis, selected_for_s: float
) -> Pair | None:
    """The pair among ``valid`` that replaces ``selected``, if any does."""
    better = [p for p in valid if not refusal(selected, p, hysteresis, selected_for_s)]
    if any(not pair.is_relayed for pair in better) and selected.is_relayed:
        return best_pair(better, controlling=True)
    return min(better, key=lambda p: (p.relay_count, p.smoothed_rtt_s or 0.0), default=None)
