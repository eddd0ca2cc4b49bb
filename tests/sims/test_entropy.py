"""One seed, one tree: what is drawn in one place shifts nothing in another."""

from sims.runtime.entropy import Entropy


def test_the_same_place_draws_the_same() -> None:
    first, again = Entropy(7), Entropy(7)
    assert first.random("loss", "a").random() == again.random("loss", "a").random()
    assert first.stream("keys", "a").read(10_000) == again.stream("keys", "a").read(10_000)


def test_every_place_draws_its_own() -> None:
    drawn = {
        Entropy(seed).random(purpose, node).random()
        for seed in (1, 2)
        for purpose in ("loss", "keys")
        for node in ("a", "b", "")
    }
    assert len(drawn) == 12


def test_places_are_not_run_together() -> None:
    entropy = Entropy(1)
    assert entropy.stream("ab", "c").read(16) != entropy.stream("a", "bc").read(16)


def test_a_stream_is_the_same_in_whatever_pieces_it_is_read() -> None:
    whole = Entropy(1).stream("keys").read(9_000)
    stream = Entropy(1).stream("keys")
    assert b"".join(stream.read(size) for size in (1, 4_095, 4_096, 0, 808)) == whole
