"""`Narration`: what Hermes tells of its sessions, as runs.

A session is a run, for as long as a process works in it; a turn is a task, and inside of it are model calls and tools.
A sub-agent is a session of its own for Hermes: here it lies inside of the call that delegated to it, also when it works
on after that call has returned.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations.tree import failed

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from contextlib import AbstractContextManager

    from tracecraft.integrations.tree import Tree
    from tracecraft_core.run_events import EndStatus, Failure

    Told = Mapping[str, Any]

DELEGATING: Final = "delegate_task"
"""Hermes' tool that starts sub-agents."""


@dataclass(slots=True)
class Conversation:
    """A session of Hermes that this process works in."""

    root: str
    """The session that it was delegated from in the end, or itself."""
    turns: dict[str, None] = field(default_factory=dict)
    """Those that have begun and not ended."""
    delegating: Hashable | None = None
    """The call that delegated last."""
    answer: Any = None
    error: Failure | None = None
    """Of the last model call, if it failed."""
    failure: Failure | None = None
    """Of the last turn, if it failed."""
    interrupted: bool = False
    subagents: int = 0


class Narration:
    """The sessions of this process. Safe to use from several threads, as Hermes calls from several."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.sessions: dict[str, Conversation] = {}
        self._attempts: Counter[str] = Counter()
        self._lock = threading.RLock()

    def is_child(self, session: str | None) -> bool:
        """Whether it is a sub-agent's."""
        found = self.sessions.get(session or "")
        return found is not None and found.root != session

    @property
    def is_busy(self) -> bool:
        """Whether a turn is under way."""
        with self._lock:
            return any(one.turns for one in self.sessions.values())

    # -- sessions and turns -------------------------------------------------------------------------------------

    def begin_turn(self, told: Told) -> None:
        """The user, or who delegates, has said something."""
        session, turn = told["session_id"], told["turn_id"]
        with self._lock:
            conversation = self._meet(session, told)
            self._leave_turns(conversation, "the next turn began first")
            conversation.turns[turn] = None
            conversation.interrupted, conversation.failure, conversation.error = False, None, None
            self._tree.begin(turn, _key(session), "turn", "task", input=told.get("user_message"))

    def _meet(self, session: str, told: Told) -> Conversation:
        found = self.sessions.get(session)
        if found is None:
            found = self.sessions[session] = Conversation(root=session)
            tags = {"source": "hermes", "session": session, "platform": told.get("platform") or "unknown"}
            self._tree.begin_run(_key(session), "hermes", input=told.get("user_message"), tags=tags)
        return found

    def answer(self, told: Told) -> None:
        """The turn's answer."""
        conversation = self.sessions.get(told["session_id"])
        if conversation is not None:
            conversation.answer = told.get("assistant_response")
            self._tree.end(told["turn_id"], output=conversation.answer, error=conversation.error)

    def end_turn(self, told: Told) -> None:
        """A turn is over; one that has not answered was interrupted, or failed."""
        with self._lock:
            conversation = self.sessions.get(told.get("session_id") or "")
            if conversation is None:
                return
            turn = told.get("turn_id")
            turns = [one for one in conversation.turns if turn in (None, "", one)]
            if not turns:  # the terminal interface tells of an interruption at the end of every session, idle or not
                return
            conversation.interrupted = bool(told.get("interrupted"))
            if conversation.interrupted:
                conversation.failure = failed("Interrupted", told.get("reason") or "by the user")
            elif conversation.error is not None:  # Hermes calls its apology an answer
                conversation.failure = conversation.error
            elif not told.get("completed"):
                conversation.failure = failed("Incomplete", "the turn ended without an answer")
            self._end_turns(conversation, turns, conversation.failure)

    def _end_turns(self, conversation: Conversation, turns: list[str], failure: Failure | None) -> None:
        for turn in turns:
            conversation.turns.pop(turn, None)
            self._tree.end(turn, error=failure)

    def _leave_turns(self, conversation: Conversation, why: str) -> None:
        """End what Hermes never ends: a turn whose model call it gave up, and whatever was under way at an end."""
        if conversation.turns:
            conversation.failure = conversation.error or failed("Unfinished", why)
            self._end_turns(conversation, list(conversation.turns), conversation.failure)

    def end_session(self, told: Told) -> None:
        """The process leaves the session: its run is over, with whatever of it has not ended."""
        with self._lock:
            over = {told.get("session_id") or ""}
            if told.get("reason") == "shutdown":  # also those that Hermes has gone on with under another id
                over.update(self.sessions)
            for session in over:
                self._end_session(session)

    def _end_session(self, session: str) -> None:
        conversation = self.sessions.get(session)
        if conversation is not None and conversation.root == session:
            for name in [name for name, one in self.sessions.items() if one.root == session]:
                self._leave_turns(self.sessions.pop(name), "the session was over first")
            status: EndStatus | None = "killed" if conversation.interrupted else None
            output = {} if conversation.answer is None else {"output": conversation.answer}
            self._tree.end_run(_key(session), error=conversation.failure, status=status, **output)

    # -- model calls --------------------------------------------------------------------------------------------

    def ask(self, told: Told) -> None:
        """The model is asked, once more where the same request has been heard of."""
        request, model = told["api_request_id"], told.get("model") or "model"
        with self._lock:
            self._tree.end(self._attempt(request), error=failed("Retry", "asked again"))
            self._attempts[request] += 1
            key = self._attempt(request)
        self._tree.begin(key, self._turn(told), model, "llm", model=model, input=told.get("request_messages"))
        step = self._tree.step(key)
        if step is not None and self._attempts[request] > 1:
            step.set_tag("attempt", self._attempts[request])

    def _attempt(self, request: str) -> Hashable:
        return (request, self._attempts[request])

    def respond(self, told: Told) -> None:
        """It has answered, and Hermes counts: input without cached tokens, output with reasoning."""
        key = self._attempt(told["api_request_id"])
        usage = told.get("usage")
        if usage:
            reasoning = min(usage["output_tokens"], usage.get("reasoning_tokens") or 0)
            self._tree.usage(
                key,
                input=usage["input_tokens"],
                cache_read=usage.get("cache_read_tokens") or 0,
                cache_write=usage.get("cache_write_tokens") or 0,
                output=usage["output_tokens"] - reasoning,
                reasoning=reasoning,
                model=told.get("response_model") or told.get("model"),
            )
        self._tree.end(key, output=(told.get("response") or {}).get("assistant_message"))
        self._attempts.pop(told["api_request_id"], None)
        self._fail(told, None)

    def refuse(self, told: Told) -> None:
        """It has failed."""
        said = told.get("error") or {}
        error = failed(said.get("type") or "Error", said.get("message") or "")
        self._tree.end(self._attempt(told["api_request_id"]), error=error)
        self._fail(told, error)

    def _fail(self, told: Told, error: Failure | None) -> None:
        conversation = self.sessions.get(told.get("session_id") or "")
        if conversation is not None:
            conversation.error = error

    # -- tools --------------------------------------------------------------------------------------------------

    def call(self, told: Told) -> None:
        """A tool is called."""
        key, name = _call(told), told["tool_name"]
        self._tree.begin(key, self._turn(told), name, "tool_call", input=told.get("args"))
        conversation = self.sessions.get(told.get("session_id") or "")
        if conversation is not None and name == DELEGATING:
            conversation.delegating = key

    def inside(self, told: Told) -> AbstractContextManager[None]:
        """Code of that tool."""
        return self._tree.inside(_call(told))

    def result(self, told: Told) -> None:
        """It has returned; a call that was blocked has not been told of before."""
        key, output = _call(told), _decoded(told.get("result"))
        if key not in self._tree:
            self.call(told)
        error = None
        if told.get("status", "ok") != "ok":
            error = failed(told.get("error_type") or "ToolError", told.get("error_message") or told["status"])
        self._tree.end(key, output=output, error=error)

    # -- sub-agents ---------------------------------------------------------------------------------------------

    def delegate(self, told: Told) -> None:
        """A session for a sub-agent begins inside of the call that delegates."""
        with self._lock:
            parent = self.sessions.get(told.get("parent_session_id") or "")
            child = told.get("child_session_id")
            if parent is None or not child or child in self.sessions:
                return
            root = self.sessions.get(parent.root, parent)
            root.subagents += 1
            name, goal = f"subagent-{root.subagents}", told.get("child_goal")
            place = parent.delegating
            if place is None:
                place = told.get("parent_turn_id") or _key(told["parent_session_id"])
            self._tree.handoff(("handoff", child), place, name, note=goal)
            self._tree.begin_agent(_key(child), place, name, role=goal)
            self.sessions[child] = Conversation(root=parent.root)

    def report(self, told: Told) -> None:
        """The sub-agent is done; one that was stopped from outside has turns left."""
        with self._lock:
            conversation = self.sessions.get(told.get("child_session_id") or "")
            if conversation is not None:
                self._leave_turns(conversation, told.get("child_status") or "the sub-agent did not finish")

    def _turn(self, told: Told) -> Hashable:
        turn = told.get("turn_id")
        return turn if turn in self._tree else _key(told.get("session_id") or "")


def _key(session: str) -> Hashable:
    return ("session", session)


def _call(told: Told) -> Hashable:
    """A provider may count its calls anew in every request."""
    return (told.get("session_id"), told.get("api_request_id"), told.get("tool_call_id"), told.get("tool_name"))


def _decoded(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text
