"""ICE (RFC 8445): the agent without I/O, and its trio driver over a shared port."""
