"""Whose public key is it: by the private key, by what others call its peer, or by elimination."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from sims.configs.member import Member, PeerEntry
from wice.errors import ConfigError
from wice.keys import PublicKey

Called: TypeAlias = Mapping[PublicKey, tuple[Member, PeerEntry]]
"""Public keys that others have under one name, and where."""


def find_owners(members: Sequence[Member]) -> dict[PublicKey, Member]:
    """The member of each public key that is some member's own.

    A member that nobody knows may be without. Raise ConfigError where two members have one key,
    and where it cannot be said which key a member has.
    """
    owners: dict[PublicKey, Member] = {}
    for member in members:
        for key, interface in member.known_keys.items():
            if key in owners:
                raise member.mistake(
                    ("interfaces", interface, "private_key_file"),
                    f"holds the key of {owners[key].name}, too",
                    "give each configuration a directory with its own key, or leave the keys away",
                )
            owners[key] = member
    called: dict[str, dict[PublicKey, tuple[Member, PeerEntry]]] = {}
    for member in members:
        for entry in member.peers():
            called.setdefault(entry.peer.name, {})[entry.public_key] = (member, entry)
    for member in members:
        if member.has_absent_keys:
            for key in _named(member, called.get(member.name, {}), owners):
                owners[key] = member
    _eliminate(members, owners)
    return owners


def _named(member: Member, called: Called, owners: Mapping[PublicKey, Member]) -> list[PublicKey]:
    """Those of nobody so far that are ``called`` as it is, one for each key it lacks."""
    named = [key for key in called if key not in owners]
    lacking = len(member.config.interfaces) - len(member.known_keys)
    if len(named) > lacking:
        one, other = (called[key] for key in named[:2])
        raise member.mistake(
            ("interfaces", member.interface.name),
            f"others have {len(named)} public keys under the name {member.name}, as "
            f"{_where_key(*one)} and {_where_key(*other)}",
            "write the one that is right in all files, or put the private key here",
        )
    return named


def _where_key(member: Member, entry: PeerEntry) -> str:
    return member.where((*entry.place, "public_key"))


def _eliminate(members: Sequence[Member], owners: dict[PublicKey, Member]) -> None:
    """A key is whose who has none yet and does not know it, if that is one member alone."""
    keyless = [member for member in members if member not in owners.values()]
    listed = [dict.fromkeys(entry.public_key for entry in member.peers()) for member in keyless]
    surely: list[list[PublicKey]] = [[] for _ in keyless]
    maybe: list[list[PublicKey]] = [[] for _ in keyless]
    named = dict.fromkeys(entry.public_key for member in members for entry in member.peers())
    for key in named:
        if key not in owners:
            strangers = [index for index, keys in enumerate(listed) if key not in keys]
            for index in strangers:
                (surely if len(strangers) == 1 else maybe)[index].append(key)
    for member, keys, others in zip(keyless, surely, maybe, strict=True):
        if len(keys) == 1:
            owners[keys[0]] = member
        elif keys or others:
            raise _ambiguous(member)


def _ambiguous(member: Member) -> ConfigError:
    return member.mistake(
        ("interfaces", member.interface.name, "private_key_file"),
        f"cannot be read here, and no other configuration has a peer named {member.name}, so that "
        "its public key is not known",
        f'put the key file there, or write name = "{member.name}" beside its public key in the '
        "configurations of its peers",
    )
