"""``claim``, ``complete``, ``release``: a task is taken, done, handed over, given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from tracecraft import claims, leases
from tracecraft.integrations.toolbox import problem, seen
from tracecraft.integrations.toolbox.problem import INVALID_ARGUMENTS, ToolProblem, problem_of
from tracecraft.integrations.toolbox.results import ClaimResult, CompleteResult, NotDone, ReleaseResult
from tracecraft_core import names
from tracecraft_core.bodies import Handoff
from tracecraft_core.errors import ClaimLost, TaskHeld, TracecraftError, WaitTimeout

if TYPE_CHECKING:
    from tracecraft.claims import Held, Task
    from tracecraft.integrations.toolbox.arguments import ClaimArguments, CompleteArguments, ReleaseArguments
    from tracecraft.integrations.toolbox.desk import Turn
    from tracecraft.mail import Sent


async def claim(turn: Turn, arguments: ClaimArguments) -> ClaimResult:
    """Take a task."""
    if arguments.task is not UNSET and arguments.pattern is not UNSET:
        raise ToolProblem(INVALID_ARGUMENTS, "claim: give task or pattern, not both", retry=True)
    try:
        held = await _take(turn, arguments)
    except TaskHeld as error:
        found = await turn.session.tasks.show(error.task)
        session = found.record.session if found is not None and found.record.owner == error.owner else None
        raise problem.held(error, session, me=turn.context.agent) from error
    except WaitTimeout as error:
        raise ToolProblem(
            problem.TIMEOUT, f"{error}: take another task, or claim() with wait again", retry=True
        ) from error
    return ClaimResult(
        task=held.task,
        fence=held.fence,
        lease_s=held.ttl,
        attempt=held.record.attempt,
        again=held.again,
        **seen.claimed(held.record),
    )


async def _take(turn: Turn, arguments: ClaimArguments) -> Held:
    lease = leases.LIVE_TTL_S if arguments.lease is UNSET else arguments.lease
    wait = arguments.wait or None
    if arguments.task is UNSET:
        pattern = ">" if arguments.pattern is UNSET else arguments.pattern
        return await turn.desk.take(turn.session.claim_next(pattern, lease=lease, wait=wait), turn.handing)
    mine = turn.desk.claims.get(arguments.task)
    if mine is not None:
        await claims.renew(turn.context, mine.held)
        mine.held.again = True
        return mine.held
    return await turn.desk.take(turn.session.claim(arguments.task, lease=lease, wait=wait), turn.handing)


async def complete(turn: Turn, arguments: CompleteArguments) -> CompleteResult:
    """Settle a task and hand over; the message to whom it is handed over to comes after, and may fail alone."""
    handoff = Handoff(
        note=arguments.note or None,
        to=None if arguments.to is UNSET else names.agent(arguments.to),
        next_action=arguments.next_action or None,
        result=arguments.result,
        changed_files=arguments.changed_files or None,
    )
    task, repeated = await _settle(turn, arguments, handoff)
    turn.desk.put_down(task.id)
    notices: list[str] = []
    sent: Sent | None = None
    if handoff.to is not None and not (repeated and await _told_before(turn, task, handoff.to)):
        try:
            sent = await _tell(turn, task, handoff)
        except TracecraftError as error:
            notices.append(f"{task.id} is settled, but {handoff.to} was not told: send() it ({problem_of(error).code})")
    return CompleteResult(
        task=task.id,
        state=task.record.state,
        revision=task.revision,
        repeated=repeated,
        message=sent.id if sent else UNSET,
        registered=False if sent and not sent.registered else UNSET,
        notices=notices,
    )


async def _settle(turn: Turn, arguments: CompleteArguments, handoff: Handoff) -> tuple[Task, bool]:
    """The task, and whether this agent and session had settled it just so before: a reply was lost, or it repeats."""
    try:
        held = await turn.desk.held(names.task(arguments.task))
        return await claims.settle(turn.context, held, arguments.state, handoff), False
    except ClaimLost:
        found = await claims.read(turn.context, arguments.task)
        if found is None or not turn.desk.is_ours(found) or found.record.state != arguments.state:
            raise
        return found, True


async def _tell(turn: Turn, task: Task, handoff: Handoff) -> Sent:
    assert handoff.to is not None
    data = {"task": task.id, "state": task.record.state, "revision": task.revision}
    if handoff.next_action:
        data["next_action"] = handoff.next_action
    text = handoff.note or f"{task.id} is {task.record.state}"
    return await turn.session.send(handoff.to, text, kind="handoff", thread=task.id, data=data)


async def _told_before(turn: Turn, task: Task, to: str) -> bool:
    for sent in await turn.session.mail.sent(limit=200):
        message = sent.message
        told = message.data.get("revision") if isinstance(message.data, dict) else None
        if (message.kind, message.to, message.thread, told) == ("handoff", to, task.id, task.revision):
            return True
    return False


async def release(turn: Turn, arguments: ReleaseArguments) -> ReleaseResult:
    """Give back tasks and files; each for itself."""
    if not arguments.tasks and not arguments.files:
        raise ToolProblem(INVALID_ARGUMENTS, "release: name tasks or files", retry=True)
    released: list[str] = []
    failed: list[tuple[str, ToolProblem]] = []
    for task in arguments.tasks:
        try:
            await _release(turn, task, arguments.note or None)
            released.append(task)
        except TracecraftError as error:
            failed.append((task, problem_of(error)))
    for glob in arguments.files:
        try:
            released += [one.glob for one in await turn.session.reservations.release(glob)]
        except TracecraftError as error:
            failed.append((glob, problem_of(error)))
    if failed and not released:
        raise failed[0][1]
    return ReleaseResult(
        released=released[:200], failed=[NotDone(what=what, why=why.message[:200]) for what, why in failed[:50]]
    )


async def _release(turn: Turn, task: str, note: str | None) -> None:
    held = await turn.desk.held(names.task(task))
    await claims.release(turn.context, held, Handoff(note=note) if note else None)
    turn.desk.put_down(task)
