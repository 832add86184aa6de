"""``tracecraft run log-step``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from tracecraft_cli.options import DURATION, Common, Whole, common
from tracecraft_cli.run_writing import run_option
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.finished_step import FinishedStep
    from tracecraft_cli.held import Memo
    from tracecraft_core.errors import BusUnreachable
    from tracecraft_core.settings import Settings

KINDS: Final = ("llm", "tool_call", "task", "message", "handoff", "retrieval", "other")


@click.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), default="other", show_default=True, help="What it was.")
@click.option("--status", type=click.Choice(["ok", "error"]), default="ok", show_default=True, help="How it ended.")
@click.option("--error", "message", metavar="TEXT", help="What went wrong; then the status is error.")
@click.option("--input", "given", metavar="JSON|-", help="What went in; '-' reads standard input. Text too.")
@click.option("--output", "came", metavar="JSON|-", help="What came out; '-' reads standard input. Text too.")
@click.option("--seconds", type=DURATION, default=0.0, help="How long it took: it ended just now.  [default: 0]")
@click.option("--parent", metavar="STEP", help="Id of the step inside of which it was.")
@click.option("--task", metavar="TASK", help="The task that it worked on. [env: TRACECRAFT_TASK]")
@click.option("--model", metavar="M", help="The model that was called.")
@click.option("--provider", metavar="P", help="Whose model it is: openai, anthropic, ...")
@click.option("--input-tokens", type=Whole(min=0), metavar="N", help="Input tokens that no cache held.")
@click.option("--cache-read-tokens", type=Whole(min=0), metavar="N", help="Input tokens read from a cache.")
@click.option("--cache-write-tokens", type=Whole(min=0), metavar="N", help="Input tokens written to a cache.")
@click.option("--output-tokens", type=Whole(min=0), metavar="N", help="Output tokens without reasoning.")
@click.option("--reasoning-tokens", type=Whole(min=0), metavar="N", help="Output tokens of reasoning.")
@click.option("--cost", type=float, metavar="USD", help="What it cost, if you know; else a price list says it.")
@run_option
@common
def command(common: Common, name: str, given: str | None, came: str | None, run_id: str | None, **facts: Any) -> None:
    """Log the step NAME, which is over, and print its id.

    What goes in and out is JSON, or text where it is none; what looks like a secret is replaced before it leaves this
    process. Over 16 KiB it is kept in the artifact store.

    Example: tracecraft run log-step summarise --kind llm --model gpt-5 --seconds 2 --input-tokens 900 --output-tokens 8
    """
    steps: list[FinishedStep] = []

    def check() -> None:
        from tracecraft_cli.finished_step import FinishedStep

        steps.append(FinishedStep.of(name, given, came, facts))

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import run_writing

        events = await steps[0].events(session.context)
        await run_writing.enter(
            common, session.settings, session.context.bus, run_id, events, steps[0].result(), steps[0].id
        )

    async def away(settings: Settings, error: BusUnreachable) -> None:
        from tracecraft_cli import run_writing

        events = await steps[0].events(None, error)
        await run_writing.enter(common, settings, None, run_id, events, steps[0].result(), steps[0].id)

    guard(common.as_json, check)
    run(common, work, away=away)
