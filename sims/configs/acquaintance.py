"""Who knows whom in a mesh, and by which address inside of the tunnel."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from sims.configs.member import Member, PeerEntry
from sims.configs.owners import find_owners
from sims.model.scenario import TUNNEL_NETWORK
from sims.model.scenario_check import NAME, RESERVED_NAME
from wice.errors import ConfigError
from wice.keys import PublicKey
from wice.section import Place

IPAddress: TypeAlias = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """A machine of the mesh. knows: the names of others that it and that know it.

    tunnel_address: one that a scenario can give it; None where it has none such.
    """

    name: str
    knows: tuple[str, ...]
    tunnel_address: str | None


class Acquaintances:
    """Members, and those of their peers that have no configuration here and a site all the same.

    placed: names that have a site. Raise ConfigError for what keeps two peers of each other from
    meeting, and for a peer of whom nothing is known.
    """

    def __init__(self, members: Sequence[Member], placed: Collection[str]) -> None:
        self._members = members
        self._placed = placed
        self._check_names()
        self._check_addresses()
        self._owners = find_owners(members)
        self._known = {
            member.name: dict.fromkeys(entry.public_key for entry in member.peers())
            for member in members
        }
        self._own_keys: dict[str, list[PublicKey]] = {}
        for key, owner in self._owners.items():
            self._own_keys.setdefault(owner.name, []).append(key)
        self._strangers: dict[PublicKey, str] = {}
        for member, entry in self._entries():
            if entry.public_key not in self._owners:
                self._note_stranger(member, entry)
        for member, entry in self._entries():
            self._check_mutual(member, entry)

    def all(self) -> tuple[Acquaintance, ...]:
        """Members first, in their order."""
        known = [self._of_member(member) for member in self._members]
        known += [self._of_stranger(key, name) for key, name in self._strangers.items()]
        return tuple(known)

    def name_of(self, key: PublicKey) -> str:
        """Of whom one of the members knows."""
        return self._strangers[key] if key in self._strangers else self._owners[key].name

    def unroutable(self) -> Iterator[tuple[Member, PeerEntry, str]]:
        """Peers to none of whose own addresses ``allowed_ips`` leads, and what those are."""
        for member, entry in self._entries():
            owner = self._owners.get(entry.public_key)
            addresses = own_addresses(owner) if owner else ()
            allowed = entry.peer.config.allowed_ips
            if addresses and not any(ip in network for ip in addresses for network in allowed):
                yield member, entry, ", ".join(map(str, addresses))

    def _entries(self) -> Iterator[tuple[Member, PeerEntry]]:
        for member in self._members:
            for entry in member.peers():
                yield member, entry

    def _check_names(self) -> None:
        paths: dict[str, Member] = {}
        for member in self._members:
            if member.name in paths:
                if member.config.path.samefile(paths[member.name].config.path):
                    raise ConfigError(str(member.config.path), "is named twice", "name it once")
                raise ConfigError(
                    str(member.config.path),
                    f"would be {member.name}, as {paths[member.name].config.path} is",
                    "rename one: a file is named as its machine, or its directory is",
                )
            paths[member.name] = member

    def _check_addresses(self) -> None:
        owners: dict[IPAddress, Member] = {}
        for member in self._members:
            for interface in member.config.interfaces:
                for index, address in enumerate(interface.addresses):
                    owner = owners.setdefault(address.ip, member)
                    if owner is not member:
                        raise member.mistake(
                            ("interfaces", interface.name, "addresses", index),
                            f"{address.ip} is the address of {owner.name}, too",
                            f"give each its own, here or in {owner.config.path}",
                        )

    def _note_stranger(self, member: Member, entry: PeerEntry) -> None:
        if entry.public_key in self._strangers:
            return
        name, place = entry.peer.name, (*entry.place, "public_key")
        for other in self._members:
            if name == other.name:
                raise member.mistake(
                    place,
                    f"is said to be the key of {name}, and {other.config.path} has another",
                    "copy what `wice pubkey` prints there, or rename the peer",
                )
        if name in self._strangers.values():
            raise member.mistake(
                place, f"is another key of {name}", "write the one that is right in all files"
            )
        if name not in self._placed:
            raise _unknown(member, name, place)
        self._strangers[entry.public_key] = name

    def _check_mutual(self, member: Member, entry: PeerEntry) -> None:
        owner = self._owners.get(entry.public_key)
        if owner is None:
            return
        if all(key not in self._known[owner.name] for key in self._own_keys.get(member.name, [])):
            raise member.mistake(
                (*entry.place, "public_key"),
                f"{owner.name}, whose key this is, has no peer {member.name}, so that neither gets "
                "through to the other",
                f"add {member.name} to {owner.config.path}, or remove this peer",
            )

    def _of_member(self, member: Member) -> Acquaintance:
        names = (self.name_of(entry.public_key) for entry in member.peers())
        knows = dict.fromkeys(name for name in names if name != member.name)
        return Acquaintance(member.name, tuple(knows), tunnel_address(own_addresses(member)))

    def _of_stranger(self, key: PublicKey, name: str) -> Acquaintance:
        entries = [pair for pair in self._entries() if pair[1].public_key == key]
        allowed = (network for _, entry in entries for network in entry.peer.config.allowed_ips)
        hosts = [each.network_address for each in allowed if each.prefixlen == each.max_prefixlen]
        knows = dict.fromkeys(member.name for member, _ in entries)
        return Acquaintance(name, tuple(knows), tunnel_address(hosts))


def _unknown(member: Member, name: str, place: Place) -> ConfigError:
    if NAME.fullmatch(name) and not RESERVED_NAME.fullmatch(name):
        who, where = name, f"say where {name} is: --site {name}=home"
    else:
        who, where = "a peer", "name the peer and say where it is: --site NAME=home"
    return member.mistake(
        place,
        f"is the key of {who}, whose configuration is not here",
        f"add it to the command, or {where}",
    )


def own_addresses(member: Member) -> tuple[IPAddress, ...]:
    """Inside of the tunnel, of all its interfaces."""
    return tuple(each.ip for interface in member.config.interfaces for each in interface.addresses)


def tunnel_address(addresses: Sequence[IPAddress]) -> str | None:
    """The first that a scenario can give a machine."""
    ends = (TUNNEL_NETWORK.network_address, TUNNEL_NETWORK.broadcast_address)
    for address in addresses:
        if isinstance(address, IPv4Address) and address in TUNNEL_NETWORK and address not in ends:
            return str(address)
    return None
