"""The grid with real daemons: it agrees with the oracle, until a NAT is wrong."""

from dataclasses import replace
from typing import Any

import pytest

from sims.internet.translation import Nat
from sims.many.grid import DIRECT, Cell, run_grid
from sims.many.processes import preload, processors
from sims.model.nat import Filtering, Mapping, NatModel
from sims.running.run import run

KINDS = ("port-restricted", "symmetric")


def cells() -> dict[tuple[str, str], Cell]:
    preload()
    result = run_grid(KINDS, 4, processors(), run, tell=lambda _: None)
    assert result.is_complete
    return {cell.kinds: cell for cell in result.cells}


def test_one_wrong_filter_turns_the_grid_red(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [str(cell) for cell in cells().values() if not cell.is_as_expected] == []

    make = Nat.__init__

    def make_too_loose(nat: Nat, model: NatModel, *others: Any) -> None:
        """Whoever has been contacted gets in from any port, where there is one mapping for all."""
        if model.mapping is Mapping.ENDPOINT_INDEPENDENT:
            model = replace(model, filtering=Filtering.ADDRESS_DEPENDENT)
        make(nat, model, *others)

    monkeypatch.setattr(Nat, "__init__", make_too_loose)
    wrong = {kinds: cell for kinds, cell in cells().items() if not cell.is_as_expected}
    assert set(wrong) == {KINDS, KINDS[::-1]}
    assert all(cell.seen == DIRECT for cell in wrong.values())
