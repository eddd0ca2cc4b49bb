"""Options that several verbs have: files to write, and where they may be."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

STDOUT: Final = "-"


def check_writable(
    _context: click.Context, _parameter: click.Parameter, name: str | None
) -> str | None:
    """Before the run, not after it."""
    if name is not None and name != STDOUT:
        path = Path(name)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise click.BadParameter(f"{name!r} cannot be written")
    return name


def output_option(name: str, text: str, *, allow_dash: bool) -> Callable[[Command], Command]:
    """``--NAME FILE``, the parameter ``NAME_file``; refused before the run if it is unwritable."""
    return click.option(
        f"--{name}",
        f"{name}_file",
        metavar="FILE",
        type=click.Path(dir_okay=False, allow_dash=allow_dash),
        callback=check_writable,
        help=text,
    )


html_option = output_option(
    "html", "Write a report for people there: one page that needs nothing else.", allow_dash=False
)
junit_option = output_option(
    "junit", "Write the result there as JUnit XML, which CI systems show.", allow_dash=False
)
