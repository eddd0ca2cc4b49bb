"""A scenario file is read whole, or refused in one line with file, line, key and remedy."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sims import NAT_KINDS, Crash, Degrade, LinkModel, Partition
from sims.files.scenario_file import (
    SCENARIO_SIZE_MAX_BYTES,
    find_scenario,
    load_scenario,
    parse_scenario,
    scenario_names,
)
from sims.files.toml_lines import TomlLines
from sims.model.faults import FAULT_KINDS, Move
from sims.model.nat import Filtering, Firewall, Mapping, NatModel, PortAssignment
from sims.model.presets import LINE_PRESETS
from sims.running.churn import plan_faults
from sims.runtime.entropy import Entropy
from wice.errors import ConfigError
from wice.section import Place

PATH = Path("story.toml")

GOOD = """\
[scenario]
duration_s = 120
bootstraps = 2
ip = "dual"
ping_every_s = 2.5

[sites.carrier]
nat = { ports = "random", hairpins = true }

[sites.home]
nat = "port-restricted"
behind = "carrier"
isolating = true
machines = [
  "laptop",
  { name = "nas", starts_at_s = 3, address = "10.77.0.9", clock_offset_s = -60 },
]

[sites.home.link]
preset = "dsl"
loss = 0.01
up = { rate_mbps = 1.5, buffer_kb = 30 }
down = { mtu = 1400, latency_ms = 7 }

[sites.flat]
count = 3
nat = [{ lifetime_s = 30 }, { mapping = "address-dependent", filtering = "endpoint-independent" }]
firewall = "udp-blocked"
link = { latencies_ms = [1, 2, 4], up = "none" }
lan = { latency_ms = 1 }

[[faults]]
at_s = 30
kind = "crash"
target = ["bootstrap-1", "flat"]
for_s = 5
loses_disk = true

[[faults]]
at_s = 50
kind = "partition"
one = ["flat", "carrier"]

[[faults]]
at_s = 60
kind = "degrade"
target = "home"
link = { burst_loss = { enters = 0.1, leaves = 0.2 } }

[[churn]]
count = 4
kinds = ["sleep", "nat-reboot"]
between_s = [10, 20]

