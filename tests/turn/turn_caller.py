"""A client of one server that is written out by hand, request by request."""

from tests.turn.turn_network import ALICE, CLIENT, SERVER, SERVER_IPV6, Network
from wice.datagram import Endpoint
from wice.stun import (
    Attribute,
    Class,
    ClientAuthentication,
    LongTermCredentials,
    Message,
    Method,
    encode,
    pack_xor_address,
    parse,
    unpack_error_code,
)
from wice.turn import Family, OpenRelay, TurnServer
from wice.turn.messages import UDP

BOB = LongTermCredentials("bob", "battery")
TRANSPORT = (int(Attribute.REQUESTED_TRANSPORT), UDP)
OTHER_CLIENT = Endpoint("198.51.100.8", 40_000)


class Caller:
    """Asks one server by hand."""

    def __init__(
        self,
        network: Network,
        credentials: LongTermCredentials = ALICE,
        source: Endpoint = CLIENT,
    ) -> None:
        self.network = network
        self.source = source
        self._authentication = ClientAuthentication(credentials)
        self._ids = network.random
        self.transaction_id = bytes(12)

    @property
    def server(self) -> TurnServer:
        return self.network.server

    def sends(self, data: bytes) -> Message | None:
        """What the server answers at once; relays are opened on the way."""
        self.server.receive(data, self.source, self.network.now, SERVER.host)
        while (event := self.server.poll_event()) is not None:
            if isinstance(event, OpenRelay) and self.network.can_open:
                host = SERVER.host if event.family is Family.IPV4 else SERVER_IPV6
                endpoint = Endpoint(host, 50_000 + event.relay)
                self.network.relays[event.relay] = endpoint
                self.server.relay_opened(event.relay, endpoint, self.network.now)
            elif isinstance(event, OpenRelay):
                self.server.relay_failed(event.relay, self.network.now)
            else:
                del self.network.relays[event.relay]
        answer = self.server.poll_transmit()
        assert self.server.poll_transmit() is None
        if answer is None:
            return None
        assert (answer.remote, answer.local, answer.relay) == (self.source, SERVER.host, None)
        return parse(answer.data)

    def asks(self, method: Method, *attributes: tuple[int, bytes]) -> Message:
        for _ in range(2):
            challenge = self._authentication.challenge
            self.transaction_id = self._ids.randbytes(12)
            data = encode(
                method,
                Class.REQUEST,
                self.transaction_id,
                [*attributes, *(challenge.attributes if challenge else ())],
                key=challenge.key if challenge else None,
            )
            answer = self.sends(data)
            assert answer is not None
            code = error(answer)
            if code not in (401, 438):
                assert challenge is not None
                answer.verify_integrity(challenge.key)
                return answer
            if not self._authentication.take_challenge(answer, code, challenge):
                return answer
        return answer

    def allocates(self, *attributes: tuple[int, bytes]) -> Message:
        return self.asks(Method.ALLOCATE, TRANSPORT, *attributes)

    def peer(self, endpoint: Endpoint) -> tuple[int, bytes]:
        # Of IPv4 the transaction id is no part.
        return (Attribute.XOR_PEER_ADDRESS, pack_xor_address(endpoint, bytes(12)))

    def permits(self, *peers: Endpoint) -> Message:
        return self.asks(Method.CREATE_PERMISSION, *map(self.peer, peers))

    def binds(self, number: int, peer: Endpoint) -> Message:
        value = number.to_bytes(2, "big") + b"\x00\x00"
        return self.asks(Method.CHANNEL_BIND, (Attribute.CHANNEL_NUMBER, value), self.peer(peer))

    def relayed(self, data: bytes) -> bytes | None:
        """What leaves through the relay for a datagram of the client's."""
        self.server.receive(data, self.source, self.network.now, SERVER.host)
        transmit = self.server.poll_transmit()
        return None if transmit is None else transmit.data

    def send_indication(self, peer: Endpoint, *more: tuple[int, bytes]) -> bytes:
        listed = [self.peer(peer), (int(Attribute.DATA), b"data"), *more]
        return encode(Method.SEND, Class.INDICATION, bytes(12), listed)


def error(message: Message) -> int:
    value = message.attributes.get(Attribute.ERROR_CODE)
    return 0 if value is None else unpack_error_code(value)
