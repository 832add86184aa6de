"""A worker with the SDK: takes surveys until none is left."""

from __future__ import annotations

import sys

from analyse import analyse

import tracecraft


def survey(session: tracecraft.Session, claim: tracecraft.Claim) -> None:
    """Analyse the package of one task, share the findings and tell the writer."""
    package = claim.record.data["package"]
    findings = analyse(package) | {"by": session.agent}
    before = session.memory.entry(f"findings.{package}")
    session.memory.set(
        f"findings.{package}",
        findings,
        if_revision=before.revision if before else 0,
        fence=(claim.task, claim.fence),
    )
    session.memory.merge("survey.progress", {package: session.agent})
    session.send("writer", f"{package}: {findings['lines']} lines", kind="finding", thread=claim.task)
    claim.hand_off(f"{findings['functions']} functions in {findings['files']} files")


def main(agent: str) -> None:
    """Work until every survey is settled."""
    with tracecraft.connect(agent=agent) as session:
        done = 0
        while True:
            try:
                with session.claim_next("survey.*", lease=3, wait=60) as claim:
                    print(f"{agent} has {claim.task}", flush=True)
                    survey(session, claim)
                    done += 1
            except tracecraft.NothingLeft:  # nothing is left
                break
        print(f"{agent} did {done} surveys", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
