"""``--pcap DIR`` of verbs that run a scenario once, and what they say of it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sims.commands.options import WholeNumber

if TYPE_CHECKING:
    from sims.capture.capture import Capture

Command = TypeVar("Command", bound=Callable[..., Any])

MEGABYTE: Final = 1_000_000
SIZE_MAX_DEFAULT_MB: Final = 1_000
SIZE_MAX_MB: Final = 1_000_000


def pcap_options(command: Command) -> Command:
    """Parameters ``pcap_directory`` and ``pcap_max_mb``."""
    directory = click.option(
        "--pcap",
        "pcap_directory",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Write what passed each interface there, for Wireshark, with the tunnels' keys.",
    )
    size_max = click.option(
        "--pcap-max-mb",
        metavar="MB",
        type=WholeNumber(1, SIZE_MAX_MB),
        default=SIZE_MAX_DEFAULT_MB,
        show_default=True,
        help="What is captured of all interfaces together.",
    )
    return directory(size_max(command))


def open_capture(directory: Path | None, size_max_mb: int) -> "Capture | None":
    """None for no directory; raise BadParameter for one that cannot be used."""
    if directory is None:
        return None
    from sims.capture.capture import Capture
    from wice.errors import WiceError

    try:
        return Capture(directory, size_max_mb * MEGABYTE)
    except WiceError as error:
        raise click.BadParameter(str(error), param_hint="--pcap") from None


def summary(capture: "Capture") -> str:
    """What was captured, and what no longer fitted."""
    size_mb = capture.size_bytes / MEGABYTE
    text = (
        f"{capture.directory}: {capture.files} captures, {capture.packets} packets, "
        f"{size_mb:.1f} MB, with the keys of all tunnels"
    )
    if capture.full_at_s is None:
        return text
    return (
        f"{text}\n{capture.directory}: full at {capture.full_at_s:.3f} s, and lacks all that came "
        f"later; --pcap-max-mb allows more than {capture.size_max_bytes // MEGABYTE}"
    )
