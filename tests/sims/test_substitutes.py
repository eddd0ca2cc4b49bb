"""What a run replaces is replaced, named, and put back."""

import gc
import os
import random
import secrets
import sys
import time
import uuid
from pkgutil import resolve_name
from random import Random

from libp2p.crypto.x25519 import create_new_key_pair

import p2p.backend  # noqa: F401 - loads libp2p, whose names are looked at
from sims.runtime import substitutes
from sims.runtime.substitutes import REPLACED, substituted


class Fixed:
    def monotonic(self) -> float:
        return 5.25

    def wall_time(self) -> float:
        return 7.5

    def random_bytes(self, size_bytes: int) -> bytes:
        return bytes(range(size_bytes))


def test_time_and_chance_are_the_run_s_and_come_back() -> None:
    before = {name: substitutes._get(name) for name in REPLACED}
    state = random.getstate()
    with substituted(Fixed()):
        assert time.time() == 7.5
        assert time.time_ns() == 7_500_000_000
        assert time.monotonic() == time.perf_counter() == 5.25
        assert os.urandom(3) == secrets.token_bytes(3) == bytes(3)[:0] + bytes(range(3))
        assert uuid.uuid4().hex.startswith("00010203")
        drawn = random.random()
        assert not gc.isenabled()
    with substituted(Fixed()):
        assert random.random() == drawn
    assert {name: substitutes._get(name) for name in REPLACED} == before
    assert random.getstate() == state
    assert gc.isenabled()


def test_keys_of_libp2p_and_of_its_noise_are_the_run_s() -> None:
    drawn = bytes(range(32))
    noise_keys = resolve_name("noise.backends.default.diffie_hellmans:ED25519")()
    with substituted(Fixed()):
        assert create_new_key_pair().private_key.to_bytes() == drawn
        assert noise_keys.generate_keypair().private.private_bytes_raw() == drawn
    assert create_new_key_pair().private_key.to_bytes() != drawn


def test_no_library_keeps_a_copy_that_would_escape() -> None:
    originals = [resolve_name(name) for name in REPLACED]
    packages = ("libp2p", "multiaddr", "noise", "p2p", "wice")
    copies = [
        f"{module_name}.{name}"
        for module_name, module in sorted(sys.modules.items())
        if module_name.partition(".")[0] in packages
        for name, value in list(vars(module).items())
        if any(value is original for original in originals)
    ]
    assert copies == []


def test_the_generator_of_random_is_seeded_by_the_run() -> None:
    with substituted(Fixed()):
        expected = Random(bytes(range(32))).random()
        assert random.random() == expected
