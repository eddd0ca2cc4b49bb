"""What a swarm has told and what it never has, as text for a person."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sims.lab.display import PlainDisplay
from sims.many.coverage import GroupCoverage


def show_coverage(console: Console, groups: Sequence[GroupCoverage]) -> None:
    """Each group: what happened, how often and with which seed first; then what never did."""
    say = PlainDisplay(console).say
    for group in groups:
        table = Table(
            group.group, "count", "first seed", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False
        )
        for column in table.columns[1:]:
            column.justify = "right"
        for name, told in group.told.items():
            table.add_row(name, str(told.count), str(told.first_seed))
        for name in group.never:
            table.add_row(name, "never", "")
        console.print(table)
    for group in groups:
        total = len(group.told) + len(group.never)
        say(f"{group.group}: {len(group.told)} of {total}")
    say("")