[expect]
all_pairs_connected_by_s = 20
unreachable = [["laptop", "flat-1"]]
"""


def test_a_good_file_is_read_whole() -> None:
    scenario = parse_scenario(GOOD, PATH)
    assert (scenario.name, scenario.duration_s, scenario.ip_versions) == ("story", 120, (4, 6))
    assert (scenario.bootstraps, scenario.ping_every_s) == (2, 2.5)
    carrier, home, *flats = scenario.sites
    assert carrier.nats[0].hairpins
    assert (carrier.nats[0].ports, carrier.firewall) == (PortAssignment.RANDOM, Firewall.STATEFUL)
    assert (home.nats, home.behind, home.is_isolating) == (
        NAT_KINDS["port-restricted"].nats,
        "carrier",
        True,
    )
    laptop, nas = home.machines
    assert laptop.name == "laptop"
    assert (nas.starts_at_s, nas.clock_offset_s) == (3, -60)
    assert nas.tunnel_address == "10.77.0.9"
    assert [site.name for site in flats] == ["flat-1", "flat-2", "flat-3"]
    assert [site.machines[0].name for site in flats] == ["flat-1", "flat-2", "flat-3"]
    inner, outer = flats[0].nats
    assert inner.lifetime_s == 30
    assert outer.mapping is Mapping.ADDRESS_DEPENDENT
    assert outer.filtering is Filtering.ENDPOINT_INDEPENDENT
    assert flats[0].firewall is Firewall.UDP_BLOCKED
    assert scenario.expect.all_pairs_connected_by_s == 20
    assert scenario.expect.unreachable == (("laptop", "flat-1"),)


def test_who_a_machine_knows_is_read_and_a_mistake_in_it_has_its_line() -> None:
    text = GOOD.replace("clock_offset_s = -60", 'peers = ["laptop", "flat-2"]')
    assert parse_scenario(text, PATH).peers_of("nas") == ("laptop", "flat-2")
    with pytest.raises(ConfigError) as caught:
        parse_scenario(text.replace("flat-2", "flat-4"), PATH)
    assert str(caught.value) == (
        "story.toml:16: sites.home.machines[1].peers[1]: there is no machine flat-4; "
        "did you mean flat-3?"
    )


def test_a_line_is_a_preset_changed_in_both_directions_and_then_in_one() -> None:
    _, home, flat, *_ = parse_scenario(GOOD, PATH).sites
    dsl = LINE_PRESETS["dsl"]
    assert dsl.up is not None
    assert home.line.up is not None
    assert home.line.down is not None
    assert home.line.up.latency_s == dsl.up.latency_s
    assert (home.line.up.rate_bits_s, home.line.up.queue_bytes) == (1.5e6, 30_000)
    assert (home.line.down.mtu_bytes, home.line.down.latency_s) == (1_400, 0.007)
    assert (home.line.up.loss, home.line.down.loss) == (0.01, 0.01)
    assert flat.line.up is None
    assert flat.line.down == LinkModel(latencies_s=(0.001, 0.002, 0.004))
    assert flat.lan.latency_s == 0.001


def test_a_counted_name_stands_for_all_that_it_counts() -> None:
    scenario = parse_scenario(GOOD, PATH)
    crashes = [fault for fault in scenario.faults if isinstance(fault, Crash)]
    assert [crash.target for crash in crashes] == ["bootstrap-1", "flat-1", "flat-2", "flat-3"]
    assert {crash.loses_disk for crash in crashes} == {True}
    (partition,) = (fault for fault in scenario.faults if isinstance(fault, Partition))
    assert partition.one == ("flat-1", "flat-2", "flat-3", "carrier")
    assert partition.other == ("home", "bootstrap-1", "bootstrap-2")


def test_machines_of_a_counted_site_are_numbered_as_it_is() -> None:
    text = GOOD.replace("count = 3", 'count = 2\nmachines = ["tv", "nas"]').replace(
        '"flat-1"', '"tv-1"'
    )
    _, _, *flats = parse_scenario(text, PATH).sites
    assert [[machine.name for machine in site.machines] for site in flats] == [
        ["tv-1", "nas-1"],
        ["tv-2", "nas-2"],
    ]


def test_a_degraded_line_is_the_sites_own_but_for_what_is_written() -> None:
    scenario = parse_scenario(GOOD, PATH)
    (degrade,) = (fault for fault in scenario.faults if isinstance(fault, Degrade))
    own = scenario.sites[1].line
    assert degrade.line.down is not None
    assert own.down is not None
    assert degrade.line.down.latency_s == own.down.latency_s
    assert degrade.line.down.burst_loss is not None
    assert degrade.line.down.burst_loss.loss_bad == 1.0


KEYS_OF = "docs/reference/scenarios.md has all keys"
REFUSALS = [
    ("[scenario]", "[scenari]", "1: scenari: unknown key; did you mean scenario?"),
    ("[expect]", "[expct]", "55: expct: unknown key; did you mean expect?"),
    ("duration_s", "duration", "2: scenario.duration: unknown key; did you mean duration_s?"),
    ("120", '"120"', "2: scenario.duration_s: is text, not a number; " + KEYS_OF),
    ("120", "inf", "2: scenario.duration_s: is no finite number; use 1 to 604800"),
    (
        "bootstraps = 2",
        'overlay = "in-procss"',
        "3: scenario.overlay: 'in-procss' is no overlay; did you mean in-process?",
    ),
    ("bootstraps = 2", "bootstraps = 0", "3: scenario.bootstraps: is less than 1; use 1 to 16"),
    (
        "bootstraps = 2",
        f"bootstraps = {10**30}",
        "3: scenario.bootstraps: is more than 16; use 1 to 16",
    ),
    ('"dual"', '"duel"', "4: scenario.ip: 'duel' is not among the IP versions; did you mean dual?"),
    ("2.5", "0.01", "5: scenario.ping_every_s: is less than 0.1; use 0.1 to 604800"),
    (
        '"random"',
        '"radnom"',
        "8: sites.carrier.nat.ports: 'radnom' is not among the port assignments; "
        "did you mean random?",
    ),
    ("hairpins", "harpins", "8: sites.carrier.nat.harpins: unknown key; did you mean hairpins?"),
    (
        "port-restricted",
        "port-restrict",
        "11: sites.home.nat: 'port-restrict' is not among the NAT kinds; "
        "did you mean port-restricted?",
    ),
    (
        'behind = "carrier"',
        'behind = "carier"',
        "12: sites.home.behind: there is no site carier; did you mean carrier?",
    ),
    (
        '"laptop",\n',
        '"nas",\n',
        "16: sites.home.machines[1].name: nas is a machine here too; rename one",
    ),
    (
        '"laptop",\n',
        '"lap top",\n',
        "15: sites.home.machines[0]: 'lap top' is no name; use 1 to 40 letters, digits, - and _",
    ),
    (
        "[sites.carrier]",
        "[sites.bootstrap-7]",
        "7: sites.bootstrap-7: bootstrap-7 is the name of a bootstrap node; choose another; "
        "scenario.bootstraps says how many bootstrap nodes there are",
    ),
    (
        "starts_at_s = 3",
        "starts_at_s = -3",
        "16: sites.home.machines[1].starts_at_s: is negative; use 0 or more",
    ),
    (
        "10.77.0.9",
        "10.78.0.9",
        "16: sites.home.machines[1].address: 10.78.0.9 is no address of the mesh; "
        "use one of 10.77.0.0/16, or leave it out",
    ),
    (
        'ip = "dual"',
        'ip = "6"',
        "16: sites.home.machines[1].address: is IPv4, and here is IPv6 alone; leave it out",
    ),
    (
        '"laptop",\n',
        '{ name = "laptop", address = "10.77.0.9" },\n',
        "16: sites.home.machines[1].address: 10.77.0.9 is the address of laptop, too; "
        "give each machine its own, or leave both out",
    ),
    (
        '"dsl"',
        '"dls"',
        "20: sites.home.link.preset: 'dls' is not among the presets; did you mean dsl?",
    ),
    (
        "loss = 0.01",
        "loss = 1.5",
        "21: sites.home.link.loss: 1.5 is no share; use 0 to 1, as 0.02 for 2 %",
    ),
    (
        "rate_mbps = 1.5",
        "rate_mbps = 0.0001",
        "22: sites.home.link.up.rate_mbps: is less than 8 kbit/s; leave it out for no limit",
    ),
    (
        "mtu = 1400",
        "mtu = 1000",
        "23: sites.home.link.down.mtu: is less than 1280; use 1280 to 65535",
    ),
    (
        "latency_ms = 7",
        "latency_ms = nan",
        "23: sites.home.link.down.latency_ms: is no finite number; use 0 to 60 s",
    ),
    (
        "count = 3",
        "count = 0",
        "26: sites.flat.count: is less than 1; use 1 to 1000",
    ),
    (
        "count = 3",
        "count = 999",
        "26: sites.flat.count: makes 1001 sites in all; use at most 1000",
    ),
    (
        "latency_ms = 7",
        "latency_ms = 1e300",
        "23: sites.home.link.down.latency_ms: is more than 60 s; use 0 to 60 s",
    ),
    (
        "buffer_kb = 30",
        "buffer_kb = 0",
        "22: sites.home.link.up.buffer_kb: is less than one packet of full size; "
        "use 1492 bytes or more",
    ),
    (
        "mtu = 1400",
        "mtu = 1e3",
        f"23: sites.home.link.down.mtu: is a number, not a whole number; {KEYS_OF}",
    ),
    (
        "loss = 0.01",
        "loss = true",
        f"21: sites.home.link.loss: is true or false, not a number; {KEYS_OF}",
    ),
    (
        "[scenario]",
        f'[scenario]\nname = "{"n" * 300}"',
        f"2: scenario.name: '{'n' * 39}…' is no name; use 1 to 40 letters, digits, - and _",
    ),
    (
        "[sites.carrier]",
        f"[sites.{'c' * 300}]",
        f"7: sites.{'c' * 39}…: '{'c' * 39}…' is no name; use 1 to 40 letters, digits, - and _",
    ),
    (
        "starts_at_s = 3",
        "starts_at_s = 20",
        "56: expect.all_pairs_connected_by_s: nas is started only at 20 s; "
        "expect it later, or start that earlier",
    ),
    (
        "between_s = [10, 20]",
        "between_s = [10, 20]\nfor_s = [1, 101]",
        "54: churn[0].for_s[1]: what begins at 20 s lasts until 121 s, beyond the run's 120 s; "
        "let it last shorter or begin earlier, or make scenario.duration_s longer",
    ),
    (
        "lifetime_s = 30",
        "lifetime_s = 0",
        "27: sites.flat.nat[0].lifetime_s: 0 is no span of time; use more than 0",
    ),
    (
        '"udp-blocked"',
        '"upd-blocked"',
        "28: sites.flat.firewall: 'upd-blocked' is not among the firewalls; "
        "did you mean udp-blocked?",
    ),
    (
        'up = "none"',
        'up = "non"',
        "29: sites.flat.link.up: 'non' is not among the one-way lines; did you mean none?",
    ),
    ("at_s = 30", "at_s = -1", "33: faults[0].at_s: is negative; use 0 or more"),
    (
        "at_s = 30",
        "at_s = 120",
        "33: faults[0].at_s: 120 is beyond the run's 120 s; "
        "let it happen earlier, or make scenario.duration_s longer",
    ),
    (
        '"crash"',
        '"crush"',
        "34: faults[0].kind: 'crush' is not among the kinds of fault; did you mean crash?",
    ),
    (
        'target = ["bootstrap-1", "flat"]',
        'target = "loptop"',
        "35: faults[0].target: there is no machine loptop; did you mean laptop?",
    ),
    (
        '["bootstrap-1", "flat"]',
        '["flat", "home"]',
        "35: faults[0].target[1]: there is no machine home; "
        "home is a site; its machines: laptop, nas",
    ),
    (
        'one = ["flat", "carrier"]',
        'one = ["flat", "carrer"]',
        "42: faults[1].one[1]: there is no site carrer, thus no line; did you mean carrier?",
    ),
    (
        'one = ["flat", "carrier"]',
        'one = ["flat", "flat-2"]',
        "42: faults[1].one[1]: flat-2 is here already; name it once",
    ),
    (
        'target = "home"',
        'target = "laptop"',
        "47: faults[2].target: there is no site laptop, thus no line; "
        "laptop is a machine; its site: home",
    ),
    (
        "enters = 0.1",
        "enters = 11",
        "48: faults[2].link.burst_loss.enters: 11 is no share; use 0 to 1, as 0.02 for 2 %",
    ),
    (
        '"nat-reboot"',
        '"nat-rebot"',
        "52: churn[0].kinds[1]: nat-rebot is no kind of fault; did you mean nat-reboot?",
    ),
    (
        "[10, 20]",
        "[20, 10]",
        "53: churn[0].between_s: ends before it begins; write the earlier first",
    ),
    (
        "by_s = 20",
        "by_s = 200",
        "56: expect.all_pairs_connected_by_s: 200 is beyond the run's 120 s; "
        "expect it earlier, or make scenario.duration_s longer",
    ),
    (
        '["laptop", "flat-1"]',
        '["laptop", "flat"]',
        "57: expect.unreachable[0][1]: there is no machine flat; did you mean flat-3?",
    ),
    ('"laptop",\n', '"laptop"\n', "16: is not TOML: Unclosed array; see https://toml.io"),
]


@pytest.mark.parametrize(("old", "new", "line"), REFUSALS)
def test_a_mistake_is_one_line_with_file_line_key_and_remedy(old: str, new: str, line: str) -> None:
    assert GOOD.count(old) >= 1
    with pytest.raises(ConfigError) as caught:
        parse_scenario(GOOD.replace(old, new, 1), PATH)
    assert str(caught.value) == f"story.toml:{line}"


def test_a_file_that_is_too_large_or_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is larger than"):
        parse_scenario("#" * (SCENARIO_SIZE_MAX_BYTES + 1), PATH)
    with pytest.raises(ConfigError, match=r"No such file or directory; give the file's own"):
        load_scenario(tmp_path / "none.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# one\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.toml:2: is not UTF-8"):
        load_scenario(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "marked.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_scenario(path).duration_s == 120
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("120", "0").encode())
    with pytest.raises(ConfigError, match=r"marked\.toml:2: scenario\.duration_s"):
        load_scenario(path)


def test_a_name_that_is_none_is_said_so_whatever_its_length() -> None:
    with pytest.raises(ConfigError, match=r"^scenario '': there is none of this name"):
        find_scenario("")
    with pytest.raises(ConfigError, match=f"^scenario {'x' * 39}…: there is none"):
        find_scenario("x" * 300)


def test_a_count_cannot_make_more_than_there_is_room_for() -> None:
    text = GOOD.replace("count = 3", "count = 1000000000000")
    with pytest.raises(
        ConfigError, match=r":26: sites.flat.count: is more than 1000; use 1 to 1000"
    ):
        parse_scenario(text, PATH)
    machines = ", ".join(f'"m{number}"' for number in range(400))
    text = GOOD.replace("count = 3", f"count = 3\nmachines = [{machines}]")
    with pytest.raises(ConfigError, match=r":27: sites.flat.machines: 1200 machines"):
        parse_scenario(text, PATH)


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 20), st.text(max_size=12))
def test_a_mutated_file_is_read_or_refused(at: int, length: int, replacement: str) -> None:
    try:
        parse_scenario(GOOD[:at] + replacement + GOOD[at + length :], PATH)
    except ConfigError as error:
        assert "\n" not in str(error)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_scenario(text, PATH)


# Where things are


KEYS = st.one_of(
    st.text("abz_-09", min_size=1, max_size=4),
    st.sampled_from(['"a.b"', "'c d'", '"\\u00e9 #"', '"]="', '""', '"\\"q"']),
)
STRINGS = st.sampled_from(
    [
        '"x"',
        '"# no comment"',
        "'\\'",
        '"\\""',
        '"""\na = 1\n[b]\n"""',
        '"""\\"""""',
        "'''\n]\n'''",
        '""',
        '""""""',
    ]
)
SCALARS = st.sampled_from(["1", "-1.5e3", "true", "nan", "1979-05-27 07:32:00", "0x1f"])
SPACES = st.sampled_from(["", " ", "\n", '\n  # a comment ] } "\n', "\r\n"])


def _inline(children: Any) -> Any:
    arrays = st.lists(st.tuples(SPACES, children, SPACES), max_size=3).map(
        lambda items: "[" + ",".join("".join(item) for item in items) + "]"
    )
    tables = st.lists(st.tuples(KEYS, children), max_size=3, unique_by=lambda item: item[0]).map(
        lambda items: "{ " + ", ".join(f"{key} = {value}" for key, value in items) + " }"
    )
    return st.one_of(arrays, tables)


VALUES = st.recursive(st.one_of(STRINGS, SCALARS), _inline, max_leaves=6)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[Place, int]]:
    """A file, and where each of its own keys is."""
    text, lines = "", {}
    elements: dict[str, int] = {}
    for number in range(draw(st.integers(0, 5))):
        text += draw(SPACES).removesuffix("\r\n") + "\n"
        is_element = draw(st.booleans())
        name = draw(st.sampled_from(["t", "u"])) if is_element else f"s{number}"
        place: Place = (name,)
        here = text.count("\n") + 1
        if is_element:
            place = (name, elements.get(name, 0))
            elements[name] = place[1] + 1
        lines[place] = here
        text += f"[[ {name} ]]\n" if is_element else f"[{name}] # comment\n"
        for key in draw(st.lists(KEYS, max_size=4, unique=True)):
            text += draw(SPACES)
            (parsed,) = tomllib.loads(f"{key} = 1")
            lines[(*place, parsed)] = text.count("\n") + 1
            text += f"{key} = {draw(VALUES)}\n"
    return text, lines


@settings(max_examples=300)
@given(documents())
def test_every_key_has_its_line(document: tuple[str, dict[Place, int]]) -> None:
    text, lines = document
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # two ways to write one key
    found = TomlLines(text)
    assert {place: found.line_of(place) for place in lines} == lines


def test_lines_within_arrays_and_inline_tables_are_found() -> None:
    text = 'a.b = [\n  1,\n  { c = 2 }, # ]\n  """\n"""\n]\n[d.e]\nf = 1\n[[d.g]]\n[d.g.h]\ni = 1\n'
    found = TomlLines(text)
    places: list[tuple[Place, int]] = [
        (("a", "b"), 1),
        (("a", "b", 0), 2),
        (("a", "b", 1, "c"), 3),
        (("a", "b", 2), 4),
        (("d", "e", "f"), 8),
        (("d", "g", 0), 9),
        (("d", "g", 0, "h", "i"), 11),
        (("d", "e", "missing"), 7),
        (("nowhere",), 1),
    ]
    for place, line in places:
        assert found.line_of(place) == line, place


@given(st.text("[]{}=\"'#\n ,.a\\", max_size=60))
def test_what_is_no_toml_ends(text: str) -> None:
    assert TomlLines(text).line_of(("a", 0)) >= 1


# Those that come with the program


@pytest.mark.parametrize("name", scenario_names())
def test_a_shipped_scenario_tells_its_story_and_has_time_for_it(name: str) -> None:
    path = find_scenario(name)
    first, second, rest = path.read_text("utf-8").split("\n", 2)
    assert first.startswith("# ")
    assert second.startswith("# ")
    assert not rest.startswith("#")
    scenario = load_scenario(path)
    assert scenario.name == name
    assert scenario.pairs
    assert 60 <= scenario.duration_s <= 180
    for seed in range(20):
        planned = plan_faults(scenario, Entropy(seed))
        over_s = [min(fault.ends_at_s, scenario.duration_s) for fault in planned]
        lasting = [at_s for at_s in over_s if at_s < scenario.duration_s]
        if lasting:
            healed_within_s = scenario.expect.healed_within_s
            assert healed_within_s is not None
            assert max(lasting) + healed_within_s <= scenario.duration_s


def test_the_stories_that_must_be_there_are_there() -> None:
    assert set(scenario_names()) >= {
        "two-homes",
        "two-homes-one-nat",
        "cgnat",
        "cafe-to-home",
        "roaming-phone",
        "laptop-sleep",
        "partition-and-heal",
        "bootstrap-loss",
        "address-changes",
        "new-prefix",
        "lossy-satellite",
        "udp-blocked",
        "community-20",
        "community-100",
        "community-1000",
        "dual-stack",
        "churn",
        "swarm",
    }
    assert len(load_scenario(find_scenario("community-20")).machines) == 20
    assert len(load_scenario(find_scenario("swarm")).machines) == 5


def test_a_scenario_is_found_by_name_or_path() -> None:
    assert find_scenario("swarm").is_file()
    assert find_scenario("mine.toml") == Path("mine.toml")
    assert find_scenario("./mine") == Path("mine")
    with pytest.raises(ConfigError) as caught:
        find_scenario("swram")
    assert str(caught.value) == (
        "scenario swram: there is none of this name; did you mean swarm?, "
        "or give a file, as ./mine.toml"
    )


# The document

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "scenarios.md").read_text("utf-8")


def test_the_example_of_the_document_and_its_refusals_are_true() -> None:
    example = PAGE.split("```toml\n")[1].split("```")[0]
    assert len(parse_scenario(example, PATH).machines) == 5
    shown = PAGE.split("```console\n")[1].split("```")[0].splitlines()
    changes = [('"dsl"', '"dls"'), ("at_s = 30", "at_s = 130"), ("bootstrap-1", "bootstrap-2")]
    for (old, new), line in zip(changes, shown, strict=True):
        with pytest.raises(ConfigError) as caught:
            parse_scenario(example.replace(old, new), PATH)
        assert str(caught.value) == line


def test_the_document_names_all_there_is() -> None:
    for name in (*scenario_names(), *NAT_KINDS, *LINE_PRESETS, *FAULT_KINDS):
        assert f"\n| `{name}` |" in PAGE, name


def test_lifetimes_before_an_answer_and_gaps_of_moves_are_read() -> None:
    text = """
[scenario]
duration_s = 60
[sites.home]
nat = { lifetime_unreplied_s = 20 }
machines = ["phone"]
[sites.cafe]
[[faults]]
at_s = 10
kind = "move"
target = "phone"
to = "cafe"
for_s = 9
gap_s = 2.5
"""
    scenario = parse_scenario(text, PATH)
    assert scenario.sites[0].nats == (NatModel(lifetime_unreplied_s=20),)
    [move] = scenario.faults
    assert move == Move(at_s=10, target="phone", to="cafe", for_s=9, gap_s=2.5)
    assert move.ends_at_s == 21.5
    with pytest.raises(ConfigError, match=r"story\.toml:5: .*lifetime_unreplied_s: 0 is no span"):
        parse_scenario(text.replace("lifetime_unreplied_s = 20", "lifetime_unreplied_s = 0"), PATH)
