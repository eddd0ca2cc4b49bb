"""Simulated machines with the real daemon on them."""
