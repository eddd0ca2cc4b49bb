"""STUN (RFC 8489): messages, URIs and the binding server, without I/O.

``wice.stun.driver`` runs the server.
"""

from wice.stun.attributes import (
    MAGIC_COOKIE,
    Attribute,
    pack_address,
    pack_error_code,
    pack_unknown_attributes,
    pack_xor_address,
    unpack_address,
    unpack_error_code,
    unpack_xor_address,
)
from wice.stun.message import (
    TRANSACTION_ID_SIZE_BYTES,
    Class,
    IntegrityKey,
    Message,
    Method,
    encode,
    is_stun,
    parse,
)
from wice.stun.server import BindingServer
from wice.stun.uri import StunURI, parse_stun_uri

__all__ = [
    "MAGIC_COOKIE",
    "TRANSACTION_ID_SIZE_BYTES",
    "Attribute",
    "BindingServer",
    "Class",
    "IntegrityKey",
    "Message",
    "Method",
    "StunURI",
    "encode",
    "is_stun",
    "pack_address",
    "pack_error_code",
    "pack_unknown_attributes",
    "pack_xor_address",
    "parse",
    "parse_stun_uri",
    "unpack_address",
    "unpack_error_code",
    "unpack_xor_address",
]
