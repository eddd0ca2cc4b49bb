"""One configuration of a mesh: what is in it, and on which line."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from p2p.section import Section
from sims.files.toml_lines import TomlLines
from sims.model.mistake import shortened
from sims.model.scenario_check import NAME, RESERVED_NAME
from wice.config import Config, InterfaceConfig, NamedPeer, load_config, stand_in_by_path
from wice.daemon.backends import check_section
from wice.errors import ConfigError
from wice.keys import PrivateKey, PublicKey
from wice.overlay_choice import BACKEND_DEFAULT
from wice.section import Place, place_text

_USUAL_NAME = "wice"
"""Of a configuration: it says nothing of whose it is, and its directory may."""


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """One ``[[interfaces.NAME.peers]]``, and where it is."""

    peer: NamedPeer
    place: Place

    @property
    def public_key(self) -> PublicKey:
        return self.peer.config.public_key


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """name: of its machine. overlay: None where another backend than libp2p is chosen.

    known_keys: public ones of those interfaces whose private key is here. has_absent_keys: that
    of another is not.
    """

    name: str
    config: Config
    overlay: Section | None
    known_keys: dict[PublicKey, str]
    has_absent_keys: bool
    _lines: TomlLines = field(repr=False, compare=False)

    @property
    def is_bootstrap(self) -> bool:
        return not self.config.interfaces

    @property
    def interface(self) -> InterfaceConfig:
        """The first, where there are several."""
        return self.config.interfaces[0]

    def peers(self) -> Iterator[PeerEntry]:
        """Of all interfaces."""
        for interface in self.config.interfaces:
            for index, peer in enumerate(interface.peers):
                yield PeerEntry(peer, ("interfaces", interface.name, "peers", index))

    def where(self, place: Place) -> str:
        """``place`` in the file as people write it, with the line."""
        return _where(self.config.path, self._lines, place)

    def mistake(self, place: Place, why: str, hint: str) -> ConfigError:
        return ConfigError(self.where(place), why, hint)


def read_member(path: Path) -> Member:
    """Read and check the file at ``path``, whether or not its keys are here; raise ConfigError.

    The keys that are not are stood in for; no key leaves this room but public ones.
    """
    stood_in: list[PublicKey] = []

    def stand_in(file: Path) -> str:
        secret = stand_in_by_path(file)
        stood_in.append(PrivateKey.from_base64(secret).public_key())
        return secret

    _check_is_file(path)
    try:
        config = load_config(path, stand_in=stand_in)
    except ConfigError as error:
        file, _, place = error.where.partition(f"{path}: ")
        if file or not place:
            raise
        where = _where(path, _read_lines(path), _place(place))
        raise ConfigError(where, error.why, error.hint) from None
    lines = _read_lines(path)
    known = {
        interface.private_key.public_key(): interface.name
        for interface in config.interfaces
        if interface.private_key.public_key() not in stood_in
    }
    return Member(
        name=_name(path, config),
        config=config,
        overlay=_overlay(config, lines),
        known_keys=known,
        has_absent_keys=len(known) < len(config.interfaces),
        _lines=lines,
    )


def _check_is_file(path: Path) -> None:
    """A pipe keeps its reader waiting, and can be read only once."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read: {error.strerror}", "give the configuration's own path"
        ) from None
    if stat.S_ISDIR(mode):
        raise ConfigError(str(path), "is a directory", f"give the file in it: {path / 'wice.toml'}")
    if not stat.S_ISREG(mode):
        raise ConfigError(str(path), "is no regular file", "give the configuration's own path")


def _overlay(config: Config, lines: TomlLines) -> Section | None:
    is_bootstrap = not config.interfaces
    section = {key: value for key, value in config.overlay.items() if key != "secret_file"}
    try:
        check_section(config.backend, section, is_bootstrap=is_bootstrap)
        if config.backend != BACKEND_DEFAULT:
            return None
        return Section.parse(section, is_bootstrap=is_bootstrap)
    except ConfigError as error:
        where = _where(config.path, lines, _place(error.where))
        raise ConfigError(where, error.why, error.hint) from None


def _name(path: Path, config: Config) -> str:
    name = path.resolve().parent.name if path.stem == _USUAL_NAME else path.stem
    if config.interfaces and (not NAME.fullmatch(name) or RESERVED_NAME.fullmatch(name)):
        raise ConfigError(
            str(path),
            f"{shortened(name)!r} is no name for its machine",
            "rename the file: 1 to 40 letters, digits, - and _, as alice.toml",
        )
    return name


def _read_lines(path: Path) -> TomlLines:
    return TomlLines(path.read_text("utf-8", "replace"))


def _where(path: Path, lines: TomlLines, place: Place) -> str:
    return f"{path}:{lines.line_of(place)}: {place_text(place)}"


def _place(text: str) -> Place:
    """What ``place_text`` made a text of, but for names with dots in them."""
    return tuple(
        int(index) if index else key for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", text)
    )
