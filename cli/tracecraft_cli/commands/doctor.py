"""``tracecraft doctor``."""

from __future__ import annotations

import dataclasses
import sys

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit
from tracecraft_cli.runner import guard


@click.command()
@common
def command(common: Common) -> None:
    """Say what is wrong, and the one line that fixes it. Exits with 1 when something is bad.

    Example: tracecraft doctor
    """
    guard(common.as_json, lambda: _show(common))


def _show(common: Common) -> None:
    import asyncio

    from tracecraft_cli import diagnosis
    from tracecraft_cli.install import checkup
    from tracecraft_core import settings

    findings = [*asyncio.run(diagnosis.diagnose(settings.load(common.flags))), *checkup.findings()]
    bad = sum(finding.level == "bad" for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<5}{finding.check}: {finding.message}")
        if finding.fix:
            lines.append(f"     fix: {finding.fix}")
    result = {"healthy": not bad, "findings": [dataclasses.asdict(finding) for finding in findings]}
    emit(common.as_json, result, "\n".join(lines))
    if bad:
        sys.exit(1)
