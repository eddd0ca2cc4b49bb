"""Whole meshes on one machine: the namespace lab, later the simulator."""
