"""What a report says of pairs that nobody answered yet."""

from random import Random

from wice.datagram import Endpoint
from wice.ice import Agent, Credentials, parse_candidate, relayed_candidate
from wice.ice.candidate import host_candidate


def test_a_relays_end_is_called_so_before_it_answers() -> None:
    dice = Random(1)
    agent = Agent(
        controlling=True,
        local=Credentials.generate(dice.randbytes),
        random_bytes=dice.randbytes,
        now=0.0,
    )
    ours, relayed = Endpoint("192.0.2.1", 51_820), Endpoint("203.0.113.10", 49_152)
    server = Endpoint("203.0.113.10", 3_478)
    allocation = relayed_candidate(relayed, ours, server, 65_535)
    agent.set_local_candidates([host_candidate(ours, 65_535), allocation], 0.0)
    agent.set_remote(Credentials.generate(dice.randbytes), 0.0)
    agent.add_remote_candidate(parse_candidate("1 1 udp 9 198.51.100.1 51820 typ host"), 0.0)
    reports = {report.path.source: report for report in agent.pair_reports()}
    assert reports["192.0.2.1"].local_type == "host"
    assert reports[str(relayed)].local_type == "relay" and reports[str(relayed)].is_relayed
