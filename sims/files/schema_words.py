"""What each key of a scenario file means, in the few words that an editor has room for."""

from typing import Final

FILE: Final = {
    "scenario": "The run as a whole.",
    "sites": "Machines on one LAN behind one line, by the site's name.",
    "faults": "What goes wrong, when and to whom.",
    "churn": "Faults that the seed makes before the run.",
    "expect": "What must hold; a run that breaks it fails.",
}

RUN: Final = {
    "duration_s": "How long the run is, in virtual seconds.",
    "name": "The scenario's; without, the file's.",
    "bootstraps": "Bootstrap nodes, bootstrap-1 and so on, each with a public address.",
    "relay": "The bootstrap nodes relay for the mesh.",
    "ip": "Versions of IP.",
    "peers_each_max": "WireGuard peers of each machine, its neighbours on a ring; without, all.",
    "ping_every_s": "How often each ordered pair pings through the tunnel.",
    "overlay": "What carries envelopes: the real overlay, or none, where it is not the question.",
}

SITE: Final = {
    "count": "The table stands for so many sites, NAME-1 and so on.",
    "nat": "A kind of NAT, a table, or a list of tables, innermost first.",
    "firewall": "What the site lets through; without, what comes with its NAT.",
    "link": "The line to the internet: a preset, or a table.",
    "lan": "Between machines of the site.",
    "machines": "Names, or tables.",
    "behind": "The site whose LAN this one's line ends at, as at a carrier.",
    "isolating": "Machines reach the router and not one another.",
}

MACHINE: Final = {
    "name": "The machine's.",
    "starts_at_s": "When its daemon is started first.",
    "clock_offset_s": "How wrong its wall clock is at the start.",
    "clock_drift_ppm": "And how it goes from there.",
    "address": "Its IPv4 address in the mesh, one of 10.77.0.0/16.",
    "peers": "The machines whose public keys it has; without, all.",
}

NAT: Final = {
    "mapping": "When two destinations see one socket at the same public port.",
    "filtering": "Who may send to a mapped port.",
    "ports": "Which public port a new mapping gets.",
    "lifetime_s": "Of a UDP mapping that nothing left through, once an answer has come.",
    "lifetime_unreplied_s": "The same until then, if that is shorter.",
    "hairpins": "Turns packets from inside to a mapped public port round.",
    "one_to_one": "The one machine inside has the public address to itself.",
}

LINE: Final = {
    "latency_ms": "One way.",
    "jitter_ms": "Standard deviation around the latency.",
    "jitter_correlation": "How much of one packet's jitter is the next one's.",
    "latencies_ms": "Latencies to draw from instead.",
    "loss": "Share of packets lost, each by itself.",
    "burst_loss": "Losses in runs (Gilbert and Elliott).",
    "reorder": "Share that overtakes others.",
    "duplicate": "Share that comes twice.",
    "corrupt": "Share that comes with a bit turned.",
    "rate_mbps": "Without, no limit.",
    "buffer_kb": "What waits at the rate; more is dropped.",
    "mtu": "Larger packets are dropped.",
    "preset": "What the other keys change.",
    "up": "To the internet alone; none carries nothing.",
    "down": "From the internet alone; none carries nothing.",
}

BURST_LOSS: Final = {
    "enters": "How likely a packet finds the line turned bad.",
    "leaves": "And good again.",
    "loss_good": "How likely a packet is lost while the line is good.",
    "loss_bad": "And while it is bad.",
}

FAULT_KINDS: Final = {
    "crash": "The daemon is gone without a word, and starts again after for_s.",
    "stop": "The daemon is asked to end, and starts again after for_s.",
    "sleep": "The machine stands still; its overdue timers fire when it wakes.",
    "move": "The machine goes over to another site, and comes back after for_s.",
    "address-change": "Other public addresses; the NAT forgets everything.",
    "nat-reboot": "The site's NATs and firewall forget everything.",
    "link-down": "The site's line carries nothing.",
    "degrade": "The site's line becomes another.",
    "corrupt": "A share of packets on the line comes with bits turned.",
    "replay-packets": "A share of the UDP packets that came down the line comes again.",
    "replay-envelopes": "The bootstrap node delivers each envelope again.",
    "delay-envelopes": "The bootstrap node takes its time for each envelope.",
    "partition": "Nothing passes between two groups of sites.",
}

FAULT: Final = {
    "at_s": "When it begins.",
    "for_s": "It is over after so long; without, it is for good.",
    "target": "Who it happens to: a name, or a list of names.",
    "loses_disk": "The daemon finds nothing of its state then.",
    "to": "The site it goes to.",
    "gap_s": "How long it is without any network on each way.",
    "ip_version": "4 or 6 alone; without, both.",
    "direction": "Which way nothing is carried.",
    "link": "A preset, or a table that changes the site's own line.",
    "share": "Of packets.",
    "after_s": "How much later.",
    "spread_s": "And up to so much more, each its own.",
    "up_to_s": "At most so long.",
    "one": "Sites of one group.",
    "other": "Sites of the other; without, all that are not in one.",
    "one_way": "Only from one to other nothing passes.",
}

CHURN: Final = {
    "count": "How many faults.",
    "kinds": "Kinds of fault, drawn from evenly.",
    "between_s": "From and to: when they begin.",
    "for_s": "From and to: how long each that lasts does.",
}

EXPECT: Final = {
    "all_pairs_connected_by_s": "Every pair that can have a path has pinged by then.",
    "healed_within_s": "And again so long after the last fault is over.",
    "direct": "Pairs of machines whose path is direct at the end.",
    "relayed": "Pairs of machines whose path is relayed at the end.",
    "unreachable": "Pairs of machines that may not get any path.",
}
