"""Where machines are, as ``--site alice,bob=home,dsl`` says it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sims.model.mistake import shortened
from sims.model.nat import NAT_KINDS
from sims.model.presets import LINE_PRESETS, SITE_PRESETS
from sims.model.scenario import Machine, Site
from wice.errors import ConfigError
from wice.section import suggest

SITE_DEFAULT: Final = "home"


@dataclass(frozen=True, slots=True)
class SiteChoice:
    """kind: of ``SITE_PRESETS``, or of NAT. line: a preset's name."""

    machines: tuple[str, ...]
    kind: str
    line: str

    @property
    def nat(self) -> str:
        """The kind of NAT."""
        return SITE_PRESETS[self.kind].nat if self.kind in SITE_PRESETS else self.kind


def parse_site(text: str) -> SiteChoice:
    """Read ``NAME[,NAME…]=KIND[,LINE]``; raise ConfigError with the names that there are."""
    where = f"--site {shortened(text)}"
    names, equals, said = text.partition("=")
    machines = tuple(name.strip() for name in names.split(","))
    kind, comma, line = (part.strip() for part in said.partition(","))
    if not (equals and kind and all(machines)):
        raise ConfigError(where, "does not say who is where", "write NAME[,NAME…]=KIND[,LINE]")
    if kind not in SITE_PRESETS and kind not in NAT_KINDS:
        raise ConfigError(
            where,
            f"{shortened(kind)!r} is no kind of site",
            f"use {', '.join(SITE_PRESETS)}, or a kind of NAT: {', '.join(NAT_KINDS)}",
        )
    if comma and line not in LINE_PRESETS:
        raise ConfigError(
            where, f"{shortened(line)!r} is no line", f"use one of {', '.join(LINE_PRESETS)}"
        )
    return SiteChoice(machines, kind, line or _line_of(kind))


def place_machines(names: Sequence[str], choices: Iterable[SiteChoice]) -> list[SiteChoice]:
    """The chosen sites, then one of kind ``SITE_DEFAULT`` for each name that is in none.

    Raise ConfigError for a name that there is not, or that is at two sites.
    """
    placed: dict[str, str] = {}
    chosen = list(choices)
    for choice in chosen:
        where = f"--site {shortened(','.join(choice.machines))}={choice.kind}"
        for name in choice.machines:
            if name not in names:
                raise ConfigError(
                    where,
                    f"no configuration is of {shortened(name)}, nor has a peer of that name",
                    suggest(name, names, "names"),
                )
            if name in placed:
                raise ConfigError(where, f"{name} has a site already", "name it once")
            placed[name] = choice.kind
        if NAT_KINDS[choice.nat].nats and NAT_KINDS[choice.nat].nats[0].is_one_to_one:
            _check_alone(choice, where)
    rest = (name for name in names if name not in placed)
    return chosen + [SiteChoice((name,), SITE_DEFAULT, _line_of(SITE_DEFAULT)) for name in rest]


def make_sites(choices: Sequence[SiteChoice], machines: dict[str, Machine]) -> tuple[Site, ...]:
    """Sites named by their kind, with a number where there are several of it."""
    kinds = [choice.kind for choice in choices]
    numbers = dict.fromkeys(kinds, 0)
    sites = []
    for choice in choices:
        numbers[choice.kind] += 1
        is_only = kinds.count(choice.kind) == 1
        sites.append(
            Site(
                name=choice.kind if is_only else f"{choice.kind}-{numbers[choice.kind]}",
                line=LINE_PRESETS[choice.line],
                nats=NAT_KINDS[choice.nat].nats,
                firewall=NAT_KINDS[choice.nat].firewall,
                machines=tuple(machines[name] for name in choice.machines),
            )
        )
    return tuple(sites)


def _line_of(kind: str) -> str:
    return SITE_PRESETS[kind if kind in SITE_PRESETS else SITE_DEFAULT].line


def _check_alone(choice: SiteChoice, where: str) -> None:
    if len(choice.machines) > 1:
        raise ConfigError(
            where,
            "such a machine has its public address to itself",
            "give each a --site of its own",
        )
