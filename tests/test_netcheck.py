"""What ``wice netcheck`` asks, and what it tells people."""

import json
from functools import partial
from ipaddress import ip_interface
from pathlib import Path

import pytest
import trio
import trio.testing
from click.testing import CliRunner

from wice.cli import commands, netcheck
from wice.cli.commands import wice
from wice.cli.netcheck import (
    PROBE_TIMEOUT_S,
    RESOLVE_TIMEOUT_S,
    Findings,
    as_json,
    check_network,
    format_netcheck,
    named_servers,
    summary,
)
from wice.datagram import Endpoint
from wice.errors import ConfigError
from wice.linux import LinuxPlatform
from wice.platform import NetworkInterface
from wice.stun import FilteringBehaviour, MappingBehaviour, StunURI
from wice.stun.driver import serve_stun
from wice.stun.nat_probe import NatReport, ServerAnswer

M, F = MappingBehaviour, FilteringBehaviour
PEER_ID = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


class Host(LinuxPlatform):
    def interfaces(self) -> list[NetworkInterface]:
        address = ip_interface("127.0.0.1/8")
        return [NetworkInterface("lan0", 2, True, False, (address,))]


class NoDns:
    """Nothing comes back from any nameserver."""

    async def addresses(self, name: str) -> list[str]:
        await trio.sleep_forever()
        raise AssertionError(name)

    services = naming = addresses  # type: ignore[assignment]


def config(directory: Path, text: str) -> Path:
    path = directory / "wice.toml"
    path.write_text(text)
    return path


def test_asks_the_bootstrap_nodes_and_what_ice_names_and_reads_no_secret(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        f"""
        [overlay]
        community = "harbour"
        secret_file = "/nowhere/secret"
        bootstrap = ["/ip4/203.0.113.10/tcp/4001/p2p/{PEER_ID}"]
        [ice]
        stun = ["stun:stun.example.org"]
        [interfaces.wg0]
        private_key_file = "/nowhere/key"
        """,
    )
    assert named_servers(path, ["192.0.2.1", "[2001:db8::1]:5"]) == (
        StunURI("192.0.2.1"),
        StunURI("2001:db8::1", 5),
        StunURI("203.0.113.10", 3478),
        StunURI("203.0.113.10", 3479),
        StunURI("stun.example.org"),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[overlay", "is not TOML"),
        ("overlay = 3", "overlay: is no table"),
        ('[overlay]\ncommunity = "x"\nbootstrap = ["nonsense"]', r"overlay.bootstrap\[0\]"),
        ('[overlay]\nbackend = "pigeons"', "overlay.backend: 'pigeons' is not installed"),
        ("[overlay]\nbackend = 3", "overlay.backend: is a whole number, not text"),
        ("[overlay]\ncommunity = 'x'\n[ice]\nstun = ['turn:x']", r"ice.stun\[0\]"),
        ("[overlay]\ncommunity = 'x'\n[ice]\nstun = ['stuns:x']", "not supported"),
        ("[overlay]\ncommunity = 'x'\n[ice]\nstun = 3", "ice.stun: is no list"),
        ("[overlay]\ncommunity = 'x'", "no STUN server to ask"),
    ],
)
def test_a_bad_configuration_is_a_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        named_servers(config(tmp_path, text), [])


@pytest.mark.parametrize("text", ["", "host:port", "2001:db8::1", "stuns:x"])
def test_a_bad_server_is_a_line(text: str) -> None:
    with pytest.raises(ConfigError, match="--server") as refused:
        named_servers(None, [text])
    assert repr(text) in refused.value.why or text.startswith("stuns:")
    assert "'stun:" not in refused.value.why


def test_without_a_file_it_says_that_a_server_will_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "DEFAULT_CONFIG", tmp_path / "none.toml")
    result = CliRunner().invoke(wice, ["netcheck"])
    assert isinstance(result.exception, ConfigError)
    assert "or a server: --server HOST" in str(result.exception)


def test_the_verb_prints_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netcheck, "PROBE_TIMEOUT_S", 0.1)
    result = CliRunner().invoke(wice, ["netcheck", "--server", "127.0.0.1:9", "--json"])
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["udp_answered"] is False
    assert answer["ipv6"] is None
    assert [server["server"] for server in answer["servers"]] == ["127.0.0.1:9"]


def test_ctrl_c_ends_it_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> None:
        async with trio.open_nursery():
            raise KeyboardInterrupt

    monkeypatch.setattr(netcheck, "check_network", interrupted)
    result = CliRunner().invoke(wice, ["netcheck", "--server", "192.0.2.77"])
    assert (result.exit_code, result.output) == (130, "")


