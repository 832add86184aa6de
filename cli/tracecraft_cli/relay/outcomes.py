"""What may come of asking a relay, besides the command's own result; each with its exit code (docs/reference/cli.md).

TracecraftError
├── NotAllowed       1   a relay does not do this for a sandbox
├── NotRelayed      69   the sandbox has no network, and this is nothing for a relay
├── NoRelay         69   the sandbox has no network, and nobody outside takes requests
├── FolderTrouble   69   the relay's folder takes no request
├── RelaySilent     69   the relay took the request and has gone: it may or may not have been done
└── Queued          75   it waits in the workspace for a relay, and is not done yet
"""

from __future__ import annotations

from typing import ClassVar, Final

from tracecraft_core import sandbox
from tracecraft_core.errors import TracecraftError

NETWORK_FIX: Final = "'codex -c sandbox_workspace_write.network_access=true'"
"""How Codex is started so that its sandbox has a network."""


def _cause() -> str:
    return f"{sandbox.RELAY} is set" if sandbox.named() else "a sandbox blocks the network"


def _way_out(whom: str) -> str:
    return f"unset {sandbox.RELAY}" if sandbox.named() else f"give {whom} a network: {NETWORK_FIX}"


class NotAllowed(TracecraftError):
    """A relay does not do this for a sandbox."""


class NotRelayed(TracecraftError):
    """What needs the bus, and is nothing that a relay does."""

    exit_code: ClassVar[int] = 69

    def __init__(self, command: str) -> None:
        super().__init__(
            f"{_cause()}, and '{command}' is nothing that a relay does for a sandbox: run it outside, or "
            f"{_way_out('the sandbox')}"
        )


class NoRelay(TracecraftError):
    """Nobody outside takes requests. Attribute: ``workspace``."""

    exit_code: ClassVar[int] = 69

    def __init__(self, workspace: str, command: str) -> None:
        super().__init__(
            f"{_cause()}, and no relay runs for {workspace}: '{command}' needs an answer now. "
            f"Outside of the sandbox start 'tracecraft relay {workspace}', or {_way_out('it')}"
        )
        self.workspace = workspace


class FolderTrouble(TracecraftError):
    """The relay's folder takes no request. Attributes: ``folder``, ``problem``."""

    exit_code: ClassVar[int] = 69

    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(
            f"{_cause()}, and {folder} takes no request ({problem}): nothing was done. "
            f"Make room or rights there, name another workspace with {sandbox.RELAY}, or {_way_out('it')}"
        )
        self.folder, self.problem = folder, problem


class RelaySilent(TracecraftError):
    """The relay took a request and does not answer. Attribute: ``request``."""

    exit_code: ClassVar[int] = 69

    def __init__(self, request: str, problem: str) -> None:
        super().__init__(
            f"{problem}: it may or may not have been done; 'tracecraft relay --status' has the receipt of {request} "
            "when a relay runs again; look before you repeat it"
        )
        self.request = request


class Queued(TracecraftError):
    """It waits for a relay. Attributes: ``request``, ``workspace``."""

    exit_code: ClassVar[int] = 75

    def __init__(self, request: str, workspace: str) -> None:
        super().__init__(
            f"queued as {request}, not done yet: {_cause()}, and no relay runs. Outside of the sandbox "
            f"'tracecraft relay {workspace}' delivers it; 'tracecraft relay --status' has the receipt"
        )
        self.request, self.workspace, self.queued = request, workspace, True
