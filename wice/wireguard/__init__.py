"""WireGuard: devices, and the protocol itself without I/O."""
