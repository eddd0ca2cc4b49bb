"""A bootstrap node's control socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from wice.config import Config
from wice.daemon import daemon
from wice.daemon.control import request_async
from wice.events import EventStream
from wice.linux import LinuxPlatform


@asynccontextmanager
async def open_no_transport(*_: Any, **__: Any) -> AsyncIterator[None]:
    yield


async def test_it_says_that_it_has_no_peers_to_explain(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "load_backend", lambda _: open_no_transport)
    config = Config(
        path=tmp_path / "wice.toml",
        state_dir=tmp_path / "state",
        control_socket=tmp_path / "wice.sock",
        overlay={},
        stun=(),
        stun_server_ports=(),
        interfaces=(),
    )
    await nursery.start(daemon.run_bootstrap, config, LinuxPlatform(), EventStream())
    answer = await request_async(config.control_socket, "why", peer="bob")
    assert answer["error"] == "'bob' is none: this is a bootstrap node; it has no peers"
    assert answer["argument"] == "peer"
