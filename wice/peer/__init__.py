"""A peer: joins signaling, ICE and WireGuard by the effects of one state machine."""
