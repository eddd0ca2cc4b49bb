"""Who can reach whom goes by where machines are now, and the oracle is asked once."""

from dataclasses import replace

import pytest

import sims.running.reachability
from sims.model.nat import NAT_KINDS, Firewall
from sims.model.scenario import Scenario
from sims.oracle import DIRECT, RELAYED
from sims.running.reachability import Reachability
from tests.sims.results import a_scenario


def homes(*, has_relay: bool = False) -> Scenario:
    """home-1 lets no UDP through, home-2 and home-3 are symmetric, home-4 takes what comes."""
    scenario = a_scenario(4)
    blocked, *symmetric, open_to_all = scenario.sites
    sites = (
        replace(blocked, firewall=Firewall.UDP_BLOCKED),
        *(replace(site, nats=NAT_KINDS["symmetric"].nats) for site in symmetric),
        replace(open_to_all, nats=NAT_KINDS["full-cone"].nats),
    )
    return replace(scenario, sites=sites, has_relay=has_relay)


def test_a_machine_that_moves_can_be_reached_from_where_it_is() -> None:
    at = {"phone": "home-1", "server": "home-3"}
    reachability = Reachability(homes(), at.__getitem__)
    assert reachability.best_path("phone", "server") is None
    assert not reachability.is_reachable("phone", "server")
    assert not reachability.can_be_direct("phone", "server")
    at["phone"] = "home-4"
    assert reachability.best_path("phone", "server") == DIRECT
    assert reachability.is_reachable("phone", "server")
    assert reachability.can_be_direct("phone", "server")


def test_what_is_relayed_can_be_reached_and_is_not_direct() -> None:
    at = {"one": "home-2", "other": "home-3"}
    reachability = Reachability(homes(has_relay=True), at.__getitem__)
    assert reachability.best_path("one", "other") == RELAYED
    assert reachability.is_reachable("one", "other")
    assert not reachability.can_be_direct("one", "other")


def test_the_oracle_is_asked_once_for_two_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_scenario: Scenario, one_site: str, other_site: str) -> None:
        asked.append((one_site, other_site))

    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(sims.running.reachability, "best_site_path", ask)
    at = {"one": "home-1", "two": "home-1", "other": "home-2"}
    reachability = Reachability(homes(), at.__getitem__)
    for machine in ("one", "two", "one"):
        assert not reachability.is_reachable(machine, "other")
    assert asked == [("home-1", "home-2")]
