"""``wice config check --without-secrets``: where only what is public of a configuration is."""

from dataclasses import replace
from pathlib import Path as FilePath

from wice.config import Config, load_config, stand_in_by_path
from wice.daemon.daemon import check_overlay
from wice.turn_config import is_readable_file


def check_without_secrets(path: FilePath) -> tuple[Config, int]:
    """The configuration, and how many files of secrets are not here; raise ConfigError.

    Those that are here are checked as ever. The secrets of the others are made up: use none.
    """
    absent: dict[FilePath, None] = {}

    def stand_in(file: FilePath) -> str:
        absent[file] = None
        return stand_in_by_path(file)

    config = load_config(path, stand_in=stand_in)
    overlay = {}
    for key, value in config.overlay.items():
        if (
            key.endswith("_file")
            and isinstance(value, str)
            and not is_readable_file(FilePath(value))
        ):
            absent[FilePath(value)] = None
        else:
            overlay[key] = value
    config = replace(config, overlay=overlay)
    check_overlay(config)
    return config, len(absent)
