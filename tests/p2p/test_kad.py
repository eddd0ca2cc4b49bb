"""Tables, lookups and the record store, without a network."""

import os
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.kad import (
    BUCKET_SIZE,
    FAILURES_MAX,
    LOOKUP_NODES_MAX,
    QUERIES_MAX,
    QUERIES_PARALLEL,
    REPLICAS,
    Lookup,
    RecordStore,
    RoutingTable,
    ServerNode,
    position,
)
from p2p.records import Node, Presence, build_record
from p2p.section import TcpAddress
from wice.errors import RemoteProtocolError
from wice.keys import EPOCH_LENGTH_S, CommunitySecret, EpochSigner, LocalKeyHolder, PrivateKey

NOW = 20_000 * EPOCH_LENGTH_S + 1_000.0
ADDRESS = (TcpAddress("192.0.2.1", 4001),)


def a_node(name: str) -> ServerNode:
    return ServerNode(name, position(name.encode()), ADDRESS)


def a_node_at(name: str, at: int) -> ServerNode:
    return ServerNode(name, at, ADDRESS)


def a_record(sequence_s: float = 0.0, lifetime_s: float = 3_600.0) -> tuple[bytes, bytes]:
    return make_record(make_signer(), sequence_s, lifetime_s)


def make_signer() -> EpochSigner:
    holder = LocalKeyHolder(PrivateKey(os.urandom(32)), os.urandom)
    return EpochSigner(holder, CommunitySecret.from_name("harbour"), 20_000, os.urandom)


def make_record(
    signer: EpochSigner, sequence_s: float = 0.0, lifetime_s: float = 3_600.0
) -> tuple[bytes, bytes]:
    record = build_record(
        signer,
        Presence(Node(b"peer", ())),
        now_wall=NOW + sequence_s,
        random_bytes=os.urandom,
        lifetime_s=lifetime_s,
    )
    return signer.blinded_key.dht_key(), record


# Table


def test_a_table_knows_neither_itself_nor_more_than_a_bucket_holds() -> None:
    table = RoutingTable(own_position=0)
    assert not table.add(a_node_at("self", 0))
    far = 1 << 255
    added = [table.add(a_node_at(f"n{i}", far + i)) for i in range(BUCKET_SIZE + 5)]
    assert sum(added) == len(table) == BUCKET_SIZE


def test_a_node_that_fails_gives_way_to_a_new_one() -> None:
    table = RoutingTable(own_position=0)
    far = 1 << 255
    for i in range(BUCKET_SIZE):
        table.add(a_node_at(f"n{i}", far + i))
    for _ in range(FAILURES_MAX):
        table.failed("n3")
    table.failed("n4")
    assert table.add(a_node_at("new", far + 99))
    assert "n3" not in table
    assert "n4" in table


@given(st.sets(st.integers(1, 2**256 - 1), min_size=1, max_size=60), st.integers(0, 2**256 - 1))
def test_nearest_is_by_xor(positions: set[int], target: int) -> None:
    table = RoutingTable(own_position=0)
    kept = [at for at in positions if table.add(a_node_at(str(at), at))]
    nearest = [node.position for node in table.nearest(target, 7)]
    assert nearest == sorted(kept, key=lambda at: at ^ target)[:7]


# Lookup


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 80), st.floats(0, 0.4))
def test_a_lookup_finds_the_nearest_that_live(seed: int, count: int, dead_share: float) -> None:
    random = Random(seed)
    nodes = [a_node_at(f"n{i}", random.getrandbits(256)) for i in range(count)]
    dead = {node.peer_id for node in nodes[1:] if random.random() < dead_share}
    target = random.getrandbits(256)
    tables = {}
    for node in nodes:
        table = RoutingTable(node.position)
        for other in random.sample(nodes, len(nodes)):
            table.add(other)
        tables[node.peer_id] = table
    lookup = Lookup(target, [nodes[0]])
    asking: list[ServerNode] = []
    asked = 0
    while new := lookup.next_queries():
        asking += new
        asked += len(new)
        assert len(asking) <= QUERIES_PARALLEL
        node = asking.pop(random.randrange(len(asking)))
        if node.peer_id in dead:
            lookup.failed(node.peer_id)
        else:
            lookup.answered(node.peer_id, tables[node.peer_id].nearest(target))
    while asking:
        node = asking.pop()
        if node.peer_id in dead:
            lookup.failed(node.peer_id)
        else:
            lookup.answered(node.peer_id, tables[node.peer_id].nearest(target))
        new = lookup.next_queries()
        asking += new
        asked += len(new)
    assert asked <= QUERIES_MAX
    alive = [node for node in nodes if node.peer_id not in dead]
    expected = sorted(alive, key=lambda node: node.position ^ target)[:REPLICAS]
    if asked < QUERIES_MAX:
        assert lookup.nearest_answered() == expected


def test_a_lookup_is_bounded_against_a_node_that_names_ever_nearer_ones() -> None:
    lookup = Lookup(0, [a_node_at("first", 1 << 255)])
    asked = 0
    while queries := lookup.next_queries():
        for node in queries:
            asked += 1
            lies = [a_node_at(f"lie{asked}-{i}", node.position >> 1 | i) for i in range(300)]
            lookup.answered(node.peer_id, lies)
    assert asked <= QUERIES_MAX
    assert len(lookup._known) <= LOOKUP_NODES_MAX


# Store


def test_a_store_refuses_forged_expired_and_older_records() -> None:
    store = RecordStore()
    signer = make_signer()
    key, record = make_record(signer, sequence_s=10.0)
    store.put(key, record, "192.0.2.1", NOW)
    forged = record[:-1] + bytes([record[-1] ^ 1])
    _, older = make_record(signer, sequence_s=0.0)
    other_key, _ = a_record()
    for wrong_key, wrong in ((key, forged), (key, older), (other_key, record), (key, b"")):
        with pytest.raises(RemoteProtocolError):
            store.put(wrong_key, wrong, "192.0.2.1", NOW)
    fresh_key, short_lived = a_record(lifetime_s=1.0)
    with pytest.raises(RemoteProtocolError):
        store.put(fresh_key, short_lived, "192.0.2.1", NOW + 3 * 3_600)
    assert store.stored_bytes() == [(key, record)]


def test_what_has_expired_is_gone() -> None:
    store = RecordStore()
    key, record = a_record(lifetime_s=3_600)
    store.put(key, record, "192.0.2.1", NOW)
    assert store.get(key, NOW) is not None
    assert store.get(key, NOW + 3 * 3_600) is None
    store.put(key, record, "192.0.2.1", NOW)
    store.drop_expired(NOW + 3 * 3_600)
    assert len(store) == 0


def test_a_full_store_takes_from_who_fills_it() -> None:
    store = RecordStore(records_max=4)
    quiet_key, quiet = a_record()
    store.put(quiet_key, quiet, "192.0.2.1", NOW)
    for _ in range(10):
        key, record = a_record()
        store.put(key, record, "198.51.100.7", NOW)
    late_key, late = a_record()
    store.put(late_key, late, "192.0.2.2", NOW)
    assert len(store) == 4
    assert store.get(quiet_key, NOW) is not None
    assert store.get(late_key, NOW) is not None


def test_a_replaced_record_counts_once() -> None:
    store = RecordStore(records_max=2)
    signer = make_signer()
    for second in range(5):
        key, record = make_record(signer, sequence_s=float(second))
        store.put(key, record, "192.0.2.1", NOW)
    assert len(store) == 1
    assert store._per_source == {"192.0.2.1": 1}
