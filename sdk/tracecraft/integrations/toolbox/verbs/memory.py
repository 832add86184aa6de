"""``memory_get``, ``memory_set``, ``memory_list``: what all agents share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from tracecraft.integrations.toolbox import bounds, seen
from tracecraft.integrations.toolbox.problem import CONFLICT, INVALID_ARGUMENTS, ToolProblem
from tracecraft.integrations.toolbox.results import MemoryGetResult, MemoryListResult, MemorySetResult
from tracecraft.memory import merge_patch
from tracecraft_core.errors import RevisionConflict

if TYPE_CHECKING:
    from tracecraft.integrations.toolbox.arguments import MemoryGetArguments, MemoryListArguments, MemorySetArguments
    from tracecraft.integrations.toolbox.desk import Turn


async def get(turn: Turn, arguments: MemoryGetArguments) -> MemoryGetResult:
    """The value of a key."""
    revision = None if arguments.revision is UNSET else arguments.revision
    entry = await turn.session.memory.entry(arguments.key, revision=revision)
    if entry is None or entry.deleted:
        return MemoryGetResult(key=arguments.key, exists=False, revision=entry.revision if entry else 0)
    shown = bounds.value(entry.value, bounds.WHOLE, arguments.offset)
    going_on = f"{shown.rest:,} more characters: memory_get(key={arguments.key!r}, offset={shown.next}) goes on"
    return MemoryGetResult(
        key=entry.key,
        exists=True,
        revision=entry.revision,
        value=shown.value,
        part=shown.part,
        left_out=going_on if shown.rest else UNSET,
        by=bounds.line(entry.by, 64),
        time=entry.time,
    )


async def set_(turn: Turn, arguments: MemorySetArguments) -> MemorySetResult:
    """Write a value; with a condition only if it holds."""
    conditions = (arguments.if_revision is not UNSET) + arguments.if_absent + arguments.merge
    if conditions > 1:
        raise ToolProblem(INVALID_ARGUMENTS, "memory_set: give one of if_revision, if_absent, merge", retry=True)
    if arguments.merge:
        return await _merge(turn, arguments)
    if_revision = None if arguments.if_revision is UNSET else arguments.if_revision
    try:
        revision = await turn.session.memory.set(
            arguments.key, arguments.value, if_revision=if_revision, if_absent=arguments.if_absent
        )
    except RevisionConflict as error:
        raise await _conflict(turn, arguments.key) from error
    return MemorySetResult(key=arguments.key, revision=revision)


async def _merge(turn: Turn, arguments: MemorySetArguments) -> MemorySetResult:
    if not isinstance(arguments.value, dict):
        raise ToolProblem(INVALID_ARGUMENTS, "memory_set: with merge the value is an object", retry=True)
    entry = await turn.session.memory.update(arguments.key, lambda value: merge_patch(value, arguments.value))
    shown = bounds.value(entry.value, bounds.WHOLE)
    return MemorySetResult(
        key=arguments.key,
        revision=entry.revision,
        value=bounds.either(shown),
        left_out=f"{shown.rest:,} more characters: memory_get shows all" if shown.rest else UNSET,
    )


async def _conflict(turn: Turn, key: str) -> ToolProblem:
    """What is there now, for who wants to decide again."""
    entry = await turn.session.memory.entry(key)
    if entry is None or entry.deleted:
        now = f"it has no value now (revision {entry.revision if entry else 0})"
        facts: dict[str, Any] = {"key": key, "revision": entry.revision if entry else 0, "exists": False}
    else:
        now = f"it is at revision {entry.revision} now, written by {bounds.head(entry.by or 'somebody', 64)}"
        value = bounds.value(entry.value, bounds.TEXT)
        facts = {"key": key, "revision": entry.revision, "exists": True, "value": bounds.either(value)}
    advice = "Read it with memory_get, decide again, and give that revision as if_revision."
    return ToolProblem(CONFLICT, f"nothing was written to {key}: {now}. {advice}", retry=True, facts=facts)


async def list_(turn: Turn, arguments: MemoryListArguments) -> MemoryListResult:
    """The keys."""
    found = await turn.session.memory.list(arguments.prefix)
    wanted = found[arguments.offset : arguments.offset + arguments.limit]
    shown = bounds.fit([seen.entry_line(entry) for entry in wanted])
    return MemoryListResult(
        entries=shown,
        total=len(found),
        left_out=bounds.page(len(found), arguments.offset, shown, "narrow it down with prefix"),
    )
