"""The network stack of a simulated machine."""
