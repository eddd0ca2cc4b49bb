"""The node key: made once, kept private, the same peer id as the library's."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from p2p.identity import FILE_NAME, Identity, load_or_create, peer_id_of
from wice.errors import ConfigError

if TYPE_CHECKING:
    from tests.p2p.conftest import Overlay


def test_is_made_on_the_first_start_and_kept(tmp_path: Path) -> None:
    first = load_or_create(tmp_path)
    assert load_or_create(tmp_path) == first
    assert peer_id_of(tmp_path) == first.peer_id
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_peer_id_of_makes_what_is_missing(tmp_path: Path) -> None:
    peer_id = peer_id_of(tmp_path / "a" / "b")
    assert peer_id == peer_id_of(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_the_peer_id_is_the_librarys() -> None:
    seed = bytes(range(32))
    assert Identity.from_seed(seed).peer_id == str(
        ID.from_pubkey(create_new_key_pair(seed).public_key)
    )


def test_shows_no_seed() -> None:
    seed = bytes(range(32))
    assert repr(seed)[2:-1] not in repr(Identity.from_seed(seed))
    assert seed.hex() not in repr(Identity.from_seed(seed))


def test_the_key_of_a_faster_process_is_kept(tmp_path: Path) -> None:
    other = bytes([7]) * 32

    def slow_randomness(size_bytes: int) -> bytes:
        (tmp_path / FILE_NAME).write_bytes(other)
        return bytes(size_bytes)

    assert load_or_create(tmp_path, slow_randomness).seed == other


def test_a_file_that_is_no_key_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"short")
    with pytest.raises(ConfigError, match="not a node key"):
        load_or_create(tmp_path)


def test_a_directory_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot keep the node's key"):
        load_or_create(tmp_path / "missing")


async def test_two_nodes_do_not_share_a_state_directory(
    overlay: "Overlay", free_port: Callable[[], int]
) -> None:
    """They would have the same peer id, and each would take the other for itself."""
    overlay.place_bootstrap("bootstrap", free_port())
    async with overlay.open_bootstrap("bootstrap"):
        with pytest.raises(ConfigError, match="in use by another daemon") as caught:
            async with overlay.open_peer("bootstrap"):
                pass
        assert caught.value.where == "state_dir"
        assert str(overlay.directory / "bootstrap") in str(caught.value)
        assert peer_id_of(overlay.directory / "bootstrap"), "it may be asked for meanwhile"
    async with overlay.open_bootstrap("bootstrap"):
        pass


async def test_a_peer_that_names_only_itself_is_told(
    overlay: "Overlay", free_port: Callable[[], int]
) -> None:
    overlay.place_bootstrap("a", free_port())
    with pytest.raises(ConfigError, match="only this node") as caught:
        async with overlay.open_peer("a"):
            pass
    assert caught.value.where == "overlay.bootstrap"
