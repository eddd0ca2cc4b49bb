"""What is wrong with a text that is no TOML, and on which line."""

import re
from pathlib import Path as FilePath

from wice.errors import ConfigError


def toml_mistake(path: FilePath, text: str, error: Exception) -> ConfigError:
    """error: a ValueError or RecursionError of ``tomllib``. text: what stands in ``path``."""
    why, _, where = str(error).rpartition(" (at ")
    if not why:
        # What tomllib lets through of int() and of its own recursion.
        return ConfigError(str(path), "is not TOML: a number is too long or brackets nest too deep")
    at = re.search(r"line (\d+)", where)
    line = int(at[1]) if at else text.count("\n") + 1
    return ConfigError(f"{path}:{line}", f"is not TOML: {why}", "see https://toml.io")
