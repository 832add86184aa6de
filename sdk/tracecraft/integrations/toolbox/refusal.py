"""A refused call of one of our tools, as the error of the step that records the call.

Most frameworks hand a model the words of a refusal as they hand it a result, and take the call for a success. The
toolbox knows better, and tells the step around the call by itself: the same in every framework, whatever the words.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tracecraft.integrations.toolbox.problem import problem_of
from tracecraft.integrations.toolbox.tool import PREFIX
from tracecraft_core.errors import TracecraftError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft.integrations.toolbox.problem import ToolProblem
    from tracecraft_core.run_events import Failure


@contextmanager
def told_to_step(tool: str) -> Iterator[None]:
    """A call of a tool; the step around it is told of only where it is the call of this very tool.

    A tool of the program's own that uses ours may be refused, and do what it should all the same.
    """
    try:
        yield
    except TracecraftError as error:
        _tell(tool, failure(problem_of(error)))
        raise
    _tell(tool, None)


def failure(problem: ToolProblem) -> Failure:
    """What is recorded of a refusal: its code and its words."""
    from tracecraft_core.run_events import Failure

    return Failure(type=problem.code, message=problem.message)


def _tell(tool: str, refusal: Failure | None) -> None:
    from tracecraft.recording.step import current_step, refuse

    step = current_step()
    if step is not None and step.kind == "tool_call" and step.name == PREFIX + tool.removeprefix(PREFIX):
        refuse(step, refusal)
