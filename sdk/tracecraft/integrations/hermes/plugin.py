"""What Hermes is told at its start: which of its events are heard, and which tools there are.

Hermes calls hooks with keywords alone and may add some at any time, so every callback takes what it knows. Where the
plugin is registered twice (by its entry point and from a folder) or anew, only the latest registration is heard.
"""

from __future__ import annotations

import sys
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from tracecraft.integrations.closing import flush
from tracecraft.integrations.guard import guarded
from tracecraft.integrations.hermes.narration import Narration
from tracecraft.integrations.hermes.post import Post
from tracecraft.integrations.toolbox import TOOLS, Toolbox
from tracecraft.integrations.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft.integrations.toolbox import Tool

TOOLSET: Final = "tracecraft"
"""The name under which Hermes switches our tools on and off."""
LEAVE_S: Final = 5.0
"""Seconds for which a process that would end at once is held up, at most, to deliver its run."""

_latest: Final[list[object]] = []
"""The registration that is heard."""


def register(ctx: Any) -> None:
    """Hermes' entry into a plugin; ``ctx`` is its `PluginContext`."""
    plugin = Plugin(ctx)
    _latest[:] = [plugin]
    hooks: dict[str, Callable[..., Any]] = {
        "pre_llm_call": plugin.begin_turn,
        "post_llm_call": plugin.answer,
        "on_session_end": plugin.end_turn,
        "on_session_finalize": plugin.end_session,
        "pre_api_request": plugin.ask,
        "post_api_request": plugin.respond,
        "api_request_error": plugin.refuse,
        "pre_tool_call": plugin.call,
        "post_tool_call": plugin.result,
        "transform_tool_result": plugin.hand_over,
        "subagent_start": plugin.delegate,
        "subagent_stop": plugin.report,
    }
    for name, callback in hooks.items():
        ctx.register_hook(name, callback)
    ctx.register_middleware("tool_execution", plugin.execute)
    for tool in TOOLS:
        _register_tool(ctx, tool)


class Plugin:
    """One registration."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx
        self._narration = narration()

    @property
    def _is_heard(self) -> bool:
        return bool(_latest) and _latest[0] is self

    def _post(self) -> Post:
        return post()

    # -- turns --------------------------------------------------------------------------------------------------

    @guarded
    def begin_turn(self, **told: Any) -> dict[str, str] | None:
        """The user has said something; what is said in return stands beside it, so it is ours alone."""
        if not self._is_heard:
            return None
        self._narration.begin_turn(told)
        if self._narration.is_child(told.get("session_id")):
            return None
        self._post().begin(self._wake)
        said = self._post().announcement()
        return {"context": said} if said else None

    @guarded
    def answer(self, **told: Any) -> None:
        """The agent has answered."""
        if self._is_heard:
            self._narration.answer(told)

    @guarded
    def end_turn(self, **told: Any) -> None:
        """A turn is over, well or not."""
        if not self._is_heard:
            return
        self._narration.end_turn(told)
        if leaves_at_once() and not self._narration.is_child(told.get("session_id")):
            self.end_session(session_id=told.get("session_id"), reason="shutdown")
            flush(LEAVE_S)
        else:
            self._wake()

    @guarded
    def end_session(self, **told: Any) -> None:
        """A session is over, for this process."""
        if not self._is_heard:
            return
        self._narration.end_session(told)
        if told.get("reason") == "shutdown" and not self._narration.sessions:
            # What is held is given back. A thread of its own: the end of the program waits for it, Hermes does not.
            threading.Thread(target=_leave, name="tracecraft-leave").start()

    def _wake(self) -> None:
        """Tell an idle agent of mail, where the user wants that: it begins a turn, in an interactive session."""
        if self._is_heard and not self._narration.is_busy and wakes():
            said = self._post().announcement(once=True)
            if said:
                self._ctx.inject_message(said)

    # -- model calls --------------------------------------------------------------------------------------------

    @guarded
    def ask(self, **told: Any) -> None:
        """The model is asked."""
        if self._is_heard:
            self._narration.ask(told)
            self._post().seen(told.get("request_messages") or [])

    @guarded
    def respond(self, **told: Any) -> None:
        """It has answered."""
        if self._is_heard:
            self._narration.respond(told)

    @guarded
    def refuse(self, **told: Any) -> None:
        """It has not."""
        if self._is_heard:
            self._narration.refuse(told)

    # -- tools --------------------------------------------------------------------------------------------------

    @guarded
    def call(self, **told: Any) -> None:
        """A tool is called."""
        if self._is_heard:
            self._narration.call(told)

    def execute(self, *, next_call: Callable[[Any], Any], args: Any, **told: Any) -> Any:
        """It runs: what it records itself lies in its step."""
        if not self._is_heard:
            return next_call(args)
        with self._narration.inside(told):
            return next_call(args)

    @guarded
    def result(self, **told: Any) -> None:
        """It has returned."""
        if self._is_heard:
            self._narration.result(told)

    @guarded
    def hand_over(self, **told: Any) -> str | None:
        """Mail goes to the model with a tool's result: not as words of its user, and only to who the mail is for."""
        result = told.get("result")
        if not self._is_heard or not isinstance(result, str) or self._narration.is_child(told.get("session_id")):
            return None
        words = self._post().offer()
        return f"{result}\n\n{words}" if words else None

    # -- sub-agents ---------------------------------------------------------------------------------------------

    @guarded
    def delegate(self, **told: Any) -> None:
        """A sub-agent is to do something."""
        if self._is_heard:
            self._narration.delegate(told)

    @guarded
    def report(self, **told: Any) -> None:
        """It has done so, or not."""
        if self._is_heard:
            self._narration.report(told)


@cache
def narration() -> Narration:
    """The one of this process."""
    return Narration(Tree.shared("hermes"))


@cache
def toolbox() -> Toolbox:
    """The tools of this process's agent; connects at its first call."""
    return Toolbox()


@cache
def post() -> Post:
    """The mail of this process's agent."""
    return Post(toolbox())


@cache
def wakes() -> bool:
    """Whether mail may begin a turn: ``plugins.entries.tracecraft.wake`` in Hermes' config.yaml."""
    from hermes_cli.config import cfg_get, load_config

    return cfg_get(load_config(), "plugins", "entries", "tracecraft", "wake", default=False) is True


def leaves_at_once() -> bool:
    """Whether this is ``hermes -z``, which waits for no thread and tells no hook of its end, only of its turn's."""
    return any(word in ("-z", "--oneshot") or word.startswith("--oneshot=") for word in sys.argv[1:])


@guarded
def _leave() -> None:
    post().close()
    toolbox().close_blocking()


def _register_tool(ctx: Any, tool: Tool) -> None:
    def call(arguments: dict[str, Any], **_: Any) -> str:
        return toolbox().answer_blocking(tool.name, arguments)

    ctx.register_tool(
        name=tool.long_name,
        toolset=TOOLSET,
        schema={"name": tool.long_name, "description": tool.description, "parameters": tool.parameters},
        handler=call,
        description=tool.description,
    )
