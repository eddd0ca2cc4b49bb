"""The command line: one line for every mistake, and verbs that load only what they need."""

import errno
import os
import sys
from typing import NoReturn

from wice.errors import ConfigError, DeviceRejectedError, WiceError

EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_INTERRUPTED = 130

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def main() -> NoReturn:
    """Run ``wice`` and exit: 0, 1 when the host or the network refused, 2 for a wrong input."""
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        # Before a verb has begun, as while modules are loaded.
        sys.exit(EXIT_INTERRUPTED)
    except BaseExceptionGroup as group:
        leaf = first_wice_error(group)
        if leaf is None or "--debug" in sys.argv:
            raise
        _exit_with(leaf)
    except WiceError as error:
        if "--debug" in sys.argv:
            raise
        _exit_with(error)
    except OSError as error:
        if error.errno not in _NO_SPACE or "--debug" in sys.argv:
            raise
        _drop_output()
        where = f"{error.filename}: " if error.filename else ""
        _exit_with(DeviceRejectedError(f"{where}cannot write: {error.strerror}"))


def _run() -> int:
    """The exit status of the verb that the command line names."""
    import click
    from click.exceptions import NoArgsIsHelpError

    from wice.cli.commands import wice
    from wice.cli.usage import usage_line

    try:
        status = wice.main(prog_name="wice", standalone_mode=False)
    except click.Abort:
        return EXIT_INTERRUPTED
    except NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        sys.stderr.write(f"wice: {usage_line(error)}\n")
        return error.exit_code
    return status if isinstance(status, int) else 0


def first_wice_error(group: BaseExceptionGroup[BaseException]) -> WiceError | None:
    """The first error in ``group`` that is a person's to mend; None when it holds a bug."""
    mine, others = group.split(WiceError)
    if others is not None or mine is None:
        return None
    leaf: BaseException = mine
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    assert isinstance(leaf, WiceError)
    return leaf


def _drop_output() -> None:
    """Or Python tries again, when it ends, to write what could not be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def _exit_with(error: WiceError) -> NoReturn:
    sys.stderr.write(f"wice: {error}\n")
    sys.exit(EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED)
