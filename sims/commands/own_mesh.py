"""``wice sim new`` and ``wice sim from-config``: scenarios of a mesh of one's own."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sims.commands.finishing import exit_if, noting
from sims.commands.options import STDOUT, check_writable
from wice.errors import ConfigError, one_line

if TYPE_CHECKING:
    from sims.configs.scenario import OwnMesh
    from sims.configs.sites import SiteChoice

NEW_FILE: Final = "mesh.toml"
UNNAMED: Final = "mesh"

SITES_SHOWN_MAX: Final = 12
"""In a line each."""
NAME_KEPT_MAX: Final = 32
"""Characters of a file's name in that of the one written beside it."""
LARGE_PAIRS: Final = 880
"""Ordered ones: as many took 0.9 of real time, with relays (docs/reference/benchmarks.md)."""

_force_option = click.option("--force", is_flag=True, help="Overwrite a file that is there.")


@click.command(short_help="Write a scenario with comments, ready to run.")
@click.argument(
    "file",
    metavar="[FILE]",
    default=NEW_FILE,
    type=click.Path(dir_okay=False, allow_dash=True),
    callback=check_writable,
)
@_force_option
def new(file: str, force: bool) -> None:
    """Write a scenario with comments into FILE (`mesh.toml` if none is named), ready to run.

    - is standard output.
    """
    from sims.files.new_scenario import new_scenario_text, scenario_name

    path = Path(NEW_FILE if file == STDOUT else file)
    scenario_name(path)
    _write(file, new_scenario_text(path), force=force)
    if file != STDOUT:
        click.echo(f"{file} is there; run it: {_run_command(file)}")


@click.command("from-config", short_help="Make a scenario of a mesh's own configurations.")
@click.argument(
    "configs",
    metavar="CONFIG...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
)
@click.option(
    "--site",
    "sites",
    metavar="NAME[,NAME...]=KIND[,LINE]",
    multiple=True,
    help="Where machines are, one site for all that are named.  [default: each at a home]",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default=STDOUT,
    type=click.Path(dir_okay=False, allow_dash=True),
    callback=check_writable,
    help="Write the scenario there.  [default: standard output]",
)
@_force_option
def from_config(
    configs: tuple[Path, ...], sites: tuple[str, ...], output: str, force: bool
) -> None:
    """Make a scenario of a mesh's own configurations: the same machines, who know the same peers.

    NAME is that of a CONFIG's file, or of its directory where the file is wice.toml. KIND is
    home, mobile, office, cafe, server, cloud or ship, or a kind of NAT; LINE is lan, fibre, wifi,
    dsl, 4g or geo. Private keys need not be there, and are not copied.
    """
    from sims.configs.scenario import scenario_of
    from sims.configs.sites import parse_site
    from sims.files.new_scenario import scenario_name
    from sims.files.scenario_text import scenario_text

    _check_is_no_input(output, configs)
    name = UNNAMED if output == STDOUT else scenario_name(Path(output))
    mesh = scenario_of(configs, [parse_site(text) for text in sites], name)
    comment = _comment(configs, mesh)
    _write(output, scenario_text(mesh.scenario, comment) + _WHAT_IF, force=force)
    for line in _summary(output, mesh):
        click.echo(line, err=output == STDOUT)


_WHAT_IF: Final = """
# What if the bootstrap node dies? Take the # away, and run it again.
# [[faults]]
# at_s = 30
# kind = "crash"
# target = "bootstrap-1"
"""


def _comment(configs: Sequence[Path], mesh: "OwnMesh") -> list[str]:
    from sims.configs.unmodelled import listed

    lines = [f"Made by `wice sim from-config` of {listed([str(path) for path in configs])}."]
    if mesh.otherwise:
        lines += ["In the simulator", *(f"- {sentence}" for sentence in mesh.otherwise)]
    return lines


def _summary(output: str, mesh: "OwnMesh") -> list[str]:
    scenario = mesh.scenario
    if scenario.bootstraps == 1:
        relays = "that relays" if scenario.has_relay else "that does not relay"
        bootstraps = f"1 bootstrap node {relays}"
    else:
        relays = "that relay" if scenario.has_relay else "that do not relay"
        bootstraps = f"{scenario.bootstraps} bootstrap nodes {relays}"
    shown = UNNAMED if output == STDOUT else output
    machines = len(scenario.machines)
    lines = [f"{shown}: {machines} machine{'s' * (machines != 1)}, {bootstraps}"]
    lines += _sites_by_kind(mesh) if len(mesh.sites) > SITES_SHOWN_MAX else _sites(mesh)
    lines += [f"in the simulator {one_line(sentence)}" for sentence in mesh.otherwise]
    pairs = len(scenario.pairs)
    if pairs >= LARGE_PAIRS:
        lines.append(
            f"{pairs} pairs may take longer than real time; where the overlay is not the question, "
            "add --overlay in-process"
        )
    if output != STDOUT:
        lines.append(f"run it: {_run_command(output)}")
    return lines


def _sites(mesh: "OwnMesh") -> list[str]:
    return [
        f"  {site.name}: {', '.join(choice.machines)}; {choice.nat}, {choice.line}"
        for site, choice in zip(mesh.scenario.sites, mesh.sites, strict=True)
    ]


def _sites_by_kind(mesh: "OwnMesh") -> list[str]:
    """Alike are those of one kind and one line, which also have one NAT."""
    from sims.configs.unmodelled import listed

    alike: dict[tuple[str, str], list[SiteChoice]] = {}
    for choice in mesh.sites:
        alike.setdefault((choice.kind, choice.line), []).append(choice)
    lines = []
    for (kind, line), choices in alike.items():
        names = listed([name for choice in choices for name in choice.machines])
        lines.append(f"  {len(choices)} × {kind}: {names}; {choices[0].nat}, {line}")
    return lines


def _run_command(file: str) -> str:
    page = Path(file).with_suffix(".html")
    return f"wice sim run {shlex.quote(file)} --html {shlex.quote(str(page))}"


def _check_is_no_input(output: str, configs: Sequence[Path]) -> None:
    """--force is for a scenario made before; of a configuration there may be no other copy."""
    if output == STDOUT or not Path(output).exists():
        return
    for config in configs:
        if config.exists() and config.samefile(output):
            raise ConfigError(output, f"is the configuration {config}", "name another file")


def _write(file: str, text: str, *, force: bool) -> None:
    """Raise ConfigError for a file that is there, unless ``force``."""
    if file == STDOUT:
        click.echo(text, nl=False)
        return
    failures: list[str] = []
    with noting(file, failures):
        if force and Path(file).is_file():
            _replace(Path(file).resolve(), text)
        else:
            try:
                with Path(file).open("w" if force else "x", encoding="utf-8") as written:
                    written.write(text)
            except FileExistsError:
                raise ConfigError(
                    file, "is there already", "name another file, or add --force"
                ) from None
    exit_if(failures)


def _replace(path: Path, text: str) -> None:
    """All of it or none: what is there is lost to no full disk. Raise OSError."""
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name[:NAME_KEPT_MAX]}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as written:  # noqa: PTH123
            written.write(text)
        shutil.copymode(path, beside)
        os.replace(beside, path)  # noqa: PTH105
    except BaseException:
        # Whatever ended it, Ctrl-C too, what is half written goes.
        os.unlink(beside)  # noqa: PTH108
        raise
