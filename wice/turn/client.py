"""A TURN client over UDP (RFC 8656), without I/O: one allocation that all peers share.

Say which peers to reach, and hand in what arrives and the time; take out datagrams, events, data
and the next deadline. What happens on each error of a server is in docs/reference/turn.md.
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Challenge,
    Class,
    ClientAuthentication,
    LongTermCredentials,
    Message,
    Method,
    encode,
    is_stun,
    pack_xor_address,
    parse,
    unpack_address,
    unpack_xor_address,
)
from wice.turn.events import (
    Allocated,
    AllocationFailed,
    AllocationLost,
    ChannelBound,
    ClientEvent,
    CredentialsRefused,
    PermissionGranted,
    PermissionRefused,
    Redirected,
)
from wice.turn.messages import (
    DATA_SIZE_MAX_BYTES,
    UDP,
    ErrorCode,
    Family,
    PeerData,
    family_of,
    pack_channel_header,
    parse_channel_data,
)
from wice.turn.peers import ClientChannel, Peers, Permission
from wice.turn.requests import Answer, Build, Request, Requests
from wice.turn.timing import Timing

TRANSMITS_MAX: Final = 512
EVENTS_MAX: Final = 2_048
"""More than all permissions and channels can have at once."""
DATA_MAX: Final = 512
"""Data waiting for ``poll_data``; then the oldest goes."""

PERMISSIONS_PER_REQUEST_MAX: Final = 16
ATTEMPTS_MAX: Final = 4
"""Transactions of one request: the first, and those that challenges ask for."""
REDIRECTS_MAX: Final = 3
_NEVER: Final = float("inf")
MISMATCHES_MAX: Final = 2
"""How often an allocation that an earlier run left behind is ended to make room for ours."""

_UNDERSTOOD: Final = frozenset(
    {
        Attribute.MESSAGE_INTEGRITY,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.ERROR_CODE,
        Attribute.UNKNOWN_ATTRIBUTES,
        Attribute.REALM,
        Attribute.NONCE,
        Attribute.USERNAME,
        Attribute.USERHASH,
        Attribute.PASSWORD_ALGORITHM,
        Attribute.MAPPED_ADDRESS,
        Attribute.XOR_MAPPED_ADDRESS,
        Attribute.XOR_RELAYED_ADDRESS,
        Attribute.XOR_PEER_ADDRESS,
        Attribute.CHANNEL_NUMBER,
        Attribute.LIFETIME,
        Attribute.DATA,
        Attribute.RESERVATION_TOKEN,
    }
)
_REASONS: Final[dict[int | None, str]] = {
    None: "the server does not answer",
    ErrorCode.UNAUTHENTICATED: "the server refuses the credentials",
    ErrorCode.FORBIDDEN: "the server does not serve us",
    ErrorCode.ALLOCATION_MISMATCH: "another allocation has our address and port",
    ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED: "the server has no relay of that address family",
    ErrorCode.WRONG_CREDENTIALS: "another user's allocation has our address and port",
    ErrorCode.UNSUPPORTED_TRANSPORT: "the server does not relay UDP",
    ErrorCode.ALLOCATION_QUOTA_REACHED: "our quota at the server is used up",
    ErrorCode.INSUFFICIENT_CAPACITY: "the server is full",
}
_NOT_SOON: Final = frozenset(
    {
        ErrorCode.UNAUTHENTICATED,
        ErrorCode.FORBIDDEN,
        ErrorCode.UNKNOWN_ATTRIBUTE,
        ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED,
        ErrorCode.UNSUPPORTED_TRANSPORT,
    }
)
"""Errors that time does not mend."""
_FULL: Final = frozenset({ErrorCode.ALLOCATION_QUOTA_REACHED, ErrorCode.INSUFFICIENT_CAPACITY})


class State(Enum):
    """waiting: for the time to try again. ending: an old allocation that is in our way."""

    WAITING = auto()
    ASKING = auto()
    ENDING = auto()
    ALLOCATED = auto()
    CLOSING = auto()
    CLOSED = auto()


class TurnClient:
    """One allocation at one server, kept up until ``close``.

    After any call that takes ``now``, drain ``poll_transmit`` (datagrams for ``server``),
    ``poll_event`` and ``poll_data``, and call ``handle_timeout`` at ``deadline()``. Both families
    at once need RFC 8656's ADDITIONAL-ADDRESS-FAMILY at the server.
    """

    def __init__(
        self,
        server: Endpoint,
        credentials: LongTermCredentials,
        *,
        random_bytes: Callable[[int], bytes],
        now: float,
        families: Sequence[Family] = (Family.IPV4,),
        timing: Timing | None = None,
    ) -> None:
        assert families and set(families) <= set(Family)
        self.server = server
        """Where datagrams go and come from; another one after ``Redirected``."""
        self.state = State.WAITING
        self.relayed: dict[Family, Endpoint] = {}
        """The addresses that peers reach us at, by family."""
        self.mapped: Endpoint | None = None
        """Our address as the server saw it when it allocated."""
        self._home = server
        self._families = tuple(sorted(set(families)))
        self._timing = timing or Timing()
        self._credentials = credentials
        self._authentication = ClientAuthentication(credentials)
        self._requests = Requests(self._timing, random_bytes)
        self._random_bytes = random_bytes
        self._peers = Peers()
        self._transmits: deque[bytes] = deque(maxlen=TRANSMITS_MAX)
        self._events: deque[ClientEvent] = deque(maxlen=EVENTS_MAX)
        self._data: deque[PeerData] = deque(maxlen=DATA_MAX)
        self._retry_at_s = now
        self._retry_s = self._timing.retry_s
        self._servers_tried: list[Endpoint] = []
        self._mismatches = 0
        self._settled_at_s = now
        self._expires_at_s = now
        self._refresh_at_s = now
        self._is_refreshing = False
        self._silent_since_s: float | None = None
        self._deadline: float | None = None
        self.handle_timeout(now)

    # What the owner wants

    def permit(self, host: str, now: float) -> bool:
        """Let data pass between us and any port of ``host``, from now on.

        Give False where the address has no relay of its family or there are too many.
        """
        assert host == host.partition("%")[0]
        is_known = self._peers.wants(host)
        if family_of(host) not in self._families or not self._peers.permit(host, now):
            return False
        if not is_known:
            self._work(now)
        return True

    def bind_channel(self, peer: Endpoint, now: float) -> bool:
        """Permit ``peer`` and give it a channel: worth it for who gets more than checks."""
        is_known = peer in self._peers.channels
        if family_of(peer.host) not in self._families or not self._peers.bind(peer, now):
            return False
        if not is_known:
            self._work(now)
        return True

    def forget(self, host: str, now: float) -> None:
        """No longer refresh what there is for ``host``; its data is dropped from now on."""
        self._peers.forget(host, now)
        self._work(now)

    def unbind_channel(self, peer: Endpoint, now: float) -> None:
        """No longer use and refresh a channel; the permission stays."""
        self._peers.unbind(peer, now)
        self._work(now)

    def forget_idle(self, idle_s: float, now: float) -> None:
        """No longer refresh what nothing was wanted of and sent to for ``idle_s``."""
        self._peers.forget_idle(idle_s, now)
        self._work(now)

    def wants(self, host: str) -> bool:
        """Whether there is a permission for ``host``, or there shall be one."""
        return self._peers.wants(host)

    def is_refused(self, host: str) -> bool:
        """Whether the server's last word on ``host`` was no."""
        permission = self._peers.permissions.get(host)
        return permission is not None and permission.is_refused

    @property
    def permission_count(self) -> int:
        """Addresses that have a permission."""
        return sum(permission.is_granted for permission in self._peers.permissions.values())

    @property
    def channel_count(self) -> int:
        return sum(channel.is_bound for channel in self._peers.channels.values())

    def encapsulate(self, data: bytes, peer: Endpoint, now: float) -> bytes | None:
        """The datagram for ``server`` that brings ``data`` to ``peer``; None where nothing would.

        That is: no allocation, no permission that is alive, or data that is too long.
        """
        if (
            self.state is not State.ALLOCATED
            or now >= self._expires_at_s
            or len(data) > DATA_SIZE_MAX_BYTES
        ):
            return None
        channel = self._peers.channels.get(peer)
        permission = (
            self._peers.permissions.get(peer.host) if channel is None else channel.permission
        )
        if permission is None or permission.until_s <= now:
            return None
        permission.used_at_s = now
        if channel is not None and channel.until_s > now:
            channel.used_at_s = now
            return pack_channel_header(channel.number, len(data)) + data
        transaction_id = self._random_bytes(12)
        attributes = (
            (Attribute.XOR_PEER_ADDRESS, pack_xor_address(peer, transaction_id)),
            (Attribute.DATA, data),
        )
        return encode(Method.SEND, Class.INDICATION, transaction_id, attributes, fingerprint=False)

    def send(self, data: bytes, peer: Endpoint, now: float) -> bool:
        """Queue ``data`` for ``peer``; False where ``encapsulate`` gives None."""
        datagram = self.encapsulate(data, peer, now)
        if datagram is None:
            return False
        self._transmits.append(datagram)
        return True

    def set_credentials(self, credentials: LongTermCredentials, now: float) -> None:
        """Use these from the next allocation on, and for this one once the old are refused."""
        if credentials == self._credentials:
            return
        self._credentials = credentials
        if self.state is State.WAITING:
            self._retry_at_s = now
        self.handle_timeout(now)

    def restart(self, now: float) -> None:
        """Allocate anew, at once: the way to the server has changed, so we are another client."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        if self.state is State.ALLOCATED:
            self._lose("the network changed")
        self._retry_s = self._timing.retry_s
        self._wait_until(now)
        self.handle_timeout(now)

    def network_changed(self, now: float) -> None:
        """See to it that the allocation is ours from where we are now, or allocate, at once."""
        if self.state is State.ALLOCATED:
            self._settled_at_s = now
            self._refresh(now)
            self._schedule()
        else:
            self.restart(now)

    def close(self, now: float) -> None:
        """End the allocation. Requests go on until the server has answered, or need not."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        was_allocated = self.state is State.ALLOCATED
        self._requests.clear()
        if was_allocated:
            self.state = State.CLOSING
            self._ask(Method.REFRESH, _lifetime(0), self._closed, now)
        else:
            self.state = State.CLOSED
        self._schedule()

    # What happens

    def receive(self, data: bytes, source: Endpoint, now: float) -> None:
        """Take a datagram of the server; raise RemoteProtocolError for one that is dropped."""
        if source != self.server:
            raise RemoteProtocolError("a datagram for a TURN client that is not of its server")
        if not is_stun(data):
            self._data.append(self.decapsulate(data, now))
            return
        message = parse(data)
        if message.message_class is Class.INDICATION:
            self._receive_indication(message, now)
            return
        if message.message_class is Class.REQUEST:
            raise RemoteProtocolError("a request for a TURN client")
        self._receive_response(message, now)
        self._work(now)

    def decapsulate(self, data: bytes, now: float) -> PeerData:
        """What ``receive`` would give to ``poll_data`` for ChannelData of the server, at once.

        Raise RemoteProtocolError.
        """
        number, payload = parse_channel_data(data)
        channel = self._peers.channel(number, now)
        if self.state is not State.ALLOCATED or channel is None:
            raise RemoteProtocolError("ChannelData on no channel of ours")
        return PeerData(payload, channel.peer)

    def handle_timeout(self, now: float) -> None:
        again, failed = self._requests.time_out(now)
        self._transmits.extend(again)
        for request in failed:
            request.done(request, Answer(None, now))
        if self.state is State.ALLOCATED and now >= self._expires_at_s:
            self._lose("its lifetime is over")
            self._wait_until(now)
        if self.state is State.WAITING and now >= self._retry_at_s:
            self._begin(now)
        self._work(now)

    def deadline(self) -> float | None:
        """When to call ``handle_timeout``; None when closed."""
        return self._deadline

    def poll_transmit(self) -> bytes | None:
        return self._transmits.popleft() if self._transmits else None

    def poll_event(self) -> ClientEvent | None:
        return self._events.popleft() if self._events else None

    def poll_data(self) -> PeerData | None:
        return self._data.popleft() if self._data else None

    # Data of peers

    def _receive_indication(self, message: Message, now: float) -> None:
        if message.method is not Method.DATA or message.unknown_required(_UNDERSTOOD):
            raise RemoteProtocolError("an indication that a TURN client does not know")
        value = message.require(Attribute.XOR_PEER_ADDRESS)
        peer = unpack_xor_address(value, message.transaction_id)
        if Attribute.ICMP in message.attributes:
            # An error that a peer's network reported: the protocols above see the silence.
            return
        data = message.require(Attribute.DATA)
        if self.state is not State.ALLOCATED or not self._peers.may_use(peer.host, now):
            raise RemoteProtocolError("data of a peer without a permission of ours")
        self._data.append(PeerData(data, peer))

    # Requests

    def _ask(
        self,
        method: Method,
        build: Build,
        done: Callable[[Request, Answer], None],
        now: float,
    ) -> None:
        request = Request(method, build, done)
        self._transmits.append(self._requests.send(request, self._authentication.challenge, now))

    def _receive_response(self, message: Message, now: float) -> None:
        request = self._requests.get(message.transaction_id)
        if request is None or message.method is not request.method:
            raise RemoteProtocolError("an answer to no request of ours")
        code = self._authentication.check_response(message, request.challenge)
        if message.unknown_required(_UNDERSTOOD):
            raise RemoteProtocolError("an answer with attributes that are not understood")
        if code in (ErrorCode.UNAUTHENTICATED, ErrorCode.STALE_NONCE):
            may_retry = self._learn(message, code, request.challenge)
            self._requests.close(request, now)
            if may_retry and request.attempts < ATTEMPTS_MAX:
                challenge = self._authentication.challenge
                self._transmits.append(self._requests.send(request, challenge, now))
                return
            code = ErrorCode.UNAUTHENTICATED
        else:
            values = message.attributes
            if code == 0 and request.method is Method.ALLOCATE:
                self._check_allocation(message)
            self._requests.close(request, now)
            if code == ErrorCode.TRY_ALTERNATE and request.method is Method.ALLOCATE:
                self._redirect(request, values, now)
                return
        relayed = tuple(message.values(Attribute.XOR_RELAYED_ADDRESS))
        request.done(
            request, Answer(code, now, message.attributes, relayed, message.transaction_id)
        )

    def _learn(self, message: Message, code: int, sent_with: Challenge | None) -> bool:
        authentication = self._authentication
        if authentication.take_challenge(message, code, sent_with):
            return True
        if self._credentials == authentication.credentials:
            return False
        authentication.renew(self._credentials)
        return True

    def _redirect(self, request: Request, values: dict[int, bytes], now: float) -> None:
        """Ask another server instead, but none twice (RFC 8489 section 10)."""
        value = values.get(Attribute.ALTERNATE_SERVER)
        server = None if value is None else unpack_address(value)
        if (
            server is None
            or not server.port
            or server.is_ipv6 != self.server.is_ipv6
            or server in self._servers_tried
            or len(self._servers_tried) > REDIRECTS_MAX
        ):
            self._allocation_answered(request, Answer(ErrorCode.TRY_ALTERNATE, now))
            return
        self._requests.clear()
        self.server = server
        self._servers_tried.append(server)
        self._authentication = ClientAuthentication(self._credentials)
        self._events.append(Redirected(server))
        self._ask(Method.ALLOCATE, self._allocate_attributes, self._allocation_answered, now)

    # The allocation

    def _begin(self, now: float) -> None:
        if self.server != self._home:
            self.server = self._home
            self._authentication = ClientAuthentication(self._credentials)
        self._authentication.renew(self._credentials)
        self._servers_tried = [self._home]
        self._mismatches = 0
        self._requests.clear()
        self.state = State.ASKING
        self._ask(Method.ALLOCATE, self._allocate_attributes, self._allocation_answered, now)

    def _allocate_attributes(self, _: bytes) -> list[tuple[int, bytes]]:
        attributes: list[tuple[int, bytes]] = [(Attribute.REQUESTED_TRANSPORT, UDP)]
        if len(self._families) > 1:
            # A server knows one of the two and passes over the other.
            for kind in (
                Attribute.ADDITIONAL_ADDRESS_FAMILY,
                Attribute.ADDITIONAL_ADDRESS_FAMILY_DRAFT,
            ):
                attributes.append((kind, Family.IPV6.value_bytes))
        elif self._families[0] is Family.IPV6:
            # IPv4 is what is meant where nothing is said, also by servers that know no more.
            attributes.append((Attribute.REQUESTED_ADDRESS_FAMILY, Family.IPV6.value_bytes))
        return attributes

    def _check_allocation(self, message: Message) -> None:
        """Raise RemoteProtocolError for a success that gives us nothing we can use."""
        message.require(Attribute.LIFETIME)
        mapped = message.require(Attribute.XOR_MAPPED_ADDRESS)
        unpack_xor_address(mapped, message.transaction_id)
        values = message.values(Attribute.XOR_RELAYED_ADDRESS)
        relayed = [unpack_xor_address(value, message.transaction_id) for value in values]
        families = [family_of(endpoint.host) for endpoint in relayed]
        if (
            not relayed
            or not all(endpoint.port for endpoint in relayed)
            or len(set(families)) < len(families)
            or not set(families) <= set(self._families)
        ):
            raise RemoteProtocolError("an allocation without the addresses that were asked for")

    def _allocation_answered(self, request: Request, answer: Answer) -> None:
        now = answer.now
        if answer.code == 0:
            self._allocated(request, answer)
        elif answer.code == ErrorCode.ALLOCATION_MISMATCH and self._mismatches < MISMATCHES_MAX:
            # Left behind by an earlier run of ours, or a success that was lost on its way.
            self._mismatches += 1
            self.state = State.ENDING
            self._ask(Method.REFRESH, _lifetime(0), self._obstacle_ended, now)
        else:
            self._fail(answer.code, now)

    def _obstacle_ended(self, _: Request, answer: Answer) -> None:
        if answer.code in (0, ErrorCode.ALLOCATION_MISMATCH):
            self.state = State.ASKING
            self._ask(
                Method.ALLOCATE, self._allocate_attributes, self._allocation_answered, answer.now
            )
        else:
            self._fail(answer.code, answer.now)

    def _allocated(self, request: Request, answer: Answer) -> None:
        endpoints = [unpack_xor_address(value, answer.transaction_id) for value in answer.relayed]
        self.relayed = {family_of(endpoint.host): endpoint for endpoint in endpoints}
        mapped = answer.values[Attribute.XOR_MAPPED_ADDRESS]
        self.mapped = unpack_xor_address(mapped, answer.transaction_id)
        self.state = State.ALLOCATED
        self._settled_at_s = answer.now + self._timing.retry_s
        self._is_refreshing = False
        self._live(request, answer)
        self._peers.restart(answer.now)
        self._events.append(Allocated(tuple(endpoints), self.mapped))

    def _live(self, request: Request, answer: Answer) -> None:
        value = answer.values.get(Attribute.LIFETIME, b"")
        lifetime_s = float(int.from_bytes(value, "big"))
        self._expires_at_s = request.began_at_s + lifetime_s
        self._refresh_at_s = request.began_at_s + min(self._timing.keepalive_s, lifetime_s / 2)
        self._silent_since_s = None

    def _fail(self, code: int | None, now: float) -> None:
        wait_s = self._retry_s
        self._retry_s = min(2 * self._retry_s, self._timing.retry_max_s)
        if code in _FULL:
            wait_s = max(wait_s, self._timing.full_retry_s)
        elif code in _NOT_SOON:
            wait_s = self._timing.retry_max_s
        self._wait_until(now + wait_s)
        reason = _REASONS.get(code) or f"the server refuses with error {code}"
        self._events.append(AllocationFailed(code or 0, reason, self._retry_at_s))
        if code == ErrorCode.UNAUTHENTICATED:
            self._events.append(CredentialsRefused())

    def _lose(self, reason: str) -> None:
        self.relayed = {}
        self.mapped = None
        self._requests.clear()
        self._events.append(AllocationLost(reason))

    def _wait_until(self, retry_at_s: float) -> None:
        self.state = State.WAITING
        self._retry_at_s = retry_at_s

    def _lose_and_retry(self, reason: str, now: float) -> None:
        """Allocate again at once, unless the server loses what it has only just given."""
        self._lose(reason)
        if now >= self._settled_at_s:
            self._retry_s = self._timing.retry_s
            self._begin(now)
        else:
            self._wait_until(now + self._retry_s)
            self._retry_s = min(2 * self._retry_s, self._timing.retry_max_s)

    def _refresh(self, now: float) -> None:
        self._is_refreshing = True
        self._ask(Method.REFRESH, _no_attributes, self._refresh_answered, now)

    def _refresh_answered(self, request: Request, answer: Answer) -> None:
        self._is_refreshing = False
        if answer.code == 0 and int.from_bytes(answer.values.get(Attribute.LIFETIME, b""), "big"):
            self._live(request, answer)
        elif answer.code in (0, ErrorCode.ALLOCATION_MISMATCH, ErrorCode.WRONG_CREDENTIALS):
            self._lose_and_retry("the server does not know it", answer.now)
        elif answer.code is None:
            self._bear_silence(request, answer.now)
        else:
            self._refused(answer)
            self._silent_since_s = None
            self._refresh_at_s = answer.now + self._timing.retry_s

    def _bear_silence(self, request: Request, now: float) -> None:
        if self._silent_since_s is None:
            self._silent_since_s = request.began_at_s
        if now - self._silent_since_s >= self._timing.silence_max_s:
            self._lose("the server does not answer")
            self._retry_s = self._timing.retry_s
            self._wait_until(now + self._retry_s)
        else:
            self._refresh_at_s = now

    def _closed(self, _: Request, __: Answer) -> None:
        self.state = State.CLOSED
        self._requests.clear()

    # What an allocation needs

    def _work(self, now: float) -> None:
        if self.state is State.ALLOCATED:
            if now >= self._refresh_at_s and not self._is_refreshing:
                self._refresh(now)
            self._bind_due(now)
            self._permit_due(now)
        self._schedule()

    def _permit_due(self, now: float) -> None:
        due = []
        for permission in self._peers.due_permissions(now):
            if family_of(permission.host) in self.relayed:
                due.append(permission)
            else:
                # This allocation will never have it; the next one may.
                permission.due_at_s = _NEVER
                permission.is_refused = True
                code = ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED
                self._events.append(PermissionRefused(permission.host, code))
        while due and not self._requests.is_full:
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

        self._ask(Method.CREATE_PERMISSION, build, done, now)

    def _permissions_answered(
        self, batch: Sequence[Permission], request: Request, answer: Answer
    ) -> None:
        if answer.code == 0:
            for permission in batch:
                self._granted(permission.host, request.began_at_s)
        elif answer.code == ErrorCode.ALLOCATION_MISMATCH:
            self._lose_and_retry("the server does not know it", answer.now)
        elif answer.code is not None and len(batch) > 1 and not self._refused(answer):
            # The server refuses all for the sake of one: ask for each by itself.
            for permission in batch:
                self._ask_permissions([permission], answer.now)
        else:
            self._refused(answer)
            for permission in batch:
                permission.due_at_s = answer.now + self._timing.retry_s
                if answer.code == ErrorCode.FORBIDDEN:
                    permission.due_at_s = answer.now + self._timing.retry_max_s
                permission.is_refused = answer.code is not None
                if answer.code is not None and permission.host in self._peers.permissions:
                    self._events.append(PermissionRefused(permission.host, answer.code))

    def _granted(self, host: str, asked_at_s: float) -> None:
        if self._peers.granted(host, asked_at_s, self._timing.permission_refresh_s):
            self._events.append(PermissionGranted(host))

    def _bind_due(self, now: float) -> None:
        for channel in list(self._peers.due_channels(now)):
            if self._requests.is_full:
                return
            if family_of(channel.peer.host) in self.relayed:
                self._ask_channel(channel, now)
            else:
                channel.due_at_s = _NEVER

    def _ask_channel(self, channel: ClientChannel, now: float) -> None:
        number = self._peers.number(channel, now)
        if number is None:
            channel.due_at_s = now + self._timing.full_retry_s
            return
        peer = channel.peer
        # A channel brings its permission with it.
        permission = self._peers.permissions.get(peer.host)
        brings = permission is not None and not permission.is_asked
        channel.is_asked = True
        if brings and permission is not None:
            permission.is_asked = True

        def build(transaction_id: bytes) -> list[tuple[int, bytes]]:
            return [
                (int(Attribute.CHANNEL_NUMBER), number.to_bytes(2, "big") + b"\x00\x00"),
                (int(Attribute.XOR_PEER_ADDRESS), pack_xor_address(peer, transaction_id)),
            ]

        def done(request: Request, answer: Answer) -> None:
            channel.is_asked = False
            if brings and permission is not None:
                permission.is_asked = False
            self._channel_answered(channel, request, answer)

        self._ask(Method.CHANNEL_BIND, build, done, now)

    def _channel_answered(self, channel: ClientChannel, request: Request, answer: Answer) -> None:
        if answer.code == 0:
            self._granted(channel.peer.host, request.began_at_s)
            refresh_s = self._timing.permission_refresh_s
            is_wanted = self._peers.channels.get(channel.peer) is channel
            if self._peers.bound(channel, request.began_at_s, refresh_s) and is_wanted:
                self._events.append(ChannelBound(channel.peer))
        elif answer.code == ErrorCode.ALLOCATION_MISMATCH:
            self._lose_and_retry("the server does not know it", answer.now)
        else:
            self._refused(answer)
            wait_s = self._timing.retry_s if answer.code is None else self._timing.full_retry_s
            channel.due_at_s = answer.now + wait_s

    def _refused(self, answer: Answer) -> bool:
        """Whether it is our credentials that are refused; that is said."""
        is_refused = answer.code in (ErrorCode.UNAUTHENTICATED, ErrorCode.WRONG_CREDENTIALS)
        if is_refused:
            self._events.append(CredentialsRefused())
        return is_refused

    def _schedule(self) -> None:
        if self.state is State.CLOSED:
            self._deadline = None
            return
        wanted = [self._requests.deadline()]
        if self.state is State.WAITING:
            wanted.append(self._retry_at_s)
        elif self.state is State.ALLOCATED:
            wanted.append(self._expires_at_s)
            if not self._is_refreshing:
                wanted.append(self._refresh_at_s)
            if not self._requests.is_full:
                wanted.append(self._peers.deadline())
        self._deadline = min((at for at in wanted if at is not None), default=None)


def _lifetime(lifetime_s: int) -> Build:
    value = lifetime_s.to_bytes(4, "big")
    return lambda _: [(Attribute.LIFETIME, value)]


def _no_attributes(_: bytes) -> list[tuple[int, bytes]]:
    return []
