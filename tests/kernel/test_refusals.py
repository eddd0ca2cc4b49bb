"""What the kernel engine cannot do is said in one line, with its place and the remedy."""

from dataclasses import replace

import pytest

from sims import LINE_PRESETS, Churn, Machine, NatModel, Scenario, Site
from sims.kernel.refusals import check_for_kernel
from sims.model.faults import AddressChange, Crash, DelayEnvelopes, Fault, Partition, ReplayPackets
from sims.model.link import LinkModel
from sims.model.nat import NAT_KINDS, Filtering, Mapping, PortAssignment
from wice.errors import ConfigError

KINDS = ("crash", "replay-envelopes")
SYMMETRIC = Mapping.ADDRESS_AND_PORT_DEPENDENT


def scenario(
    *nats: NatModel,
    faults: tuple[Fault, ...] = (),
    churn: tuple[Churn, ...] = (),
    clock_offset_s: float = 0.0,
    machines: int = 1,
) -> Scenario:
    named = tuple(
        Machine(name=f"m{number}", clock_offset_s=clock_offset_s) for number in range(machines)
    )
    line = LINE_PRESETS["fibre"]
    return Scenario(
        name="small",
        duration_s=60,
        sites=(
            Site(name="home", line=line, nats=nats, machines=named),
            Site(name="flat", line=line, behind="home"),
        ),
        faults=faults,
        churn=churn,
    )


def roaming(sites: int, machines: int) -> Scenario:
    """Each LAN has a line, and everybody may be anywhere."""
    home, *_ = scenario(machines=machines).sites
    lan = LinkModel(latency_s=0.001)
    others = (replace(home, name=f"s{number}", machines=()) for number in range(1, sites))
    return Scenario(
        name="small",
        duration_s=60,
        sites=tuple(replace(site, lan=lan) for site in (home, *others)),
        churn=(Churn(count=1, kinds=("move",), between_s=(1, 2)),),
    )


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (
            scenario(machines=17),
            "sites: 17 machines are too many for the kernel engine; use at most 16",
        ),
        (
            scenario(faults=(AddressChange(at_s=1, target="home"),) * 129),
            "faults: 129 address changes are too many for the kernel engine",
        ),
        (
            roaming(sites=12, machines=16),
            "sites: 205 lines are too many for the kernel engine",
        ),
        (
            scenario(clock_offset_s=1.0),
            "sites.home.machines[0].clock_offset_s: the kernel engine's machines share one clock",
        ),
        (
            scenario(NatModel(mapping=Mapping.ADDRESS_DEPENDENT)),
            "sites.home.nats[0].mapping: Linux has no address-dependent mapping",
        ),
        (
            scenario(NatModel(), NatModel(ports=PortAssignment.CONTIGUOUS)),
            "sites.home.nats[1].ports: Linux assigns no ports one after the other",
        ),
        (
            scenario(NatModel(mapping=SYMMETRIC)),
            "sites.home.nats[0].ports: with address-and-port-dependent mapping Linux assigns",
        ),
        (
            scenario(
                NatModel(
                    mapping=SYMMETRIC,
                    ports=PortAssignment.RANDOM,
                    filtering=Filtering.ENDPOINT_INDEPENDENT,
                )
            ),
            "sites.home.nats[0].filtering: with address-and-port-dependent mapping Linux filters",
        ),
        (
            scenario(
                faults=(
                    Crash(at_s=1, target="m0"),
                    ReplayPackets(at_s=1, target="home", share=0.1, after_s=1),
                )
            ),
            "faults[1].kind: the kernel engine has no replay-packets: nobody on its lines keeps",
        ),
        (
            scenario(faults=(DelayEnvelopes(at_s=1, target="bootstrap-1", up_to_s=1),)),
            "faults[0].kind: the kernel engine has no delay-envelopes",
        ),
        (
            scenario(faults=(Partition(at_s=1, one=("bootstrap-1",), other=("flat",)),)),
            "faults[0].other[0]: flat is behind home",
        ),
        (
            scenario(
                churn=(Churn(count=1, kinds=("crash", "replay-envelopes"), between_s=(1, 2)),)
            ),
            "churn[0].kinds[1]: the kernel engine has no replay-envelopes",
        ),
    ],
)
def test_what_cannot_be_done_is_named_with_its_place(refused: Scenario, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_for_kernel(refused)
    assert str(caught.value).startswith(f"scenario small: {said}")
    assert "use " in str(caught.value)


@pytest.mark.parametrize("kind", ["one-to-one", "full-cone", "symmetric", "cgnat", "tcp-443-only"])
def test_what_can_be_done_is_let_pass(kind: str) -> None:
    fault = Partition(at_s=1, one=("home", "flat"), other=("bootstrap-1",))
    check_for_kernel(scenario(*NAT_KINDS[kind].nats, faults=(fault,)))
