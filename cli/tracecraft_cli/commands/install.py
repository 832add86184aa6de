"""``tracecraft install``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard

if TYPE_CHECKING:
    from tracecraft_cli.install.plan import Plan

_AGENTS: Final = ("claude", "codex", "hermes", "openclaw")


@click.command()
@click.argument("coding_agent", metavar="AGENT", type=click.Choice(_AGENTS))
@click.option("--dry-run", is_flag=True, help="Only show what would be written and run.")
@click.option("--uninstall", is_flag=True, help="Remove what an install has put there, and nothing else.")
@click.option(
    "--scope",
    type=click.Choice(("user", "project")),
    default="user",
    help="Claude Code: for all your projects, or for the one in this folder. [default: user]",
)
@common
def command(common: Common, coding_agent: str, dry_run: bool, uninstall: bool, scope: str) -> None:
    """Put tracecraft into a coding agent: claude, codex, hermes or openclaw.

    What is written and run is shown first. Settings that are there stay, done again it changes nothing, and an older
    version of ours is replaced. What a coding agent asks you to trust is left to you, and named at the end. OpenClaw
    acts as one agent: --agent and --project say as which. Asks no server.

    Examples: tracecraft install claude --dry-run; tracecraft install codex; tracecraft install codex --uninstall
    """
    if scope == "project" and coding_agent != "claude":
        raise click.UsageError(f"--scope project is for claude: {coding_agent} has its plugins for all projects")
    guard(common.as_json, lambda: _work(common, coding_agent, dry_run, uninstall, scope))


def _work(common: Common, coding_agent: str, dry_run: bool, uninstall: bool, scope: str) -> None:
    from tracecraft_cli.install import doing, listing, planning

    who = _who(common) if coding_agent == "openclaw" else {}
    plan = planning.uninstall(coding_agent, scope) if uninstall else planning.install(coding_agent, scope, who)
    found = listing.facts(plan)
    outcome = _outcome(plan, dry_run, uninstall)
    if plan and not common.as_json:
        click.echo("\n".join([f"{plan.title}: {'would do' if dry_run else 'this is done'}", *listing.lines(found)]))
    if not common.as_json and not dry_run and not plan:
        click.echo(f"{plan.title}: {outcome}")
    backups = [] if dry_run or not plan else doing.do(plan)
    result = {"agent": coding_agent, "outcome": outcome, **found, "backups": [str(path) for path in backups]}
    emit(common.as_json, result, None if not plan and not dry_run else f"{plan.title}: {outcome}")
    for path in backups:
        note(f"as it was before: {path}")
    for words in plan.left:
        note(f"yours to do: {words}")


def _outcome(plan: Plan, dry_run: bool, uninstall: bool) -> str:
    if not plan:
        return "not installed: nothing to remove" if uninstall else "already installed"
    if dry_run:
        return "nothing was done"
    if uninstall:
        return "removed"
    return "written, the rest is yours to do" if plan.title == "OpenClaw" else "installed"


def _who(common: Common) -> dict[str, str]:
    """As whom OpenClaw acts: what was given, what an earlier install said, the project of this folder and a name."""
    from pathlib import Path

    from tracecraft_cli.install import openclaw
    from tracecraft_core import settings

    found = settings.load(common.flags, coding=False)
    given = {name: value for name in ("agent", "project") if (value := common.flags[name]) is not None}
    usual = {"agent": settings.default_agent(Path("openclaw")), "project": found.project}
    return usual | openclaw.who() | given
