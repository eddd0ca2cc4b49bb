"""Nodes of the overlay: the libp2p backend of wice."""
