"""`Order`: CrewAI's events as they happened, whatever the order in which its bus tells of them.

Events carry ids: of the scope they lie in (``parent_event_id``), and an ending of what it ends (``started_event_id``).
One that comes before the one it names waits for it; those that waited for the same follow by ``emission_sequence``.
Usually none waits: it takes a handler of the user's that others depend on (``Depends``) to bring them into disorder.
"""

from __future__ import annotations

import atexit
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations import closing
from tracecraft.recording.run import before_end

if TYPE_CHECKING:
    from tracecraft.integrations.crewai.narration import Narration

BEGINNING: Final = "started"
ENDINGS: Final = frozenset({"completed", "finished", "failed", "error", "paused", "canceled"})
"""Last words of the names of events."""

GRACE_S: Final = 1.0
"""How long the end of a run of the program, and that of the program, wait for the end of a crew to come by."""
MOST_WAITING: Final = 200
"""Events that may wait; the oldest are dropped: of a crew that had begun before we listened."""


@dataclass(slots=True)
class Scope:
    """Something that has begun."""

    kind: str
    """Type of the event that began it."""
    run: str | None
    """The event that began the run it lies in; ``None``: it lies in none."""
    thing: object
    """What it is about, see `_thing`."""
    open: bool = True


class Order:
    """Hands events on in the order of cause and effect."""

    def __init__(self, narration: Narration) -> None:
        self._narration = narration
        self._scopes: dict[str, Scope] = {}
        self._roots: dict[str, str] = {}
        """The scopes that lie in no other, and the runs of ours in which they are recorded."""
        self._restored = False
        """Whether this process has read a checkpoint."""
        self._waiting: list[tuple[str, Any, Any]] = []
        self._told = threading.Condition()

    def hear(self, source: Any, event: Any) -> None:
        """An event has come by."""
        needed = _needed(event)
        if event.type == "checkpoint_restore_completed":
            self._restored = True
        if needed is not None and needed not in self._scopes and not self._resume(source, event, needed):
            self._waiting = [*self._waiting, (needed, source, event)][-MOST_WAITING:]
            return
        with self._told:
            self._tell(source, event, needed)
            self._told.notify_all()
        ready = [waiting for waiting in self._waiting if waiting[0] == event.event_id]
        self._waiting = [waiting for waiting in self._waiting if waiting[0] != event.event_id]
        for _, its_source, its_event in sorted(ready, key=lambda one: one[2].emission_sequence or 0):
            self.hear(its_source, its_event)

    def wait_for(self, key: str, seconds: float) -> None:
        """Wait in another thread until the event has come by."""
        with self._told:
            self._told.wait_for(lambda: key in self._scopes, seconds)

    def wait_until_over(self, run: str | None = None) -> None:
        """Wait in another thread until the ends of all that works in a run of ours have come by, or the grace is over.

        Without a run it is all of them. CrewAI flushes its bus before it tells of the end of a crew, and not after.
        """
        with self._told:
            self._told.wait_for(lambda: run not in self._roots.values() if run else not self._roots, GRACE_S)

    def _tell(self, source: Any, event: Any, needed: str | None) -> None:
        if event.type.endswith(BEGINNING):
            outer = self._scopes.get(needed or "")
            begun = self._narration.begin(source, event, needed if outer and outer.run else None)
            run = outer.run if outer and outer.run else event.event_id if begun else None
            self._scopes[event.event_id] = Scope(event.type, run, _thing(event))
            if run == event.event_id:
                self._take_root(run)
        elif needed is not None and event.started_event_id == needed:
            self._end(source, event, needed)
        else:
            self._narration.remark(source, event)

    def _at_exit(self) -> None:
        self.wait_until_over()
        closing.flush(closing.PATIENCE_S)

    def _resume(self, source: Any, event: Any, run: str) -> bool:
        """A crew that goes on from a checkpoint does not begin once more: its first task tells that it goes on."""
        if not self._restored or event.type != "task_started":
            return False
        self._narration.resume(source, event, run)
        self._scopes[run] = Scope("crew_kickoff_started", run, None)
        self._take_root(run)
        return True

    def _take_root(self, key: str) -> None:
        """See to it that the end of the run, and that of the program, wait for the end of this."""
        run = self._narration.tree.run(key)
        if run is None:
            return
        if run.id not in self._roots.values():
            before_end(run, lambda: self.wait_until_over(run.id))
        self._roots[key] = run.id
        # After the recorder of the run has registered itself: the last one is called first.
        atexit.unregister(self._at_exit)
        atexit.register(self._at_exit)

    def _ended(self, event: Any, begun: str) -> str | None:
        """What an event ends: mostly what it says.

        A failed model call is told of twice, and CrewAI pairs the second with what lies around it; inside of a tool,
        say, that is the tool, and from then on its pairs are shifted. There it is the newest of the same thing.
        """
        kind = f"{event.type.rpartition('_')[0]}_{BEGINNING}"
        if self._scopes[begun].kind == kind:
            return begun
        same = ((key, scope) for key, scope in reversed(self._scopes.items()) if scope.open and scope.kind == kind)
        return next((key for key, scope in same if scope.thing == _thing(event)), None)

    def _end(self, source: Any, event: Any, begun: str) -> None:
        found = self._ended(event, begun)
        if found is None:
            return
        begun, scope = found, self._scopes[found]
        scope.open = False
        try:
            self._narration.end(source, event, begun)
        finally:
            if scope.run == begun:
                self._roots.pop(begun, None)
                self._scopes = {key: each for key, each in self._scopes.items() if each.run != begun}
            elif scope.run is None:
                del self._scopes[begun]


def _thing(event: Any) -> object:
    """By what the beginning and the end of the same thing are told apart from others of their kind."""
    for name in ("call_id", "tool_name", "agent", "task_id", "method_name", "flow_name", "crew_name"):
        thing = getattr(event, name, None)
        if thing is not None:
            return getattr(thing, "id", thing)
    return None


def _needed(event: Any) -> str | None:
    """The event that must have come by before this one."""
    is_end = event.type.rpartition("_")[2] in ENDINGS and event.started_event_id is not None
    needed = event.started_event_id if is_end else event.parent_event_id
    return None if needed is None else str(needed)
