"""STUN (RFC 8489): messages and the server, without I/O."""
