"""Gets a client the permissions and channels that it wants, and keeps them up (RFC 8656 9, 12)."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final

from wice.datagram import Endpoint
from wice.stun import Attribute, Method, pack_xor_address
from wice.turn.events import (
    ChannelBound,
    ClientEvent,
    CredentialsRefused,
    PermissionGranted,
    PermissionRefused,
)
from wice.turn.exchange import Exchange
from wice.turn.messages import ErrorCode, Family, family_of
from wice.turn.peers import ClientChannel, Peers, Permission
from wice.turn.requests import Answer, Request
from wice.turn.timing import Timing

PERMISSIONS_PER_REQUEST_MAX: Final = 16
_NEVER: Final = float("inf")


class Grants:
    """Asks for what ``peers`` wants, when it is due."""

    def __init__(
        self,
        peers: Peers,
        exchange: Exchange,
        timing: Timing,
        events: deque[ClientEvent],
        on_mismatch: Callable[[float], None],
    ) -> None:
        """on_mismatch: the server knows no allocation of ours; it is told the time."""
        self._peers = peers
        self._exchange = exchange
        self._timing = timing
        self._events = events
        self._on_mismatch = on_mismatch

    def ask(self, families: Collection[Family], now: float) -> None:
        """Ask for what is due. families: of the allocation."""
        self._bind_due(families, now)
        self._permit_due(families, now)

    def deadline(self) -> float | None:
        return None if self._exchange.is_full else self._peers.deadline()

    def _permit_due(self, families: Collection[Family], now: float) -> None:
        due = []
        for permission in self._peers.due_permissions(now):
            if family_of(permission.host) in families:
                due.append(permission)
            else:
                # This allocation will never have it; the next one may.
                permission.due_at_s = _NEVER
                permission.is_refused = True
                code = ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED
                self._events.append(PermissionRefused(permission.host, code))
        while due and not self._exchange.is_full:
            batch, due = due[:PERMISSIONS_PER_REQUEST_MAX], due[PERMISSIONS_PER_REQUEST_MAX:]
            self._ask_permissions(batch, now)

    def _ask_permissions(self, batch: Sequence[Permission], now: float) -> None:
        for permission in batch:
            permission.is_asked = True

        def build(transaction_id: bytes) -> list[tuple[int, bytes]]:
            return [
                (
                    int(Attribute.XOR_PEER_ADDRESS),
                    pack_xor_address(Endpoint(p.host, 0), transaction_id),
                )
                for p in batch
            ]

        def done(request: Request, answer: Answer) -> None:
            for permission in batch:
                permission.is_asked = False
            self._permissions_answered(batch, request, answer)

        self._exchange.ask(Method.CREATE_PERMISSION, build, done, now)

    def _permissions_answered(
        self, batch: Sequence[Permission], request: Request, answer: Answer
    ) -> None:
        if answer.code == 0:
            for permission in batch:
                self._granted(permission.host, request.began_at_s)
        elif answer.code == ErrorCode.ALLOCATION_MISMATCH:
            self._on_mismatch(answer.now)
        elif answer.code is not None and len(batch) > 1 and not answer.refuses_credentials:
            # The server refuses all for the sake of one: ask for each by itself.
            for permission in batch:
                self._ask_permissions([permission], answer.now)
        else:
            for permission in batch:
                self._permission_failed(permission, answer)
            self._say_refused_credentials(answer)

    def _permission_failed(self, permission: Permission, answer: Answer) -> None:
        is_forbidden = answer.code == ErrorCode.FORBIDDEN
        wait_s = self._timing.retry_max_s if is_forbidden else self._timing.retry_s
        permission.due_at_s = answer.now + wait_s
        permission.is_refused = answer.code is not None
        if answer.code is not None and permission.host in self._peers.permissions:
            self._events.append(PermissionRefused(permission.host, answer.code))

    def _granted(self, host: str, asked_at_s: float) -> None:
        if self._peers.granted(host, asked_at_s, self._timing.permission_refresh_s):
            self._events.append(PermissionGranted(host))

    def _bind_due(self, families: Collection[Family], now: float) -> None:
        for channel in list(self._peers.due_channels(now)):
            if self._exchange.is_full:
                return
            if family_of(channel.peer.host) in families:
                self._ask_channel(channel, now)
            else:
                channel.due_at_s = _NEVER

    def _ask_channel(self, channel: ClientChannel, now: float) -> None:
        number = self._peers.number(channel, now)
        if number is None:
            channel.due_at_s = now + self._timing.full_retry_s
            return
        peer, permission = channel.peer, channel.permission
        # A channel brings its permission with it.
        brings = not permission.is_asked
        channel.is_asked = permission.is_asked = True

        def build(transaction_id: bytes) -> list[tuple[int, bytes]]:
            return [
                (int(Attribute.CHANNEL_NUMBER), number.to_bytes(2, "big") + b"\x00\x00"),
                (int(Attribute.XOR_PEER_ADDRESS), pack_xor_address(peer, transaction_id)),
            ]

        def done(request: Request, answer: Answer) -> None:
            channel.is_asked = False
            if brings:
                permission.is_asked = False
            self._channel_answered(channel, request, answer)

        self._exchange.ask(Method.CHANNEL_BIND, build, done, now)

    def _channel_answered(self, channel: ClientChannel, request: Request, answer: Answer) -> None:
        if answer.code == 0:
            self._granted(channel.peer.host, request.began_at_s)
            refresh_s = self._timing.permission_refresh_s
            is_wanted = self._peers.channels.get(channel.peer) is channel
            if self._peers.bound(channel, request.began_at_s, refresh_s) and is_wanted:
                self._events.append(ChannelBound(channel.peer))
        elif answer.code == ErrorCode.ALLOCATION_MISMATCH:
            self._on_mismatch(answer.now)
        else:
            self._say_refused_credentials(answer)
            wait_s = self._timing.retry_s if answer.code is None else self._timing.full_retry_s
            channel.due_at_s = answer.now + wait_s

    def _say_refused_credentials(self, answer: Answer) -> None:
        if answer.refuses_credentials:
            self._events.append(CredentialsRefused())
