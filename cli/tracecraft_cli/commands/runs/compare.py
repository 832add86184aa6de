"""``tracecraft runs compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft.context import Context
    from tracecraft_cli.held import Memo
    from tracecraft_cli.runs_view.comparison import Comparison

MOST = 20


@click.command()
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--metric", "metrics", multiple=True, metavar="KEY", help="Draw the curve of this metric. Repeatable.")
@click.option("--html", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with plots here.")
@common
def command(common: Common, run_ids: tuple[str, ...], metrics: tuple[str, ...], file: Path | None) -> None:
    """Put runs side by side: parameters that differ, metrics with their deltas to the first run, curves.

    Warns where numbers cannot be compared: different steps, a run that is still running. With --html the curves are on
    the page alone, which is one file that needs no network.

    Example: tracecraft runs compare k3x9qa m2w8zz --metric loss --html loss.html
    """

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli.columns import columns
        from tracecraft_cli.runs_view import comparison_page, comparison_text

        found = await _compare(session.context, run_ids, metrics, all_=file is not None)
        if file is not None:
            _write(file, comparison_page.page(found))
        shown = comparison_text.text(found, columns(), curves=file is None)
        emit(common.as_json, found.as_json() | {"html": file and str(file)}, shown)
        if file is not None:
            note(f"{file} written")

    guard(common.as_json, lambda: _check(run_ids))
    run(common, work, acts=False)


def _check(run_ids: tuple[str, ...]) -> None:
    from tracecraft_core.errors import UsageError

    if not 2 <= len(set(run_ids)) <= MOST:
        raise UsageError(f"name 2 to {MOST} runs: tracecraft runs compare k3x9qa m2w8zz")


async def _compare(context: Context, run_ids: tuple[str, ...], metrics: tuple[str, ...], *, all_: bool) -> Comparison:
    import asyncio

    from tracecraft.queries import ask
    from tracecraft_cli.runs_view import comparison, comparison_text
    from tracecraft_core.errors import NotFound
    from tracecraft_core.queries import Plot, PlotQuestion, RunDetail, RunQuestion

    asked = [ask(context, "runs.get", RunQuestion(run=one), RunDetail) for one in dict.fromkeys(run_ids)]
    runs = list(await asyncio.gather(*asked))
    points: dict[str, int] = {}
    for metric in (metric for one in runs for metric in one.metrics if not metric.agent):
        points[metric.key] = max(points.get(metric.key, 0), metric.points)
    unknown = next((key for key in metrics if key not in points), None)
    if unknown is not None:
        raise NotFound("metric", unknown, f"these runs have {', '.join(points) or 'none'}")
    keys = list(metrics) or [key for key, number in points.items() if number > 1]
    keys = keys if all_ or metrics else keys[: comparison_text.PLOTS]
    plots = await asyncio.gather(
        *(ask(context, "runs.plot", PlotQuestion(run=one.row.run, keys=keys), Plot) for one in runs if keys)
    )
    by_run = [{curve.key: curve for curve in plot.curves} for plot in plots]
    return comparison.compare(runs, {key: [curves.get(key) for curves in by_run] for key in keys})


def _write(file: Path, content: str) -> None:
    from tracecraft_core.errors import UsageError

    try:
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html {file} cannot be written: {error.strerror}") from None
