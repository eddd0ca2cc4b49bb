"""``wice sim new`` and ``from-config``: a mesh of one's own as a scenario, or one line why not."""

import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sims.commands.command import sim
from sims.configs.scenario import scenario_of
from sims.configs.sites import parse_site
from sims.files.scenario_file import load_scenario, parse_scenario
from sims.model.faults import Crash
from sims.model.presets import LINE_PRESETS, SITE_PRESETS
from sims.model.scenario import Expectation, Scenario
from sims.model.scenario_check import check_scenario
from wice.errors import ConfigError
from wice.keys import PrivateKey

NODES = (
    "12D3KooWAEwmUKM1wYsuDZMX3vjb9iqumJEUVJsfaJmfW8KUgWjU",
    "12D3KooWRX3xZbFxQeMRr19vaDZgPaK6ZNS1p7bQADqUhzS3L3ZH",
)
NAMES = ("alice", "bob", "carol", "dave")
PRIVATE = {name: PrivateKey(bytes([number] * 32)) for number, name in enumerate(NAMES, start=1)}
PUBLIC = {name: key.public_key() for name, key in PRIVATE.items()}
ADDRESSES = {name: f"10.77.0.{number}" for number, name in enumerate(NAMES, start=1)}

Write = Callable[..., list[Path]]


def peer(name: str, *, called: str | None = None, allowed: str | None = None) -> str:
    said = f'name = "{name if called is None else called}"\n' if called != "" else ""
    return (
        f'\n[[interfaces.wg0.peers]]\n{said}public_key = "{PUBLIC[name]}"\n'
        f'allowed_ips = ["{allowed or ADDRESSES[name] + "/32"}"]\n'
    )


def config(name: str, *peers: str, ice: str = "", more: str = "", node: str = NODES[0]) -> str:
    """peers: names, or whole tables. more: of the interface."""
    tables = "".join(each if "\n" in each else peer(each) for each in peers)
    return f"""\
[overlay]
community = "harbour"
bootstrap = ["/ip4/203.0.113.10/tcp/4001/p2p/{node}"]

[ice]
{ice}

[interfaces.wg0]
private_key_file = "wg0.key"
addresses = ["{ADDRESSES[name]}/24"]
{more}
{tables}"""


