"""Linux's rtnetlink(7) without tasks or threads: ask, and the answer is there.

pyroute2 knows the messages; its sockets run an asyncio loop each, so ours is a plain one. The
kernel has queued its whole answer before ``send`` returns: nothing here waits for a network.
"""

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from pyroute2.netlink import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV6_IFADDR = 0x100

GROUPS_LINKS_AND_ADDRESSES = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
"""The multicast groups that tell of links and addresses."""

DUMP_ATTEMPTS_MAX = 5
"""How often a dump is asked for again when the table changed underneath it."""

_RECEIVE_SIZE_BYTES = 1 << 18
_RECEIVE_BUFFER_SIZE_BYTES = 1 << 20
_HEADER = struct.Struct("=IHHII")
_ERROR_CODE = struct.Struct("=i")
_MESSAGE_CLASSES = {RTM_NEWLINK: ifinfmsg, RTM_NEWADDR: ifaddrmsg, RTM_NEWROUTE: rtmsg}

Message = Any
"""One of pyroute2's messages: a mapping with ``get_attr``."""


class RouteNetlink:
    """One rtnetlink socket. Methods raise OSError with the kernel's errno."""

    def __init__(self) -> None:
        self._sequence = 0
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_SIZE_BYTES)
        self._socket.bind((0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def links(self) -> Sequence[Message]:
        return self._dump(RTM_GETLINK, ifinfmsg())

    def addresses(self) -> Sequence[Message]:
        return self._dump(RTM_GETADDR, ifaddrmsg())

    def routes(self) -> Sequence[Message]:
        every_family = rtmsg()
        every_family["family"] = socket.AF_UNSPEC  # pyroute2 would ask for IPv4 alone
        return self._dump(RTM_GETROUTE, every_family)

    def set_link(self, message: Message) -> None:
        self._change(RTM_NEWLINK, message)

    def add_address(self, message: Message, flags: int) -> None:
        self._change(RTM_NEWADDR, message, flags)

    def delete_address(self, message: Message) -> None:
        self._change(RTM_DELADDR, message)

    def add_route(self, message: Message, flags: int) -> None:
        self._change(RTM_NEWROUTE, message, flags)

    def delete_route(self, message: Message) -> None:
        self._change(RTM_DELROUTE, message)

    def _dump(self, kind: int, message: Message) -> Sequence[Message]:
        for _ in range(DUMP_ATTEMPTS_MAX):
            self._send(kind, NLM_F_REQUEST | NLM_F_DUMP, message)
            found: list[Message] = []
            is_torn = False
            for answer_kind, flags, raw in self._answer():
                is_torn |= bool(flags & NLM_F_DUMP_INTR)
                if answer_kind in _MESSAGE_CLASSES:
                    decoded = _MESSAGE_CLASSES[answer_kind](raw)
                    decoded.decode()
                    found.append(decoded)
            if not is_torn:
                return found
        raise OSError(errno.EAGAIN, "the kernel's table keeps changing while it is read")

    def _change(self, kind: int, message: Message, flags: int = 0) -> None:
        self._send(kind, NLM_F_REQUEST | NLM_F_ACK | flags, message)
        for _ in self._answer():
            pass

    def _send(self, kind: int, flags: int, message: Message) -> None:
        self._sequence += 1
        message["header"]["type"] = kind
        message["header"]["flags"] = flags
        message["header"]["sequence_number"] = self._sequence
        message.encode()
        self._socket.send(message.data)

    def _answer(self) -> Iterator[tuple[int, int, bytes]]:
        """Give (type, flags, message) until the end of the answer; raise OSError if it is one."""
        while True:
            data = self._socket.recv(_RECEIVE_SIZE_BYTES)
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
                assert length >= _HEADER.size, "the kernel sent a netlink message without a header"
                if sequence == self._sequence:
                    if kind == NLMSG_DONE:
                        return
                    if kind == NLMSG_ERROR:
                        (code,) = _ERROR_CODE.unpack_from(data, offset + _HEADER.size)
                        if code == 0:
                            return
                        raise OSError(-code, errno.errorcode.get(-code, "unknown"))
                    yield kind, flags, data[offset : offset + length]
                offset += (length + 3) & ~3
