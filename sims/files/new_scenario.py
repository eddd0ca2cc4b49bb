"""A scenario to begin with, for who has none."""

from pathlib import Path
from typing import Final

from sims.model.mistake import shortened
from sims.model.scenario_check import NAME
from wice.errors import ConfigError

TEMPLATE: Final = Path(__file__).parent / "new-scenario.toml"
_TEMPLATE_NAME: Final = "./mesh.toml"
"""What its comments call it."""


def new_scenario_text(file: Path) -> str:
    """With comments that tell how to run it as ``file``."""
    return TEMPLATE.read_text("utf-8").replace(_TEMPLATE_NAME, f"./{file.name}")


def scenario_name(file: Path) -> str:
    """Of the scenario in ``file``; raise ConfigError where that cannot be one."""
    if not NAME.fullmatch(file.stem) or file.suffix != ".toml":
        raise ConfigError(
            str(file),
            f"{shortened(file.name)!r} is no name of a scenario's file",
            "use 1 to 40 letters, digits, - and _, and then .toml, as mesh.toml",
        )
    return file.stem
