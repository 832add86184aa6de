"""The ``tracecraft`` command group; each command is imported when it is run."""

from __future__ import annotations

from typing import Any, Final

import click

from tracecraft_cli.entry import Entry
from tracecraft_cli.options import DIVERT, FLAGS, Common, add_options

COMMANDS: Final = {
    "init": "Write .tracecraft.toml: which project this folder belongs to.",
    "trust": "Approve the server that a project's file names.",
    "whoami": "Show the agent, project and server, and where each comes from.",
    "memory": "Shared memory: set, get, list, delete, history, watch, incr, merge.",
    "send": "Send a message to an agent, online or not.",
    "broadcast": "Send a message to all registered agents.",
    "inbox": "Read messages; what is not printed is delivered again.",
    "messages": "Messages you sent, and what became of them.",
    "claim": "Claim a task, so that nobody else does it.",
    "renew": "Extend the lease of tasks you hold.",
    "release": "Give tasks back, open for anyone.",
    "complete": "Settle a task and hand over.",
    "reserve": "Reserve files, so that no other agent edits them.",
    "wait-for": "Block until tasks are done; woken by the server.",
    "task": "Add, show and list tasks.",
    "tasks": "List tasks.",
    "plan": "Apply a file of tasks with dependencies.",
    "run": "Write a run: params, metrics, steps, files; or run a program as one.",
    "runs": "Runs: list, inspect, compare, delete.",
    "session": "Sessions of coding agents: mirror their transcripts, list, show and search them.",
    "artifact": "Files of runs: list them, fetch them.",
    "replay": "Step through a run: on a screen, in lines, at one place, or on a page.",
    "cost": "What model calls used and cost.",
    "autoresearch": "Experiments of a research agent as runs, and research by several agents.",
    "install": "Put tracecraft into Claude Code, Codex, Hermes or OpenClaw.",
    "hook": "Answer an event of a coding agent, which runs this.",
    "relay": "Do outside of a sandbox without network what is asked for in it.",
    "spool": "What is recorded here and not delivered yet.",
    "agents": "Who is online, and on what.",
    "status": "The health of everything in one screen.",
    "doctor": "What is wrong, and the one line that fixes it.",
    "log": "Everything that happened, in order.",
    "mcp": "Serve the tools of coordination to a model's client (Model Context Protocol).",
    "serve": "Run the whole stack on this machine.",
    "stop": "Stop the stack that runs on this machine.",
    "completion": "Print the shell completion script.",
}
"""Every command and its one-line help; its code is ``tracecraft_cli.commands.NAME``."""


def _divert(common: Common, context: click.Context) -> None:
    """In a sandbox without network, have a relay outside do the command, and exit as it does."""
    from tracecraft_core import sandbox

    if sandbox.named() or sandbox.announced() or sandbox.blocked():
        from tracecraft_cli.relay import asking

        asking.divert(common, context)


@click.group(
    cls=Entry,
    package="tracecraft_cli.commands",
    table=COMMANDS,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "auto_envvar_prefix": "TRACECRAFT",  # the twin of claim --lease is TRACECRAFT_CLAIM_LEASE
    },
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 someone else has it, 4 you lost your claim, "
    "5 a task failed or is blocked, 6 its owner died, 7 nothing left to claim, 69 no bus, 75 queued for a relay, "
    "124 timed out.",
)
@click.version_option(package_name="tracecraft-nats", allow_from_autoenv=False)
@add_options
@click.pass_context
def main(ctx: click.Context, /, as_json: bool, **flags: Any) -> None:
    """Let AI agents work together without colliding.

    First 'tracecraft serve' (or point --server to a NATS server), then for example:
    'tracecraft claim S1.parse', 'tracecraft memory set findings.json 47', 'tracecraft send writer "all yours"'.
    """
    ctx.meta[DIVERT] = _divert
    ctx.obj = Common({name: flags[name] for name in FLAGS}, as_json)
