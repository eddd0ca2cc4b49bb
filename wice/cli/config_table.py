"""A configuration as it is written, for verbs that need a key of it and none of its secrets."""

import tomllib
from pathlib import Path as FilePath
from typing import Any

from wice.errors import ConfigError


def read_config_table(path: FilePath) -> dict[str, Any]:
    """The file's tables, unchecked; raise ConfigError where it is no TOML file."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        # tomllib's own error is a ValueError, and so is what it lets through of int().
        raise ConfigError(str(path), f"is not TOML: {error}") from None
