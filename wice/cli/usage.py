"""What is wrong with a command line, in one line."""

import click

from wice.errors import one_line


def usage_line(error: click.ClickException) -> str:
    """What click says in three lines and more, and where help is."""
    text = error.format_message().rstrip(".")
    text = one_line(text[:1].lower() + text[1:])
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or text.endswith("?"):
        return text
    return f"{text}; see `{context.command_path} --help`"
