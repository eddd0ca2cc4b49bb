"""The verbs. Each imports what it needs when it runs: ``wice status`` must answer at once."""

import json
import sys
from pathlib import Path as FilePath

import click

from wice.cli import EXIT_INTERRUPTED

DEFAULT_CONFIG = FilePath("/etc/wice/wice.toml")
DEFAULT_CONTROL_SOCKET = "/run/wice/wice.sock"


class _VerbGroup(click.Group):
    """Finds the verbs of other packages, such as ``demo``, when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from importlib.metadata import entry_points

        others = [entry.name for entry in entry_points(group="wice.commands")]
        return sorted({*super().list_commands(ctx), *others})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        from importlib.metadata import entry_points

        for entry in entry_points(group="wice.commands", name=cmd_name):
            command = entry.load()
            assert isinstance(command, click.Command)
            return command
        return None

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except* KeyboardInterrupt:
            # click knows no group of it, and says "Aborted!" of one that stands alone.
            pass
        sys.exit(EXIT_INTERRUPTED)


_config_argument = click.argument(
    "config", type=click.Path(path_type=FilePath, dir_okay=False), default=DEFAULT_CONFIG
)
_debug_option = click.option(
    "--debug", is_flag=True, help="Show whole tracebacks and the libraries' own logs."
)


@click.group(cls=_VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wice")
def wice() -> None:
    """A serverless mesh for WireGuard.

    Peers that know each other's public keys find one another through an overlay network, get
    through their NATs, and point WireGuard at the best path.

    \b
    A first mesh:
      wice genkey > wg0.key        make a private key (umask 077)
      wice pubkey < wg0.key        the public key that others put into their config
      wice config check FILE       find mistakes before they bite
      wice up FILE                 run the daemon
      wice status                  see who is connected, and how
    """


@wice.command()
@_config_argument
@_debug_option
def up(config: FilePath, debug: bool) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C."""
    _run_daemon(config, is_bootstrap=False, debug=debug)


@wice.command()
@_config_argument
@click.option(
    "--relay", is_flag=True, help="Relay for the community too, as [relay] enabled = true does."
)
@_debug_option
def bootstrap(config: FilePath, relay: bool, debug: bool) -> None:
    """Run a public overlay node and STUN server, without WireGuard."""
    _run_daemon(config, is_bootstrap=True, is_relay=relay, debug=debug)


@wice.command()
@_config_argument
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def status(config: FilePath, as_json: bool) -> None:
    """Show the interfaces, peers and overlay of the running daemon."""
    from wice.cli.status import format_status
    from wice.daemon.control_protocol import request

    answer = request(_control_socket(config), "status")
    click.echo(json.dumps(answer, indent=2) if as_json else format_status(answer), nl=as_json)


@wice.command()
@click.argument("peer")
@_config_argument
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def why(peer: str, config: FilePath, as_json: bool) -> None:
    """Say why PEER is reached the way it is, or not at all.

    PEER is a name, a public key or its beginning, as in INTERFACE/PEER or alone.
    """
    from wice.cli.why import format_why
    from wice.daemon.control_protocol import request

    answer = request(_control_socket(config), "why", peer=peer)
    click.echo(json.dumps(answer, indent=2) if as_json else format_why(answer), nl=as_json)


@wice.command()
@click.argument(
    "config", type=click.Path(path_type=FilePath, dir_okay=False), default=None, required=False
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="HOST[:PORT]",
    help="A STUN server to ask; beside those of CONFIG, where that is named, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def netcheck(config: FilePath | None, servers: tuple[str, ...], as_json: bool) -> None:
    """Say what the NAT or firewall in front of this host does.

    It asks the STUN servers of the bootstrap nodes in CONFIG over UDP ports of its own, in a few
    seconds; no daemon is needed, and none is disturbed.
    """
    import trio

    from wice.cli.netcheck import as_json as findings_json
    from wice.cli.netcheck import check_network, format_netcheck, named_servers
    from wice.errors import ConfigError
    from wice.linux import LinuxPlatform
    from wice.stun.dns_lookup import DnsLookup

    if config is None and not servers:
        if not DEFAULT_CONFIG.exists():
            raise ConfigError(
                str(DEFAULT_CONFIG),
                "does not exist",
                "name a configuration, or a server: --server HOST",
            )
        config = DEFAULT_CONFIG
    uris = named_servers(config, servers)
    answer = findings_json(trio.run(check_network, uris, LinuxPlatform(), DnsLookup()))
    click.echo(json.dumps(answer, indent=2) if as_json else format_netcheck(answer), nl=as_json)


@wice.group("config")
def config_group() -> None:
    """Work with configuration files."""


@config_group.command("check")
@click.argument("file", type=click.Path(path_type=FilePath, dir_okay=False))
@click.option(
    "--without-secrets",
    is_flag=True,
    help="Take files of keys and passwords that are not here for good ones.",
)
def config_check(file: FilePath, without_secrets: bool) -> None:
    """Check FILE and the key files it names; exit 2 with one line at the first mistake."""
    from wice.cli.config_check import check_without_secrets
    from wice.cli.run import load_checked_config

    absent = 0
    if without_secrets:
        config, absent = check_without_secrets(file)
    else:
        config = load_checked_config(file)
    peers = sum(len(interface.peers) for interface in config.interfaces)
    unseen = f"; {absent} files of secrets are not here" if absent else ""
    click.echo(f"{file}: ok, {len(config.interfaces)} interfaces, {peers} peers{unseen}")


@wice.command()
def genkey() -> None:
    """Print a new private key in base64."""
    from wice.keys import PrivateKey

    click.echo(PrivateKey(_random_key()).reveal_base64())


@wice.command()
def genpsk() -> None:
    """Print a new preshared key in base64."""
    from wice.keys import PresharedKey

    click.echo(PresharedKey(_random_key()).reveal_base64())


@wice.command()
def pubkey() -> None:
    """Read a private key from standard input and print its public key."""
    from wice.errors import ConfigError
    from wice.keys import PrivateKey

    try:
        private_key = PrivateKey.from_base64(sys.stdin.read(128).strip())
    except ValueError as error:
        raise ConfigError(
            "standard input", str(error), "give it what `wice genkey` prints"
        ) from None
    click.echo(str(private_key.public_key()))


def _run_daemon(
    config: FilePath, *, is_bootstrap: bool, is_relay: bool = False, debug: bool
) -> None:
    import gc

    # Collecting while a thousand modules load finds nothing, and takes an eighth of the start.
    gc.disable()
    from wice.cli.run import run_foreground

    run_foreground(config, is_bootstrap=is_bootstrap, is_relay=is_relay, debug=debug)


def _random_key() -> bytes:
    import secrets

    return secrets.token_bytes(32)


def _control_socket(config: FilePath) -> FilePath:
    """Only this one key: reading the keys, too, would cost time and privileges."""
    from wice.cli.config_table import read_config_table
    from wice.errors import ConfigError

    if config == DEFAULT_CONFIG and not config.exists():
        return FilePath(DEFAULT_CONTROL_SOCKET)
    path = read_config_table(config).get("control_socket", DEFAULT_CONTROL_SOCKET)
    try:
        if not isinstance(path, str) or "\0" in path:
            raise ConfigError(f"{config}: control_socket", "is no path")
        return config.parent / FilePath(path).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{config}: control_socket", f"{path!r} names the home of no user here"
        ) from None
