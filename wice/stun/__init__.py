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
    unpack_unknown_attributes,
    unpack_xor_address,
)
from wice.stun.behaviour import FilteringBehaviour, MappingBehaviour, compare_mappings
from wice.stun.client_authentication import Challenge, ClientAuthentication, LongTermCredentials
from wice.stun.long_term import PasswordAlgorithm, long_term_key, userhash
from wice.stun.message import (
    TRANSACTION_ID_SIZE_BYTES,
    Class,
    IntegrityKey,
    IntegrityKeySHA256,
    Message,
    Method,
    encode,
    is_stun,
    parse,
)
from wice.stun.rate_limit import SourceRateLimit, TokenBucket, source_network
from wice.stun.server import BindingServer, Change, Origins, Response
from wice.stun.server_authentication import (
    Account,
    Accounts,
    Authenticated,
    Refusal,
    ServerAuthentication,
    StaticAccounts,
)
from wice.stun.uri import StunURI, TurnURI, parse_stun_uri, parse_turn_uri

__all__ = [
    "MAGIC_COOKIE",
    "TRANSACTION_ID_SIZE_BYTES",
    "Account",
    "Accounts",
    "Attribute",
    "Authenticated",
    "BindingServer",
    "Challenge",
    "Change",
    "Class",
    "ClientAuthentication",
    "FilteringBehaviour",
    "IntegrityKey",
    "IntegrityKeySHA256",
    "LongTermCredentials",
    "MappingBehaviour",
    "Message",
    "Method",
    "Origins",
    "PasswordAlgorithm",
    "Refusal",
    "Response",
    "ServerAuthentication",
    "SourceRateLimit",
    "StaticAccounts",
    "StunURI",
    "TokenBucket",
    "TurnURI",
    "compare_mappings",
    "encode",
    "is_stun",
    "long_term_key",
    "pack_address",
    "pack_error_code",
    "pack_unknown_attributes",
    "pack_xor_address",
    "parse",
    "parse_stun_uri",
    "parse_turn_uri",
    "source_network",
    "unpack_address",
    "unpack_error_code",
    "unpack_unknown_attributes",
    "unpack_xor_address",
    "userhash",
]
