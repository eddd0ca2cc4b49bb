"""The relay that a bootstrap node is to its community: TURN over UDP, lent to members."""

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import trio

from wice.daemon.network import every_address, follow_network, public_addresses
from wice.datagram import Endpoint
from wice.platform import Platform
from wice.relay_config import RelayConfig
from wice.signaling.transport import RelayLoan
from wice.turn import PeerPolicy, RestAccounts, TurnServer, rest_credentials
from wice.turn.driver import serve_turn

REALM: Final = "wice"
SECRET_SIZE_BYTES: Final = 32
LOAN_LIFETIME_S: Final = 3_600.0


class CommunityRelay:
    """A TURN server that is open to whom ``lend`` gave credentials since the start.

    The secret behind them lives as long as this does, so that a restart revokes all of them.
    """

    def __init__(self, config: RelayConfig, platform: Platform) -> None:
        """Raise DeviceError where the host does not tell its addresses."""
        self._config = config
        self._platform = platform
        self._secret = platform.random_bytes(SECRET_SIZE_BYTES)
        self._began_at_s, self._began_at_wall_s = trio.current_time(), platform.wall_time()
        self._policy = PeerPolicy(allowed=config.allowed_networks, denied=config.denied_networks)
        self._look()
        self._server = TurnServer(
            RestAccounts(self._secret, self._steady_wall_time),
            realm=REALM,
            random_bytes=platform.random_bytes,
            now=trio.current_time(),
            budgets=config.budgets,
            policy=self._policy,
        )

    def lend(self, member: str) -> RelayLoan:
        """Credentials for one member, whose budget is its own by that name."""
        expires_at_wall_s = self._steady_wall_time() + LOAN_LIFETIME_S
        credentials = rest_credentials(self._secret, member, expires_at_wall_s)
        return RelayLoan(
            self._config.port, credentials.username, credentials.password, LOAN_LIFETIME_S
        )

    async def run(
        self, *, task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Relay until cancelled. Gives the endpoints that are served when started.

        Raise DeviceRejectedError, DevicePermissionDeniedError.
        """
        config = self._config
        serve = partial(
            serve_turn,
            self._server,
            config.port,
            relay_hosts=lambda: self._relay_hosts,
            announced=config.announced,
            relay_ports=config.relayed_ports,
            random_below=self._random_below,
            public_addresses=public_addresses(self._platform),
        )
        async with trio.open_nursery() as nursery:
            endpoints = await nursery.start(serve)
            nursery.start_soon(follow_network, self._platform, self._look)
            task_status.started(endpoints)

    def status(self) -> dict[str, Any]:
        """What ``wice status`` shows, as plain JSON values."""
        return {
            "port": self._config.port,
            "allocations": [
                {
                    "member": allocation.name,
                    "client": str(allocation.client),
                    "relayed": [str(endpoint) for endpoint in allocation.relayed],
                    "expires_in_s": allocation.expires_in_s,
                }
                for allocation in self._server.allocations(trio.current_time())
            ],
            "counters": dict(self._server.counts),
        }

    def _look(self) -> None:
        addresses, announced = every_address(self._platform), self._config.announced
        self._policy.set_own_addresses((*addresses, *announced.values()))
        self._relay_hosts = relay_hosts(addresses, announced)

    def _steady_wall_time(self) -> float:
        """Who lends also checks: a clock that is set meanwhile ends no loan and prolongs none."""
        return self._began_at_wall_s + trio.current_time() - self._began_at_s

    def _random_below(self, bound: int) -> int:
        # Of 64 bits, what this favours is not to be seen.
        return int.from_bytes(self._platform.random_bytes(8), "big") % bound


def relay_hosts(addresses: Iterable[str], announced: Iterable[str]) -> tuple[str, ...]:
    """Where relayed addresses are, whichever of the host's addresses is asked, the best of a
    family first: those that are ``announced`` as others, then the public ones. So a client of one
    family gets both.
    """
    default = PeerPolicy()
    return (*announced, *(host for host in addresses if default.allows(host)))