BOOTSTRAP = '[overlay]\ncommunity = "harbour"\n'


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes configurations by name and gives the paths."""
    monkeypatch.chdir(tmp_path)

    def write(**texts: str) -> list[Path]:
        for name, text in texts.items():
            Path(f"{name}.toml").write_text(text)
        return [Path(f"{name}.toml") for name in texts]

    return write


def made(paths: list[Path], *sites: str) -> Scenario:
    return scenario_of(paths, [parse_site(text) for text in sites], "mesh").scenario


def otherwise(paths: list[Path], *sites: str) -> tuple[str, ...]:
    return scenario_of(paths, [parse_site(text) for text in sites], "mesh").otherwise


def refusal(paths: list[Path], *sites: str) -> str:
    with pytest.raises(ConfigError) as caught:
        made(paths, *sites)
    return str(caught.value)


def everybody(names: tuple[str, ...] = NAMES) -> dict[str, str]:
    return {name: config(name, *(other for other in names if other != name)) for name in names}


def known(scenario: Scenario) -> dict[str, tuple[str, ...]]:
    return {machine.name: scenario.peers_of(machine.name) for machine in scenario.machines}


# What becomes of a mesh


def test_a_mesh_whose_peers_all_know_each_other(write: Write) -> None:
    scenario = made(write(**everybody()), "alice,bob=home,dsl", "carol=mobile")
    assert [(site.name, [m.name for m in site.machines]) for site in scenario.sites] == [
        ("home-1", ["alice", "bob"]),
        ("mobile", ["carol"]),
        ("home-2", ["dave"]),
    ]
    dsl, mobile, fibre = (site.line for site in scenario.sites)
    assert (dsl, mobile, fibre) == tuple(LINE_PRESETS[name] for name in ("dsl", "4g", "fibre"))
    assert len(scenario.sites[1].nats) == 2, "a carrier's NAT, too"
    assert {m.name: m.tunnel_address for m in scenario.machines} == ADDRESSES
    assert all(machine.peers is None for machine in scenario.machines)
    assert (scenario.bootstraps, scenario.has_relay, scenario.ip_versions) == (1, True, (4,))
    assert scenario.expect.all_pairs_connected_by_s is not None


def test_who_knows_whom_is_kept(write: Write) -> None:
    hub = {"alice": config("alice", "bob", "carol", "dave")}
    spokes = {name: config(name, "alice") for name in NAMES[1:]}
    scenario = made(write(**hub, **spokes))
    assert known(scenario) == {
        "alice": ("bob", "carol", "dave"),
        **dict.fromkeys(("bob", "carol", "dave"), ("alice",)),
    }


@pytest.mark.parametrize("called", ["", "somebody"])
def test_two_configurations_need_neither_keys_nor_names(write: Write, called: str) -> None:
    alice = config("alice", peer("bob", called=called))
    bob = config("bob", peer("alice", called=called))
    assert known(made(write(alice=alice, bob=bob))) == {"alice": ("bob",), "bob": ("alice",)}


def test_keys_that_are_there_say_who_is_who(write: Write, tmp_path: Path) -> None:
    nameless = {
        name: config(name, peer(other, called=""))
        for name, other in (
            ("alice", "bob"),
            ("bob", "alice"),
            ("carol", "dave"),
            ("dave", "carol"),
        )
    }
    paths = write(**nameless)
    assert "its public key is not known" in refusal(paths)
    for name, text in nameless.items():
        Path(f"{name}.toml").write_text(text.replace("wg0.key", f"{name}.key"))
        key = tmp_path / f"{name}.key"
        key.touch(mode=0o600)
        key.write_text(PRIVATE[name].reveal_base64())
    assert known(made(paths)) == {
        "alice": ("bob",),
        "bob": ("alice",),
        "carol": ("dave",),
        "dave": ("carol",),
    }


def test_a_peer_without_configuration_takes_part_where_its_site_is_said(write: Write) -> None:
    paths = write(alice=config("alice", "bob", "carol"), bob=config("bob", "alice"))
    assert refusal(paths) == (
        "alice.toml:20: interfaces.wg0.peers[1].public_key: is the key of carol, whose "
        "configuration is not here; add it to the command, or say where carol is: "
        "--site carol=home"
    )
    scenario = made(paths, "carol=cloud")
    assert known(scenario) == {"carol": ("alice",), "alice": ("carol", "bob"), "bob": ("alice",)}
    assert {m.name: m.tunnel_address for m in scenario.machines}["carol"] == ADDRESSES["carol"]


def test_a_file_with_the_usual_name_is_named_as_its_directory(write: Write, tmp_path: Path) -> None:
    paths = []
    for name, text in everybody(("alice", "bob")).items():
        (tmp_path / name).mkdir()
        paths.append(Path(name, "wice.toml"))
        paths[-1].write_text(text)
    assert list(known(made(paths))) == ["alice", "bob"]


def test_bootstrap_nodes_are_counted_and_say_whether_they_relay(write: Write) -> None:
    mesh = {"alice": config("alice", "bob"), "bob": config("bob", "alice", node=NODES[1])}
    paths = write(**mesh)
    assert made(paths).bootstraps == 2
    assert "each machine has all 2 bootstrap nodes, not only its own" in otherwise(paths)
    assert any("bootstrap nodes relay" in sentence for sentence in otherwise(paths))
    with_node = write(**mesh, node=BOOTSTRAP)
    assert not made(with_node).has_relay
    with_relay = write(**mesh, node=BOOTSTRAP + "[relay]\nenabled = true\n")
    assert made(with_relay).has_relay
    assert not any("bootstrap nodes relay" in sentence for sentence in otherwise(with_relay))


def test_who_wants_no_relays_gets_none(write: Write) -> None:
    mesh = {name: config(name, ice="relays = false") for name in ("alice", "bob")}
    for name, other in (("alice", "bob"), ("bob", "alice")):
        mesh[name] += peer(other)
    assert not made(write(**mesh)).has_relay
    mesh["bob"] = config("bob", "alice")
    assert made(write(**mesh)).has_relay
    assert "[ice] relays is true for all (alice)" in otherwise(write(**mesh))


def test_bootstrap_nodes_say_which_versions_of_ip_there_are(write: Write) -> None:
    mesh = everybody(("alice", "bob"))
    six = {name: text.replace("ip4/203.0.113.10", "ip6/2001:db8::1") for name, text in mesh.items()}
    scenario = made(write(**six))
    assert scenario.ip_versions == (6,)
    assert [machine.tunnel_address for machine in scenario.machines] == [None, None]
    assert made(write(**{**mesh, "bob": six["bob"]})).ip_versions == (4, 6)


def test_a_machine_alone_is_told_that_it_has_nobody_to_reach(write: Write) -> None:
    paths = write(alice=config("alice"))
    assert "this machine has nobody to reach" in "\n".join(otherwise(paths))
    assert "between any two" not in "\n".join(otherwise(paths))
    done = invoke("from-config", *map(str, paths))
    assert done.stderr.startswith("mesh: 1 machine, 1 bootstrap node")


def test_nothing_is_expected_of_a_mesh_that_nothing_goes_through(write: Write) -> None:
    paths = write(**everybody(("alice", "bob")))
    assert made(paths, "alice=udp-blocked", "bob=udp-blocked").expect == Expectation()
    assert any("nothing goes through" in each for each in otherwise(paths, "bob=udp-blocked"))
    assert not any("nothing goes through" in each for each in otherwise(paths, "bob=symmetric"))


@pytest.mark.parametrize("kind", SITE_PRESETS)
def test_every_kind_of_site_makes_a_scenario(write: Write, kind: str) -> None:
    check_scenario(made(write(**everybody(("alice", "bob"))), f"alice={kind}"))


def test_several_interfaces_are_one_with_the_peers_of_all(write: Write) -> None:
    other = config("alice", "carol").partition("[interfaces.wg0]")[2]
    second = ("[interfaces.wg0]" + other).replace("wg0", "wg1").replace("10.77.0.1", "10.78.0.1")
    hidden = PrivateKey(bytes([9] * 32)).public_key()
    paths = write(
        alice=config("alice", "bob") + second,
        bob=config("bob", "alice"),
        carol=config("carol", "alice").replace(str(PUBLIC["alice"]), str(hidden)),
    )
    assert known(made(paths)) == {"alice": ("bob", "carol"), "bob": ("alice",), "carol": ("alice",)}
    assert "a machine has one interface, with the peers of all (alice)" in otherwise(paths)


def test_a_large_mesh_of_strangers_to_most_is_read_at_once(write: Write) -> None:
    """A ring of 200, without keys."""
    keys = [PrivateKey(bytes([number, 7] * 16)).public_key() for number in range(200)]
    ring = {}
    for number in range(200):
        text = config("alice").replace("10.77.0.1/24", f"10.77.1.{number + 1}/16")
        for other in ((number - 1) % 200, (number + 1) % 200):
            text += peer("bob", called=f"pc-{other}").replace(str(PUBLIC["bob"]), str(keys[other]))
            text = text.replace('["10.77.0.2/32"]', f'["10.77.1.{other + 1}/32"]')
        ring[f"pc-{number}"] = text
    scenario = made(write(**ring))
    assert scenario.peers_of("pc-0") == ("pc-1", "pc-199")
    assert len(scenario.pairs) == 400


# What cannot be simulated is said


@pytest.mark.parametrize(
    ("more", "ice", "sentence"),
    [
        ("mtu = 1300", "", "mtu is 1408, not 1300 (alice)"),
        ("listen_port = 7000", "", "listen_port is 51820, not 7000 (alice)"),
        ("", 'candidates = "relay"', '[ice] candidates is "all", not "relay" (alice)'),
        ("", 'interfaces = ["eth*"]', "a machine uses its one network, whatever [ice] interfaces"),
        ("", 'stun = ["stun:192.0.2.1"]', "no STUN servers are asked but bootstrap nodes"),
    ],
)
def test_what_is_not_simulated_is_a_sentence(
    write: Write, more: str, ice: str, sentence: str
) -> None:
    mesh = {**everybody(("alice", "bob")), "alice": config("alice", "bob", more=more, ice=ice)}
    (said,) = [each for each in otherwise(write(**mesh)) if "bootstrap nodes relay" not in each]
    assert said.startswith(sentence)


def test_what_several_have_is_one_sentence(write: Write) -> None:
    mesh = {
        name: config(name, *(other for other in NAMES if other != name), more="mtu = 1300")
        for name in NAMES
    }
    assert "mtu is 1408, not 1300 (alice, bob, carol, dave)" in otherwise(write(**mesh))


def test_addresses_of_other_networks_are_replaced(write: Write) -> None:
    paths = write(**everybody(("alice", "bob")))
    for path in paths:
        path.write_text(path.read_text().replace("10.77.0.", "192.168.9."))
    assert [machine.tunnel_address for machine in made(paths).machines] == [None, None]
    said = "addresses inside of the tunnel are out of 10.77.0.0/16 (alice, bob)"
    assert said in otherwise(paths)


def test_addresses_are_of_the_one_version_that_there_is(write: Write) -> None:
    mesh = everybody(("alice", "bob"))
    six = {name: text.replace("ip4/203.0.113.10", "ip6/2001:db8::1") for name, text in mesh.items()}
    said = "addresses inside of the tunnel are out of fd77::/64 (alice, bob)"
    assert said in otherwise(write(**six))


def test_networks_behind_peers_are_not_simulated(write: Write) -> None:
    mesh = everybody(("alice", "bob"))
    said = "allowed_ips is a peer's own address, and no network is behind it (alice)"
    assert said not in otherwise(write(**mesh))
    mesh["alice"] = config("alice", peer("bob", allowed='10.77.0.2/32", "192.168.7.0/24'))
    assert said in otherwise(write(**mesh))


def test_a_peer_whose_address_is_not_let_in_is_said(write: Write) -> None:
    mesh = everybody(("alice", "bob"))
    mesh["alice"] = config("alice", peer("bob", allowed="10.77.0.22/32"))
    assert (
        "bob gets packets of alice, though 10.77.0.2 is not in alice.toml:16: "
        "interfaces.wg0.peers[0].allowed_ips" in otherwise(write(**mesh))
    )


def test_preshared_keys_need_not_be_there(write: Write) -> None:
    mesh = everybody(("alice", "bob"))
    mesh["alice"] += 'preshared_key_file = "bob.psk"\n'
    assert "there are no preshared keys (alice)" in otherwise(write(**mesh))


# Mistakes


ALICE, BOB = config("alice", "bob"), config("bob", "alice")

MISTAKES = [
    (
        {"alice": ALICE, "bob": config("bob")},
        "alice.toml:15: interfaces.wg0.peers[0].public_key: bob, whose key this is, has no peer",
    ),
    (
        {"alice": ALICE, "bob": config("bob", "carol"), "carol": config("carol", "bob")},
        "alice.toml:15: interfaces.wg0.peers[0].public_key: bob, whose key this is, has no peer "
        "alice, so that neither gets through to the other; add alice to bob.toml, or remove this",
    ),
    (
        {"alice": ALICE, "bob": BOB.replace("harbour", "harbor")},
        "bob.toml:2: overlay.community: is 'harbor', and 'harbour' in alice.toml: the two do not "
        "find each other; write the same in both",
    ),
    (
        {"alice": ALICE, "bob": BOB.replace("addresses =", "adresses =")},
        "bob.toml:10: interfaces.wg0.adresses: unknown key; did you mean addresses?",
    ),
    (
        {"alice": ALICE, "bob": BOB.replace("/24", "/240")},
        "bob.toml:10: interfaces.wg0.addresses[0]: '10.77.0.2/240'",
    ),
    (
        {"alice": ALICE, "bob": BOB.replace("/tcp/", "/udp/")},
        "bob.toml:3: overlay.bootstrap[0]: ",
    ),
    (
        {"alice": ALICE, "bob": BOB.replace("bootstrap =", "listen =").replace(NODES[0], "x")},
        "bob.toml:3: overlay.listen[0]: ",
    ),
    (
        {"alice": ALICE, "bob": BOB + "="},
        "bob.toml:17: is not TOML: Invalid statement; see https://toml.io",
    ),
    (
        {
            "alice": ALICE,
            "bob": BOB,
            "carol": config("carol", peer("bob"), peer("dave", called="alice")),
        },
        "alice.toml:8: interfaces.wg0: others have 2 public keys under the name alice, as "
        "bob.toml:15: interfaces.wg0.peers[0].public_key and "
        "carol.toml:20: interfaces.wg0.peers[1].public_key; write the one",
    ),
    (
        {"alice": ALICE, "bob": BOB.replace(ADDRESSES["bob"], ADDRESSES["alice"])},
        "bob.toml:10: interfaces.wg0.addresses[0]: 10.77.0.1 is the address of alice, too; give "
        "each its own, here or in alice.toml",
    ),
    ({"bootstrap": BOOTSTRAP}, "bootstrap.toml: has no interfaces, as that of a bootstrap node"),
    ({"alice b": ALICE, "bob": BOB}, "alice b.toml: 'alice b' is no name for its machine; rename"),
    (
        {"bootstrap-1": ALICE, "bob": BOB},
        "bootstrap-1.toml: 'bootstrap-1' is no name for its machine",
    ),
]


@pytest.mark.parametrize(("mesh", "line"), MISTAKES)
def test_a_mistake_is_one_line_with_its_place(
    write: Write, mesh: dict[str, str], line: str
) -> None:
    said = refusal(write(**mesh))
    assert line in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "bob.toml: is no regular file; give the configuration's own path"),
        (os.mkdir, "bob.toml: is a directory; give the file in it: bob.toml/wice.toml"),
        (lambda _: None, "bob.toml: cannot be read: No such file or directory; give"),
    ],
)
def test_what_is_no_file_is_refused(write: Write, make: Callable[[str], None], why: str) -> None:
    paths = write(alice=ALICE)
    make("bob.toml")
    assert refusal([*paths, Path("bob.toml")]).startswith(why)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.integers(0, len(ALICE) - 1), st.integers(0, 20), st.text(max_size=12))
def test_a_mutated_file_makes_a_scenario_or_one_line(
    write: Write, at: int, length: int, replacement: str
) -> None:
    paths = write(alice=ALICE[:at] + replacement + ALICE[at + length :], bob=BOB)
    try:
        made(paths)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1


def test_a_file_given_twice_is_refused(write: Write) -> None:
    paths = write(alice=ALICE, bob=BOB)
    assert refusal([*paths, paths[0]]) == "alice.toml: is named twice; name it once"


def test_two_files_of_one_name_are_refused(write: Write, tmp_path: Path) -> None:
    paths = write(alice=ALICE, bob=BOB)
    other = tmp_path / "copies" / "alice.toml"
    other.parent.mkdir()
    other.write_text(paths[1].read_text())
    assert "would be alice, as alice.toml is; rename one" in refusal([*paths, other])


def test_one_key_for_two_is_refused(write: Write, tmp_path: Path) -> None:
    key = tmp_path / "wg0.key"
    key.touch(mode=0o600)
    key.write_text(PRIVATE["alice"].reveal_base64())
    paths = write(alice=ALICE, bob=config("bob", "carol"))
    assert refusal(paths).startswith(
        "bob.toml:9: interfaces.wg0.private_key_file: holds the key of alice, too"
    )


def test_an_old_key_is_refused(write: Write, tmp_path: Path) -> None:
    key = tmp_path / "alice.key"
    key.touch(mode=0o600)
    key.write_text(PRIVATE["dave"].reveal_base64())
    paths = write(alice=ALICE.replace("wg0.key", "alice.key"), bob=BOB)
    assert refusal(paths) == (
        "bob.toml:15: interfaces.wg0.peers[0].public_key: is said to be the key of alice, and "
        "alice.toml has another; copy what `wice pubkey` prints there, or rename the peer"
    )


@pytest.mark.parametrize(
    ("site", "why"),
    [
        ("alice", "does not say who is where; write NAME[,NAME…]=KIND[,LINE]"),
        ("alice=", "does not say who is where"),
        (",bob=home", "does not say who is where"),
        ("alice=hoem", "'hoem' is no kind of site; use home, mobile, office, cafe, server, "),
        ("alice=home,3g", "'3g' is no line; use one of lan, fibre, dsl, wifi, 4g, geo"),
        ("alice=home,", "'' is no line"),
        ("alcie=home", "no configuration is of alcie, nor has a peer of that name; did you mean"),
        ("alice,alice=home", "alice has a site already; name it once"),
        ("alice,bob=cloud", "such a machine has its public address to itself; give each"),
    ],
)
def test_a_site_that_cannot_be_is_refused(write: Write, site: str, why: str) -> None:
    said = refusal(write(alice=ALICE, bob=BOB), site)
    assert said.startswith(f"--site {site[:5]}")
    assert why in said


# The verbs


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(sim, arguments, catch_exceptions=False)


def uncommented(text: str) -> str:
    """With what is there to be tried."""
    return re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)


def test_from_config_writes_a_scenario_and_says_how_to_run_it(write: Write) -> None:
    write(alice=ALICE, bob=BOB)
    done = invoke("from-config", "alice.toml", "bob.toml", "--site", "bob=mobile", "-o", "our.toml")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "our.toml: 2 machines, 1 bootstrap node that relays",
        "  mobile: bob; cgnat, 4g",
        "  home: alice; port-restricted, fibre",
        "in the simulator bootstrap nodes relay; no configuration of theirs says whether they do",
        "run it: wice sim run our.toml --html our.html",
    ]
    scenario = load_scenario(Path("our.toml"))
    assert (
        scenario
        == scenario_of(
            [Path("alice.toml"), Path("bob.toml")], [parse_site("bob=mobile")], "our"
        ).scenario
    )
    text = Path("our.toml").read_text()
    assert "# - bootstrap nodes relay; no configuration" in text
    assert isinstance(parse_scenario(uncommented(text), Path("our.toml")).faults[0], Crash)


def test_from_config_writes_to_standard_output_and_talks_aside(write: Write) -> None:
    write(alice=ALICE, bob=BOB)
    done = invoke("from-config", "alice.toml", "bob.toml")
    assert parse_scenario(done.stdout, Path("mesh.toml")).name == "mesh"
    assert "2 machines" in done.stderr


def test_many_files_are_not_all_named(write: Write) -> None:
    nodes = {f"node-{number}": BOOTSTRAP for number in range(20)}
    paths = write(alice=ALICE, bob=BOB, **nodes)
    done = invoke("from-config", *map(str, paths), "-o", "our.toml")
    assert done.stdout.startswith("our.toml: 2 machines, 16 bootstrap nodes that do not relay\n")
    assert "in the simulator each machine has all 16 bootstrap nodes, not only" in done.stdout
    assert "in the simulator there are 16 bootstrap nodes, not 20" in done.stdout
    first, *_ = Path("our.toml").read_text().splitlines()
    assert first.endswith(
        "alice.toml, bob.toml, node-0.toml, node-1.toml, node-2.toml, node-3.toml and 16 more."
    )


def test_names_of_files_break_neither_the_scenario_nor_a_terminal(write: Write) -> None:
    write(alice=ALICE, bob=BOB)
    nodes = [Path(os.fsdecode(name)) for name in (b"a\n[b]\x1b[31m.toml", b"no\xff.toml")]
    for node in nodes:
        node.write_text(BOOTSTRAP + "[relay]\nenabled = true\nallocations = 9\n")
    Path("\udcff").mkdir()
    Path("bob.toml").rename(Path("\udcff", "bob.toml"))
    paths = ["alice.toml", "\udcff/bob.toml", *map(str, nodes)]
    done = invoke("from-config", *paths, "-o", "our.toml")
    assert done.exit_code == 0
    assert "(a [b]\\x1b[31m, no\\udcff)" in done.stdout
    assert load_scenario(Path("our.toml")).bootstraps == 2


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_no_configuration_is_overwritten_even_by_force(
    write: Write, link: Callable[[str, str], None] | None
) -> None:
    write(alice=ALICE, bob=BOB)
    if link is not None:
        link("alice.toml", "our.toml")
    output = "our.toml" if link else "alice.toml"
    with pytest.raises(ConfigError, match=rf"{output}: is the configuration alice.toml; name ano"):
        invoke("from-config", "alice.toml", "bob.toml", "-o", output, "--force")
    assert Path("alice.toml").read_text() == ALICE


def test_a_link_to_nowhere_is_there_too(write: Write) -> None:
    write(alice=ALICE, bob=BOB)
    Path("our.toml").symlink_to("elsewhere.toml")
    with pytest.raises(ConfigError, match="is there already"):
        invoke("from-config", "alice.toml", "bob.toml", "-o", "our.toml")
    assert not Path("elsewhere.toml").exists()


def test_no_private_key_is_copied(write: Write, tmp_path: Path) -> None:
    key = tmp_path / "wg0.key"
    key.touch(mode=0o600)
    key.write_text(PRIVATE["alice"].reveal_base64())
    write(alice=ALICE, bob=BOB.replace("wg0.key", "none.key"))
    done = invoke("from-config", "alice.toml", "bob.toml")
    assert done.exit_code == 0
    for secret in (PRIVATE["alice"].reveal_base64(), *map(str, PUBLIC.values())):
        assert secret not in done.output


def test_what_is_there_is_overwritten_only_by_force(write: Write) -> None:
    write(alice=ALICE, bob=BOB)
    for verb in (["from-config", "alice.toml", "bob.toml", "-o"], ["new"]):
        Path("our.toml").write_text("precious")
        with pytest.raises(ConfigError, match=r"our.toml: is there already; .* --force"):
            invoke(*verb, "our.toml")
        assert Path("our.toml").read_text() == "precious"
        assert invoke(*verb, "our.toml", "--force").exit_code == 0
        load_scenario(Path("our.toml"))


def test_a_disk_that_is_full_loses_nothing_that_was_there(write: Write) -> None:
    write(alice=ALICE, bob=BOB)
    Path("our.toml").write_text("precious")
    Path("our.toml").chmod(0o640)
    Path("link.toml").symlink_to("our.toml")
    before = sorted(Path().iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        done = invoke("new", "our.toml", "--force")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.exit_code == 1
    assert done.stderr == "wice: our.toml cannot be written: File too large\n"
    assert Path("our.toml").read_text() == "precious"
    assert sorted(Path().iterdir()) == before

    assert invoke("new", "link.toml", "--force").exit_code == 0
    assert Path("link.toml").is_symlink()
    assert load_scenario(Path("our.toml")).faults
    assert Path("our.toml").stat().st_mode & 0o777 == 0o640
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("count", [12, 31])
def test_a_large_mesh_is_summed_up_and_says_what_makes_it_fast(write: Write, count: int) -> None:
    names = [f"peer{number}" for number in range(count)]
    keys = {name: PrivateKey(bytes([number + 1] * 32)) for number, name in enumerate(names)}
    tables = {
        name: f'\n[[interfaces.wg0.peers]]\nname = "{name}"\npublic_key = "{key.public_key()}"\n'
        for name, key in keys.items()
    }
    shell = config("alice").replace('addresses = ["10.77.0.1/24"]', "")
    for name in names:
        others = "".join(table for other, table in tables.items() if other != name)
        write(**{name: shell + others})
    summary = invoke("from-config", *(f"{name}.toml" for name in names)).stderr.splitlines()
    if count == 12:
        assert [line.split(":")[0] for line in summary[1:13]] == [
            f"  home-{number}" for number in range(1, 13)
        ]
        assert not any("--overlay" in line for line in summary)
    else:
        assert summary[1].startswith("  31 × home: peer0, peer1, ")
        assert summary[1].endswith(" more; port-restricted, fibre")
        assert summary[-1] == (
            "930 pairs may take longer than real time; where the overlay is not the question, add "
            "--overlay in-process"
        )


def test_new_writes_a_scenario_that_runs_as_it_is_and_with_what_it_offers(write: Write) -> None:
    done = invoke("new")
    assert done.stdout == ("mesh.toml is there; run it: wice sim run mesh.toml --html mesh.html\n")
    text = Path("mesh.toml").read_text()
    assert "wice sim swarm ./mesh.toml" in text
    assert load_scenario(Path("mesh.toml")).faults
    offered = parse_scenario(uncommented(text), Path("mesh.toml"))
    assert (len(offered.faults), len(offered.churn)) == (3, 1)
    assert invoke("new", "-").stdout == text
    invoke("new", "street.toml")
    assert "./street.toml" in Path("street.toml").read_text()


@pytest.mark.parametrize("name", ["our mesh.toml", "mesh", "mesh.html", "mesh.to\nml", "-a.toml"])
@pytest.mark.parametrize("verb", [["new", "--"], ["from-config", "alice.toml", "bob.toml", "-o"]])
def test_a_file_whose_name_no_scenario_can_have_is_refused(
    write: Write, verb: list[str], name: str
) -> None:
    write(alice=ALICE, bob=BOB)
    with pytest.raises(ConfigError, match=r"is no name of a scenario's file; use 1 to 40"):
        invoke(*verb, name)
    assert not Path(name).exists()
