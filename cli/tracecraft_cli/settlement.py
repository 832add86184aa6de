"""``complete``: a task is settled under its fence, with a handoff, with evidence, or by force; and once only."""

# ruff: noqa: TID253 - commands import this module when they run

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec

from tracecraft import claims
from tracecraft.keeper import Keeper
from tracecraft.mail import Sent
from tracecraft_cli import git_facts, task_view
from tracecraft_cli.given import parse_json, read_value
from tracecraft_cli.output import note
from tracecraft_cli.verify import Check, VerificationFailed
from tracecraft_core import names
from tracecraft_core.bodies import Handoff, Settlement, Verification
from tracecraft_core.errors import ClaimLost

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft.claims import Held, Task


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of it."""

    task: Task
    repeated: bool
    """It was settled like this before, by the same agent and session."""
    sent: Sent | None

    def as_json(self) -> dict[str, Any]:
        """The result of the command."""
        return {
            "task": self.task.id,
            "state": self.task.record.state,
            "revision": self.task.revision,
            "repeated": self.repeated,
            "handoff": task_view.builtins(self.task.record.handoff),
            "forced": task_view.builtins(self.task.record.forced),
            "message": self.sent.id if self.sent else None,
        }

    def text(self) -> str:
        """The result of the command, for people."""
        handoff = self.task.record.handoff
        lines = [f"{self.task.id} {self.task.record.state}"]
        if self.sent is not None:
            lines.append(f"handed over to {self.sent.to} (message {self.sent.id})")
        if handoff is not None and handoff.verification is not None:
            lines.append(task_view.verification_line(handoff.verification))
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Settling:
    """What `complete` was asked to do."""

    task: str
    state: Settlement
    handoff: Handoff
    files: bool
    check: str | None
    reason: str | None

    @classmethod
    def of(
        cls,
        task: str,
        status: str,
        text: str | None,
        to: str | None,
        next_action: str | None,
        result: str | None,
        files: bool,
        check: str | None,
        reason: str | None,
    ) -> Settling:
        """From the options of the command. Raises `UsageError` for a name or a result that is not one."""
        value = None if result is None else parse_json(read_value(result, "--result"), "--result", "'{\"files\": 3}'")
        if to is not None:
            names.agent(to)
        handoff = Handoff(note=text, to=to, next_action=next_action, result=value)
        return cls(names.task(task), cast("Settlement", status), handoff, files, check, reason)

    async def carry_out(self, session: AsyncSession) -> Settled:
        """Settle. Raises `ClaimLost`, `NotFound`, `VerificationFailed`, `UsageError`; then nothing was written."""
        if self.reason is not None:
            handoff = await self._evidence(session, None)
            task = await claims.force(session.context, self.task, self.state, handoff, self.reason)
            return Settled(task, False, await self._tell(session, task))
        try:
            held = await claims.hold(session.context, self.task)
            handoff = await self._evidence(session, held)
            task = await claims.settle(session.context, held, self.state, handoff)
        except ClaimLost:
            found = await self._settled_before(session)
            if found is None:
                raise
            return Settled(found, True, await self._told_before(session, found) or await self._tell(session, found))
        return Settled(task, False, await self._tell(session, task))

    async def _evidence(self, session: AsyncSession, held: Held | None) -> Handoff:
        """The handoff with what git and the check say."""
        handoff = self.handoff
        if self.files:
            task = await claims.read(session.context, self.task)
            handoff = msgspec.structs.replace(handoff, changed_files=_changed_files(task.time if task else ""))
        if self.check is not None:
            proof = await self._verify(session, held, self.check)
            handoff = msgspec.structs.replace(handoff, verification=proof)
        return handoff

    async def _verify(self, session: AsyncSession, held: Held | None, command: str) -> Verification:
        """Run the check, with the lease kept alive however long it takes; it is stopped when the claim is lost."""
        loss: list[ClaimLost] = []
        keeper = Keeper(session.context, session.announcer)
        if held is not None:
            await claims.renew(session.context, held)
        check = Check(command)

        def give_up(error: ClaimLost) -> None:
            loss.append(error)
            stopping.append(asyncio.create_task(asyncio.to_thread(check.stop)))

        stopping: list[asyncio.Task[None]] = []
        if held is not None:
            keeper.keep(held, give_up)
        try:
            proof = await asyncio.to_thread(check.wait)
        except BaseException:
            check.stop()
            raise
        finally:
            await keeper.stop()
        if loss:
            raise await claims.explained(session.context, loss[0])
        if proof.exit_code != 0:
            raise VerificationFailed(self.task, command, proof.exit_code, check.output)
        return proof

    async def _settled_before(self, session: AsyncSession) -> Task | None:
        """The task, if this agent and session has settled it just so: the reply was lost, or this is a repeat."""
        found, holder = await claims.read(session.context, self.task), session.context.holder
        if found is None or found.record.state != self.state:
            return None
        return found if (found.record.owner, found.record.session) == (holder.agent, holder.session) else None

    async def _tell(self, session: AsyncSession, task: Task) -> Sent | None:
        """The message to the one who is handed over to."""
        to = self.handoff.to
        if to is None:
            return None
        data = {"task": task.id, "state": task.record.state, "revision": task.revision}
        if self.handoff.next_action:
            data["next_action"] = self.handoff.next_action
        text = self.handoff.note or f"{task.id} is {task.record.state}"
        return await session.send(to, text, kind="handoff", thread=task.id, data=data)

    async def _told_before(self, session: AsyncSession, task: Task) -> Sent | None:
        """The message of an earlier try."""
        for sent in await session.mail.sent(limit=1_000):
            message = sent.message
            told = message.data.get("revision") if isinstance(message.data, dict) else None
            if (message.kind, message.to, message.thread, told) == ("handoff", self.handoff.to, task.id, task.revision):
                return Sent(message.id, message.to)
        return None


def _changed_files(since: str) -> list[str]:
    files = git_facts.changed_files(since)
    if len(files) > git_facts.MAX_FILES:
        note(f"{len(files)} files changed; the first {git_facts.MAX_FILES} are kept")
    return files[: git_facts.MAX_FILES]