async def test_a_live_server_is_heard_beside_dead_names(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netcheck, "RESOLVE_TIMEOUT_S", 0.1)
    start = partial(serve_stun, (0, 0), public_addresses=("127.0.0.2", "127.0.0.3"))
    bound = await nursery.start(start)
    uris = [StunURI("127.0.0.2", bound[0].port), StunURI("dead.example")]
    with trio.fail_after(30):
        findings = await check_network(uris, Host(), NoDns())
    answer = as_json(findings)
    assert answer["udp_answered"] is True
    assert answer["ipv4"]["mapping"] == "no NAT"
    assert answer["ipv4"]["public_addresses"] == ["127.0.0.1"]
    assert answer["interfaces"] == [{"name": "lan0", "addresses": ["127.0.0.1/8"]}]
    assert "no answer from DNS" in answer["servers"][-1]["reason"]
    text = format_netcheck(answer)
    assert "  mapping: no NAT\n" in text
    assert text.endswith("directly by every peer that has UDP.\n")


async def test_dead_servers_and_names_cost_less_than_five_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began_s = trio.current_time()
    silent = [trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) for _ in range(9)]
    uris = [StunURI("dead.example")]
    for opened in silent:
        await opened.bind(("127.0.0.1", 0))
        uris.append(StunURI("127.0.0.1", opened.getsockname()[1]))
    findings = await check_network(uris, Host(), NoDns())
    for opened in silent:
        opened.close()
    took_s = trio.current_time() - began_s
    assert took_s <= RESOLVE_TIMEOUT_S + PROBE_TIMEOUT_S < 5.0
    report = findings.reports[4]
    assert report is not None and not report.is_reached


def report(mapping: M, filtering: F) -> NatReport:
    server, mapped = Endpoint("203.0.113.1", 3478), Endpoint("198.51.100.1", 9)
    is_reached = mapping is not M.UNREACHED
    answer = ServerAnswer(server, mapped if is_reached else None, None, "")
    return NatReport((answer,), (mapped,) if is_reached else (), mapping, filtering, None, None, ())


EVERY, BUT, ONLY = "every peer that has UDP", "every peer except", "directly only by peers"
TOO_FEW = "too few servers"


@pytest.mark.parametrize(
    ("mapping", "filtering", "said"),
    [
        (M.NO_NAT, F.ENDPOINT_INDEPENDENT, EVERY),
        (M.NO_NAT, F.ADDRESS_AND_PORT_DEPENDENT, BUT),
        (M.ENDPOINT_INDEPENDENT, F.ADDRESS_DEPENDENT, EVERY),
        (M.ENDPOINT_INDEPENDENT, F.ADDRESS_AND_PORT_DEPENDENT, BUT),
        (M.ENDPOINT_INDEPENDENT, F.UNKNOWN, BUT),
        (M.ADDRESS_DEPENDENT, F.ENDPOINT_INDEPENDENT, ONLY),
        (M.ADDRESS_AND_PORT_DEPENDENT, F.ADDRESS_AND_PORT_DEPENDENT, ONLY),
        (M.UNKNOWN, F.UNKNOWN, TOO_FEW),
        (M.UNREACHED, F.UNKNOWN, "UDP is blocked"),
    ],
)
def test_the_sentence_says_who_can_reach_this_host(mapping: M, filtering: F, said: str) -> None:
    findings = Findings((), (), {4: report(mapping, filtering), 6: None})
    sentence = summary(findings)
    assert said in sentence
    assert said in format_netcheck(as_json(findings))
    others = {EVERY, BUT, ONLY, TOO_FEW, "UDP is blocked"} - {said}
    assert not any(other in sentence for other in others)


DEAD_NAME = ("stun:foo.invalid", "foo.invalid: no such name")


@pytest.mark.parametrize(
    ("unresolved", "asked", "said", "other"),
    [
        ((DEAD_NAME,), [], "DNS gave no address. Check the names", "network"),
        ((), [False], "Network is unreachable. Check this host's network.", "DNS"),
        ((DEAD_NAME,), [False], "Network is unreachable, DNS gave no address. Check", "blocked"),
        ((DEAD_NAME,), [True, False], "UDP is blocked", "could be asked"),
    ],
)
def test_udp_is_not_blamed_where_no_server_could_be_asked(
    unresolved: tuple[tuple[str, str], ...], asked: list[bool], said: str, other: str
) -> None:
    server = Endpoint("2001:db8::1", 3478)
    answers = tuple(
        ServerAnswer(server, None, None, "no answer" if a else "Network is unreachable", a)
        for a in asked
    )
    silent = NatReport(answers, (), M.UNREACHED, F.UNKNOWN, None, None, ())
    sentence = summary(Findings((), unresolved, {4: None, 6: silent if asked else None}))
    assert said in sentence
    assert other not in sentence
