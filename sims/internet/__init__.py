"""The simulated internet between machines: lines, NATs, firewalls, routers."""
