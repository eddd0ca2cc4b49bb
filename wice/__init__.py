"""wice: a serverless mesh for WireGuard."""
