"""The daemon: builds everything from the configuration and owns every task."""
