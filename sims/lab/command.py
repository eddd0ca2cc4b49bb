"""The verb ``wice demo``."""

import click

from sims.lab.nat import NAT_KINDS

TIMEOUT_S = 60.0
HOMES_MAX = 8
EXIT_FAILED = 1


def _parse_kinds(_context: click.Context, _parameter: click.Parameter, text: str) -> list[str]:
    kinds = text.split(",")
    for kind in kinds:
        if kind not in NAT_KINDS:
            raise click.BadParameter(f"{kind!r} is not one of {', '.join(NAT_KINDS)}")
    if not 2 <= len(kinds) <= HOMES_MAX:
        raise click.BadParameter(f"name 2 to {HOMES_MAX} kinds, one for each home")
    return kinds


@click.command()
@click.option(
    "--nat",
    "kinds",
    metavar="KIND,KIND",
    default="port-restricted,port-restricted",
    show_default=True,
    callback=_parse_kinds,
    help=f"The NAT of each home: {', '.join(NAT_KINDS)}.",
)
@click.option("--keep", is_flag=True, help="Leave everything up, and say how to enter it.")
@click.option("--clean", is_flag=True, help="Remove what was kept or left behind, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--timeout-s", default=TIMEOUT_S, hidden=True)
@click.option("--stop", metavar="HOME", hidden=True)
def demo(
    kinds: list[str], keep: bool, clean: bool, as_json: bool, timeout_s: float, stop: str | None
) -> None:
    """Watch two hosts behind NATs find each other and ping through WireGuard.

    Builds a small internet out of network namespaces, starts the real daemons in it, and removes
    it again. Nothing outside of it is touched. Needs root; exits 0 only if every ping came back
    through the tunnel.
    """
    from sims.lab.run import Options, clean_up, run

    if clean:
        clean_up()
        return
    options = Options(tuple(kinds), keep, as_json, timeout_s, stop)
    raise SystemExit(run(options))
