from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KadRecord(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class KadMessage(_message.Message):
    __slots__ = ("type", "key", "record", "closer_peers", "provider_peers", "cluster_level_raw", "server")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PUT_VALUE: _ClassVar[KadMessage.Type]
        GET_VALUE: _ClassVar[KadMessage.Type]
        ADD_PROVIDER: _ClassVar[KadMessage.Type]
        GET_PROVIDERS: _ClassVar[KadMessage.Type]
        FIND_NODE: _ClassVar[KadMessage.Type]
        PING: _ClassVar[KadMessage.Type]
    PUT_VALUE: KadMessage.Type
    GET_VALUE: KadMessage.Type
    ADD_PROVIDER: KadMessage.Type
    GET_PROVIDERS: KadMessage.Type
    FIND_NODE: KadMessage.Type
    PING: KadMessage.Type
    class ConnectionType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NOT_CONNECTED: _ClassVar[KadMessage.ConnectionType]
        CONNECTED: _ClassVar[KadMessage.ConnectionType]
        CAN_CONNECT: _ClassVar[KadMessage.ConnectionType]
        CANNOT_CONNECT: _ClassVar[KadMessage.ConnectionType]
    NOT_CONNECTED: KadMessage.ConnectionType
    CONNECTED: KadMessage.ConnectionType
    CAN_CONNECT: KadMessage.ConnectionType
    CANNOT_CONNECT: KadMessage.ConnectionType
    class Peer(_message.Message):
        __slots__ = ("id", "addrs", "connection")
        ID_FIELD_NUMBER: _ClassVar[int]
        ADDRS_FIELD_NUMBER: _ClassVar[int]
        CONNECTION_FIELD_NUMBER: _ClassVar[int]
        id: bytes
        addrs: _containers.RepeatedScalarFieldContainer[bytes]
        connection: KadMessage.ConnectionType
        def __init__(self, id: _Optional[bytes] = ..., addrs: _Optional[_Iterable[bytes]] = ..., connection: _Optional[_Union[KadMessage.ConnectionType, str]] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    CLOSER_PEERS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_PEERS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_LEVEL_RAW_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    type: KadMessage.Type
    key: bytes
    record: KadRecord
    closer_peers: _containers.RepeatedCompositeFieldContainer[KadMessage.Peer]
    provider_peers: _containers.RepeatedCompositeFieldContainer[KadMessage.Peer]
    cluster_level_raw: int
    server: KadMessage.Peer
    def __init__(self, type: _Optional[_Union[KadMessage.Type, str]] = ..., key: _Optional[bytes] = ..., record: _Optional[_Union[KadRecord, _Mapping]] = ..., closer_peers: _Optional[_Iterable[_Union[KadMessage.Peer, _Mapping]]] = ..., provider_peers: _Optional[_Iterable[_Union[KadMessage.Peer, _Mapping]]] = ..., cluster_level_raw: _Optional[int] = ..., server: _Optional[_Union[KadMessage.Peer, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("watches",)
    class Watch(_message.Message):
        __slots__ = ("key", "lifetime_s")
        KEY_FIELD_NUMBER: _ClassVar[int]
        LIFETIME_S_FIELD_NUMBER: _ClassVar[int]
        key: bytes
        lifetime_s: int
        def __init__(self, key: _Optional[bytes] = ..., lifetime_s: _Optional[int] = ...) -> None: ...
    WATCHES_FIELD_NUMBER: _ClassVar[int]
    watches: _containers.RepeatedCompositeFieldContainer[WatchRequest.Watch]
    def __init__(self, watches: _Optional[_Iterable[_Union[WatchRequest.Watch, _Mapping]]] = ...) -> None: ...

class WatchEvent(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: KadRecord
    def __init__(self, record: _Optional[_Union[KadRecord, _Mapping]] = ...) -> None: ...

class AnchorMessage(_message.Message):
    __slots__ = ("subscribe", "subscribed", "refused", "deliver", "acknowledge", "ping")
    class Subscribed(_message.Message):
        __slots__ = ("blinded_key", "lifetime_s")
        BLINDED_KEY_FIELD_NUMBER: _ClassVar[int]
        LIFETIME_S_FIELD_NUMBER: _ClassVar[int]
        blinded_key: bytes
        lifetime_s: int
        def __init__(self, blinded_key: _Optional[bytes] = ..., lifetime_s: _Optional[int] = ...) -> None: ...
    class Refused(_message.Message):
        __slots__ = ("blinded_key", "reason")
        BLINDED_KEY_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        blinded_key: bytes
        reason: str
        def __init__(self, blinded_key: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...
    class Deliver(_message.Message):
        __slots__ = ("id", "blinded_key", "envelope_id", "envelope")
        ID_FIELD_NUMBER: _ClassVar[int]
        BLINDED_KEY_FIELD_NUMBER: _ClassVar[int]
        ENVELOPE_ID_FIELD_NUMBER: _ClassVar[int]
        ENVELOPE_FIELD_NUMBER: _ClassVar[int]
        id: int
        blinded_key: bytes
        envelope_id: bytes
        envelope: bytes
        def __init__(self, id: _Optional[int] = ..., blinded_key: _Optional[bytes] = ..., envelope_id: _Optional[bytes] = ..., envelope: _Optional[bytes] = ...) -> None: ...
    class Acknowledge(_message.Message):
        __slots__ = ("id", "taken")
        ID_FIELD_NUMBER: _ClassVar[int]
        TAKEN_FIELD_NUMBER: _ClassVar[int]
        id: int
        taken: bool
        def __init__(self, id: _Optional[int] = ..., taken: _Optional[bool] = ...) -> None: ...
    class Ping(_message.Message):
        __slots__ = ("id", "answer")
        ID_FIELD_NUMBER: _ClassVar[int]
        ANSWER_FIELD_NUMBER: _ClassVar[int]
        id: int
        answer: bool
        def __init__(self, id: _Optional[int] = ..., answer: _Optional[bool] = ...) -> None: ...
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    DELIVER_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    subscribe: bytes
    subscribed: AnchorMessage.Subscribed
    refused: AnchorMessage.Refused
    deliver: AnchorMessage.Deliver
    acknowledge: AnchorMessage.Acknowledge
    ping: AnchorMessage.Ping
    def __init__(self, subscribe: _Optional[bytes] = ..., subscribed: _Optional[_Union[AnchorMessage.Subscribed, _Mapping]] = ..., refused: _Optional[_Union[AnchorMessage.Refused, _Mapping]] = ..., deliver: _Optional[_Union[AnchorMessage.Deliver, _Mapping]] = ..., acknowledge: _Optional[_Union[AnchorMessage.Acknowledge, _Mapping]] = ..., ping: _Optional[_Union[AnchorMessage.Ping, _Mapping]] = ...) -> None: ...

class EnvelopeMessage(_message.Message):
    __slots__ = ("send", "result")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNKNOWN: _ClassVar[EnvelopeMessage.Status]
        TAKEN: _ClassVar[EnvelopeMessage.Status]
        NOT_HERE: _ClassVar[EnvelopeMessage.Status]
        UNAVAILABLE: _ClassVar[EnvelopeMessage.Status]
    STATUS_UNKNOWN: EnvelopeMessage.Status
    TAKEN: EnvelopeMessage.Status
    NOT_HERE: EnvelopeMessage.Status
    UNAVAILABLE: EnvelopeMessage.Status
    class Send(_message.Message):
        __slots__ = ("id", "blinded_key", "envelope_id", "envelope")
        ID_FIELD_NUMBER: _ClassVar[int]
        BLINDED_KEY_FIELD_NUMBER: _ClassVar[int]
        ENVELOPE_ID_FIELD_NUMBER: _ClassVar[int]
        ENVELOPE_FIELD_NUMBER: _ClassVar[int]
        id: int
        blinded_key: bytes
        envelope_id: bytes
        envelope: bytes
        def __init__(self, id: _Optional[int] = ..., blinded_key: _Optional[bytes] = ..., envelope_id: _Optional[bytes] = ..., envelope: _Optional[bytes] = ...) -> None: ...
    class Result(_message.Message):
        __slots__ = ("id", "status")
        ID_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        id: int
        status: EnvelopeMessage.Status
        def __init__(self, id: _Optional[int] = ..., status: _Optional[_Union[EnvelopeMessage.Status, str]] = ...) -> None: ...
    SEND_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    send: EnvelopeMessage.Send
    result: EnvelopeMessage.Result
    def __init__(self, send: _Optional[_Union[EnvelopeMessage.Send, _Mapping]] = ..., result: _Optional[_Union[EnvelopeMessage.Result, _Mapping]] = ...) -> None: ...

class TopicMessage(_message.Message):
    __slots__ = ("publish", "taken")
    class Publish(_message.Message):
        __slots__ = ("blinded_key", "envelope_id", "envelope", "nonce", "hops_left")
        BLINDED_KEY_FIELD_NUMBER: _ClassVar[int]
        ENVELOPE_ID_FIELD_NUMBER: _ClassVar[int]
        ENVELOPE_FIELD_NUMBER: _ClassVar[int]
        NONCE_FIELD_NUMBER: _ClassVar[int]
        HOPS_LEFT_FIELD_NUMBER: _ClassVar[int]
        blinded_key: bytes
        envelope_id: bytes
        envelope: bytes
        nonce: bytes
        hops_left: int
        def __init__(self, blinded_key: _Optional[bytes] = ..., envelope_id: _Optional[bytes] = ..., envelope: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., hops_left: _Optional[int] = ...) -> None: ...
    class Taken(_message.Message):
        __slots__ = ("message_id",)
        MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
        message_id: bytes
        def __init__(self, message_id: _Optional[bytes] = ...) -> None: ...
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    publish: TopicMessage.Publish
    taken: TopicMessage.Taken
    def __init__(self, publish: _Optional[_Union[TopicMessage.Publish, _Mapping]] = ..., taken: _Optional[_Union[TopicMessage.Taken, _Mapping]] = ...) -> None: ...

class RelayRequest(_message.Message):
    __slots__ = ("hour", "proof")
    HOUR_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    hour: int
    proof: bytes
    def __init__(self, hour: _Optional[int] = ..., proof: _Optional[bytes] = ...) -> None: ...

class RelayAnswer(_message.Message):
    __slots__ = ("loan", "refused")
    class Loan(_message.Message):
        __slots__ = ("port", "username", "password", "lifetime_s")
        PORT_FIELD_NUMBER: _ClassVar[int]
        USERNAME_FIELD_NUMBER: _ClassVar[int]
        PASSWORD_FIELD_NUMBER: _ClassVar[int]
        LIFETIME_S_FIELD_NUMBER: _ClassVar[int]
        port: int
        username: str
        password: str
        lifetime_s: int
        def __init__(self, port: _Optional[int] = ..., username: _Optional[str] = ..., password: _Optional[str] = ..., lifetime_s: _Optional[int] = ...) -> None: ...
    class Refused(_message.Message):
        __slots__ = ("reason",)
        REASON_FIELD_NUMBER: _ClassVar[int]
        reason: str
        def __init__(self, reason: _Optional[str] = ...) -> None: ...
    LOAN_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    loan: RelayAnswer.Loan
    refused: RelayAnswer.Refused
    def __init__(self, loan: _Optional[_Union[RelayAnswer.Loan, _Mapping]] = ..., refused: _Optional[_Union[RelayAnswer.Refused, _Mapping]] = ...) -> None: ...
