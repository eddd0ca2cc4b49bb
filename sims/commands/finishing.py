"""How every verb ends: what came of it is shown and written, then the exit status says it."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sims.commands.options import STDOUT
from sims.commands.reports import Report
from wice.cli import EXIT_FAILED, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from sims.many.grid import GridResult
    from sims.many.swarm import SwarmResult
    from sims.model.result import RunResult


def console_for(*files: str | None) -> "Console":
    """For people: standard output, unless a file for programs goes there."""
    from rich.console import Console

    return Console(stderr=STDOUT in files)


def finish(
    result: "RunResult | SwarmResult | GridResult",
    show: Callable[[], None],
    json_file: str | None = None,
    *,
    reports: Sequence[Report] = (),
    failure: str = "",
) -> NoReturn:
    """Show the result and write it, each even where the other fails, and exit.

    failure: why it is not complete, empty if that was Ctrl-C.
    """
    from sims.runtime.interrupts import undisturbed

    failures: list[str] = []
    try:
        with noting("standard output", failures):
            show()
    finally:
        if json_file is not None:
            with noting("standard output" if json_file == STDOUT else json_file, failures):
                _write_json(json_file, result.as_json())
        for report in reports:
            with noting(report.file, failures), undisturbed():
                Path(report.file).write_text(report.make(), "utf-8")
    exit_if(failures)
    if not (result.is_complete or failure):
        raise SystemExit(EXIT_INTERRUPTED)
    raise SystemExit(0 if result.is_ok else EXIT_FAILED)


def exit_if(failures: Sequence[str]) -> None:
    if failures:
        said = next(filter(None, failures), "")
        if said:
            click.echo(f"wice: {said}", err=True)
        raise SystemExit(EXIT_FAILED)


@contextmanager
def noting(name: str, failures: list[str]) -> Iterator[None]:
    """Note that ``name`` cannot be written, and go on."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        is_left = name == "standard output" and isinstance(error, BrokenPipeError)
        # Whoever reads no more, as `head`, is told no more.
        failures.append("" if is_left else f"{name} cannot be written: {error.strerror}")
        if name == "standard output":
            # What waits there would fail once more when the interpreter ends.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


def _write_json(file: str, result: dict[str, Any]) -> None:
    """The whole of it, whenever Ctrl-C comes."""
    from sims.runtime.interrupts import undisturbed

    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    with undisturbed():
        if file == STDOUT:
            click.echo(text, nl=False)
        else:
            Path(file).write_text(text, "utf-8")
