"""The writer: waits at the barrier until every survey is done, then builds the report from shared memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tracecraft


def render(findings: list[dict[str, Any]]) -> str:
    """The report as Markdown, the largest package first."""
    lines = ["# The Python standard library, surveyed by agents", ""]
    lines += ["| package | files | lines | functions | classes | most complex |", "|---|---|---|---|---|---|"]
    for found in sorted(findings, key=lambda found: -found["lines"]):
        worst = found["most_complex"]
        hardest = f"{worst['name']} ({worst['complexity']})" if worst["name"] else "-"  # data has no functions
        lines.append(
            f"| {found['package']} | {found['files']} | {found['lines']:,} | {found['functions']:,} "
            f"| {found['classes']:,} | {hardest} |"
        )
    total = sum(found["lines"] for found in findings)
    lines += ["", f"{len(findings)} packages, {total:,} lines."]
    return "\n".join(lines) + "\n"


def main(target: str) -> None:
    """Write the report to a file."""
    with tracecraft.connect(agent="writer") as session:
        with session.claim("report", wait=300) as claim:  # free when all that it depends on is done
            surveys = claim.record.after
            waited = session.wait_for(*surveys, timeout=10)
            findings = [entry.value for entry in session.memory.list("findings.")]
            Path(target).write_text(render(findings), encoding="utf-8")
            result = {"packages": len(findings), "lines": sum(found["lines"] for found in findings)}
            session.memory.set("report", result, if_absent=True, fence=(claim.task, claim.fence))
            claim.hand_off(f"the report is in {Path(target).name}", result=result)
        letters = session.inbox(limit=1000)
        for letter in letters:
            session.ack(letter)
        print(f"writer waited for {len(waited.tasks)} surveys and read {len(letters)} messages", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
