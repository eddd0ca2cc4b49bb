from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SealedEnvelope(_message.Message):
    __slots__ = ("version", "sealed_box")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEALED_BOX_FIELD_NUMBER: _ClassVar[int]
    version: int
    sealed_box: bytes
    def __init__(self, version: _Optional[int] = ..., sealed_box: _Optional[bytes] = ...) -> None: ...

class EncryptedMessage(_message.Message):
    __slots__ = ("body", "nonce")
    BODY_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    nonce: bytes
    def __init__(self, body: _Optional[bytes] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("sender", "recipient", "contents")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    sender: bytes
    recipient: bytes
    contents: EncryptedMessage
    def __init__(self, sender: _Optional[bytes] = ..., recipient: _Optional[bytes] = ..., contents: _Optional[_Union[EncryptedMessage, _Mapping]] = ...) -> None: ...

class BoxedMessage(_message.Message):
    __slots__ = ("version", "sender", "recipient", "message")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    version: int
    sender: bytes
    recipient: bytes
    message: bytes
    def __init__(self, version: _Optional[int] = ..., sender: _Optional[bytes] = ..., recipient: _Optional[bytes] = ..., message: _Optional[bytes] = ...) -> None: ...

class SessionMessage(_message.Message):
    __slots__ = ("format", "session_id", "version", "acknowledged_session_id", "acknowledged_version", "bound", "acknowledgement_wanted", "timestamp", "ufrag", "password", "candidates", "end_of_candidates", "options")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENT_WANTED_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    UFRAG_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    END_OF_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    format: int
    session_id: bytes
    version: int
    acknowledged_session_id: bytes
    acknowledged_version: int
    bound: bool
    acknowledgement_wanted: bool
    timestamp: bytes
    ufrag: str
    password: str
    candidates: _containers.RepeatedScalarFieldContainer[str]
    end_of_candidates: bool
    options: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, format: _Optional[int] = ..., session_id: _Optional[bytes] = ..., version: _Optional[int] = ..., acknowledged_session_id: _Optional[bytes] = ..., acknowledged_version: _Optional[int] = ..., bound: _Optional[bool] = ..., acknowledgement_wanted: _Optional[bool] = ..., timestamp: _Optional[bytes] = ..., ufrag: _Optional[str] = ..., password: _Optional[str] = ..., candidates: _Optional[_Iterable[str]] = ..., end_of_candidates: _Optional[bool] = ..., options: _Optional[_Iterable[str]] = ...) -> None: ...
