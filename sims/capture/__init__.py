"""What passed the interfaces of a run, as files that Wireshark opens."""
