"""`Destination`: the bus that records are for: the stack of this machine, whatever its port, or one address.

What is recorded while nobody said where the bus is belongs to the stack of this machine: its port changes, its data
folder does not. What is recorded for an address that was given belongs to that address. What waits on this machine
goes to no other server, least of all to a stranger's that listens where ours did.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_core import local, urls
from tracecraft_core import settings as defaults

if TYPE_CHECKING:
    from tracecraft_core.settings import Settings

_CREDENTIALS: Final = ("context", "token", "user", "password", "creds", "nkey", "tls_ca", "tls_cert", "tls_key")
"""Whoever names one of them means a server of his own, also at the default address."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where records go."""

    server: str
    """The address, without secrets."""
    stack: str = ""
    """The data folder of the stack of this machine, when they are for it; empty: for the address."""

    @classmethod
    def of(cls, settings: Settings) -> Destination:
        """Of what is recorded under these settings."""
        ours = _is_stack(settings) or not (settings.given or _signs_in(settings))
        return cls(server=settings.server, stack=_folder() if ours else "")

    @classmethod
    def leading_to(cls, settings: Settings) -> list[Destination]:
        """All that a connection with these settings may lead to; first that of what is recorded under them."""
        unnamed = cls(server=defaults.DEFAULT_SERVER, stack=_folder())
        named = cls(server=settings.server)
        return list(dict.fromkeys([cls.of(settings), *(one for one in (unnamed, named) if one.reached_by(settings))]))

    @property
    def key(self) -> str:
        """What is the same for the same bus: the stack's port may change."""
        return self.stack or self.server

    def reached_by(self, settings: Settings) -> bool:
        """Whether a connection with these settings leads there now."""
        if self.stack and _is_stack(settings):
            return self.stack == _folder()
        if self.server != settings.server:
            return False
        return not self.stack or not local.has_served(Path(self.stack))  # else a stranger listens where our stack may

    def words(self) -> str:
        """What it is called."""
        return f"the stack in {self.stack}" if self.stack else self.server


def _is_stack(settings: Settings) -> bool:
    """Whether the address is that of the stack that runs on this machine, whoever named it."""
    stack = local.running_stack()
    return stack is not None and urls.without_secrets(stack.nats_url) == settings.server


def _signs_in(settings: Settings) -> bool:
    return settings.origin.get("server") == "default" and any(name in settings.values for name in _CREDENTIALS)


def _folder() -> str:
    return str(local.data_dir().expanduser().resolve())
