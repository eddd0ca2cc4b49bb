"""Which of the two agents controls, and how two that claim one role agree (RFC 8445 section 7)."""

from collections.abc import Callable
from typing import Final

from wice.ice.checklist import CheckList
from wice.ice.messages import Request
from wice.ice.pair import Role
from wice.ice.selection import Selection

_TIE_BREAKER_SIZE_BYTES: Final = 8


class Roles:
    """Our role of now; the pairs' order and the nominations follow it."""

    def __init__(
        self,
        controlling: bool,
        checklist: CheckList,
        selection: Selection,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._list = checklist
        self._selection = selection
        self._random_bytes = random_bytes
        self.now = Role(controlling, self._new_tie_breaker())

    @property
    def controlling(self) -> bool:
        return self.now.controlling

    def claim(self, controlling: bool) -> None:
        """What the descriptions say: a lite agent does not control a full one."""
        self._turn(Role(controlling, self.now.tie_breaker))

    def yields_to(self, request: Request) -> bool:
        """Both claim one role (RFC 8445 section 7.3.1.1): whether ours changed."""
        if (self.now.tie_breaker >= request.tie_breaker) == self.controlling:
            return False
        self._turn(Role(not self.controlling, self.now.tie_breaker))
        return True

    def refused(self, claimed: Role) -> None:
        """The remote keeps the role that a check of ours ``claimed`` (RFC 8445 section 7.2.5.1).

        A conflict about a role that we no longer have was settled by another check, even if we
        have the same one again.
        """
        if claimed is self.now:
            self._turn(Role(not self.controlling, self._new_tie_breaker()))

    def _turn(self, role: Role) -> None:
        self.now = role
        self._list.set_controlling(role.controlling)
        self._selection.forget_nominations()

    def _new_tie_breaker(self) -> int:
        return int.from_bytes(self._random_bytes(_TIE_BREAKER_SIZE_BYTES), "big")
