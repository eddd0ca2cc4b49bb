"""Signaling: messages between public keys, and the session that makes them converge."""
