"""The errors of wice: every exception that crosses a room's wall is one of these."""


def one_line(text: str) -> str:
    """``text`` with a space for each line break, and an escape for what is not printable.

    Names of files and keys of others' files are in messages, and a terminal obeys what it is sent.
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in " ".join(text.splitlines())
    )


class WiceError(Exception):
    """Base of all errors of wice. It is never raised itself."""


class ConfigError(WiceError):
    """A mistake of the person who wrote a configuration.

    where: file and key, as ``wice.toml: interfaces.wg0.peers[1].public_key``.
    why: what is wrong there.
    hint: what to do about it; may be empty.
    """

    def __init__(self, where: str, why: str, hint: str = "") -> None:
        self.where = where
        self.why = why
        self.hint = hint
        super().__init__(one_line(f"{where}: {why}" + (f"; {hint}" if hint else "")))


class ProtocolError(WiceError):
    """A rule of a protocol was broken. It is never raised itself."""


class LocalProtocolError(ProtocolError):
    """We broke the rule: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The other side broke the rule: counted and dropped, it ends nothing of ours (DESIGN D4)."""


class EnvelopeError(RemoteProtocolError):
    """An envelope that cannot be opened, or says something else inside than outside."""


class SignalingError(WiceError):
    """A message could not be handed to the other side now."""


class SignalingUnavailableError(SignalingError):
    """No way to the recipient at the moment; the sender keeps the state and tries again."""


class SignalingClosedError(SignalingError):
    """The backend was closed."""


class NameNotResolvedError(WiceError):
    """The name of a server leads to no address, or cannot be looked up now."""


class IceError(WiceError):
    """The ICE agent cannot do what was asked of it."""


class DeviceError(WiceError):
    """A network device of the host cannot do what was asked of it."""


class DeviceNotFoundError(DeviceError):
    """There is no such device, or the host cannot make one."""


class DevicePermissionDeniedError(DeviceError):
    """The process lacks a privilege; the message names which."""


class DeviceRejectedError(DeviceError):
    """The device or the kernel refused a value, or a resource is in use."""
