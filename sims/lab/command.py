"""The verb ``wice demo``."""

from itertools import cycle, islice

import click

from sims.lab.link import PLAIN, Link
from sims.lab.nat import NAT_KINDS
from sims.lab.topology import IpVersions

TIMEOUT_S = 60.0
HOMES_MAX = 16
EXIT_FAILED = 1


def _parse_kinds(_context: click.Context, _parameter: click.Parameter, text: str) -> list[str]:
    kinds = text.split(",")
    for kind in kinds:
        if kind not in NAT_KINDS:
            raise click.BadParameter(f"{kind!r} is not one of {', '.join(NAT_KINDS)}")
    if len(kinds) > HOMES_MAX:
        raise click.BadParameter(f"name at most {HOMES_MAX} kinds, one for each home")
    return kinds


def _parse_link(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Link:
    try:
        return PLAIN if text is None else Link.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _homes(kinds: list[str], peers: int | None) -> tuple[str, ...]:
    """One kind for each home: those named, over and over."""
    count = max(len(kinds), 2) if peers is None else peers
    if count < len(kinds):
        raise click.BadParameter(f"--nat names {len(kinds)} kinds for --peers {count}")
    return tuple(islice(cycle(kinds), count))


@click.command()
@click.option(
    "--nat",
    "kinds",
    metavar="KIND,KIND",
    default="port-restricted",
    show_default=True,
    callback=_parse_kinds,
    help=f"The NAT of each home, over and over: {', '.join(NAT_KINDS)}.",
)
@click.option(
    "--peers",
    metavar="N",
    type=click.IntRange(2, HOMES_MAX),
    help=f"How many homes, 2 to {HOMES_MAX}.  [default: one for each kind, or 2]",
)
@click.option(
    "--ip",
    type=click.Choice([str(ip) for ip in IpVersions]),
    default=str(IpVersions.V4),
    show_default=True,
    help="What the internet speaks; with IPv6, routers are stateful firewalls.",
)
@click.option(
    "--link",
    metavar="25ms,1%",
    callback=_parse_link,
    help="What the way between any two does: latency, jitter, loss, rate, as in "
    "25ms,5ms,1%,20mbit.",
)
@click.option(
    "--grid", is_flag=True, help="Try every pair of NAT kinds, and print what came of it."
)
@click.option(
    "--relay/--no-relay",
    "has_relay",
    default=True,
    show_default=True,
    help="Whether the bootstrap node relays for homes that cannot reach each other directly.",
)
@click.option("--keep", is_flag=True, help="Leave everything up, and say how to enter it.")
@click.option("--clean", is_flag=True, help="Remove what was kept or left behind, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--timeout-s", default=TIMEOUT_S, hidden=True)
@click.option("--stop", metavar="HOME", hidden=True)
def demo(
    kinds: list[str],
    peers: int | None,
    ip: str,
    link: Link,
    grid: bool,
    has_relay: bool,
    keep: bool,
    clean: bool,
    as_json: bool,
    timeout_s: float,
    stop: str | None,
) -> None:
    """Watch hosts behind NATs find each other and ping through WireGuard.

    Builds a small internet out of network namespaces, starts the real daemons in it, and removes
    it again. Nothing outside of it is touched. That needs root; without, the simulator plays the
    same. Exits 0 only if every ping came back through the tunnel, with --grid only if every pair
    that can be direct is, and every other is relayed where UDP passes.
    """
    from sims.commands import simulated_demo
    from sims.lab import run as lab
    from sims.lab.requirements import missing

    # What would stop a real daemon is not what stops a simulated one.
    lacking = missing() if stop is None else ""
    if clean:
        if lacking:
            simulated_demo.clean_up(lacking)
        else:
            lab.clean_up()
        return
    versions = IpVersions(ip)
    if grid:
        if lacking:
            status = simulated_demo.run_every_pair(versions, link, lacking, as_json=as_json)
        else:
            status = lab.run_every_pair(versions, link, as_json=as_json, has_relay=has_relay)
        raise SystemExit(status)
    homes = _homes(kinds, peers)
    if versions is IpVersions.V6 and any(NAT_KINDS[kind].is_shared for kind in homes):
        raise click.BadParameter("without IPv4 nothing is translated: no NAT can hairpin")
    options = lab.Options(homes, versions, link, keep, as_json, timeout_s, stop, has_relay)
    raise SystemExit(simulated_demo.run_demo(options, lacking) if lacking else lab.run(options))
