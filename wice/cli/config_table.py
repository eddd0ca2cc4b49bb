"""A configuration as it is written, for verbs that need a key of it and none of its secrets."""

import tomllib
from pathlib import Path as FilePath
from typing import Any

from wice.errors import ConfigError
from wice.toml_mistake import toml_mistake


def read_config_table(path: FilePath) -> dict[str, Any]:
    """The file's tables, unchecked; raise ConfigError where it is no TOML file."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(str(path), f"is not TOML: {error}") from None
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise toml_mistake(path, text, error) from None
