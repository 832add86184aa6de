"""From the name of a coding agent to the whole plan: its own part, our files, and the receipt."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from tracecraft_cli.install import bundle, claude, codex, hermes, openclaw, place, receipts
from tracecraft_cli.install.plan import Plan, Remove, Write

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = (claude.NAME, codex.NAME, hermes.NAME, openclaw.NAME)
_SHARED: Final = {claude.NAME: bundle.MARKETPLACE, codex.NAME: bundle.MARKETPLACE, openclaw.NAME: bundle.OPENCLAW}
"""The folder of ours from which each installs."""


def install(agent: str, scope: str, who: Mapping[str, str]) -> Plan:
    """All that an install does: nothing when everything is as it should be."""
    if agent == hermes.NAME:
        return hermes.install()
    kind = _SHARED[agent]
    files = openclaw.files(who) if kind == bundle.OPENCLAW else bundle.marketplace_files()
    own = _own_install(agent, scope)
    writes = [*bundle.missing(bundle.launcher_files() | files), *receipts.with_one(_receipt(agent, scope))]
    removes = bundle.superfluous(kind, files)
    return dataclasses.replace(own, writes=tuple(writes), removes=tuple(removes))


def uninstall(agent: str, scope: str) -> Plan:
    """All that removing it does; what several coding agents share goes with the last of them."""
    if agent == hermes.NAME:
        return hermes.uninstall()
    own = _own_uninstall(agent, scope)
    changed, rest = receipts.without(_receipt(agent, scope))
    writes = tuple(one for one in changed if isinstance(one, Write))
    removes = [one for one in changed if isinstance(one, Remove)]
    kinds = {_SHARED[one["agent"]] for one in rest if one.get("agent") in _SHARED}
    if _SHARED[agent] not in kinds:
        removes += bundle.all_of(bundle.root(_SHARED[agent]))
    if not kinds:
        removes += bundle.all_of(place.launcher("tracecraft").parent)
    return dataclasses.replace(own, writes=writes, removes=tuple(removes))


def _own_install(agent: str, scope: str) -> Plan:
    if agent == claude.NAME:
        return claude.install(scope)
    return codex.install() if agent == codex.NAME else openclaw.install()


def _own_uninstall(agent: str, scope: str) -> Plan:
    if agent == claude.NAME:
        return claude.uninstall(scope)
    return codex.uninstall() if agent == codex.NAME else openclaw.uninstall()


def _receipt(agent: str, scope: str) -> dict[str, Any]:
    if agent == claude.NAME:
        return claude.receipt(scope)
    return codex.receipt() if agent == codex.NAME else openclaw.receipt()
