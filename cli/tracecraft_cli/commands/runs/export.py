"""``tracecraft runs export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from tracecraft_cli.options import Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard, run

if TYPE_CHECKING:
    from tracecraft import AsyncSession
    from tracecraft_cli.held import Memo


class _Headers(click.ParamType[str]):
    """``K=V``; several in the environment variable are set apart by commas, as a value may have spaces."""

    name = "header"
    envvar_list_splitter: ClassVar[str] = ","


@click.command()
@click.argument("run_id", metavar="ID")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="[default: ID.tcb]"
)
@click.option("--with-artifacts", is_flag=True, help="Put the contents of its files inside as well.")
@click.option(
    "--otlp",
    metavar="FILE|URL",
    help="Write spans of OpenTelemetry in place of a bundle: into FILE (.json, .jsonl, .binpb; '-': standard output), "
    "or to the OTLP/HTTP endpoint at URL.",
)
@click.option("--header", multiple=True, type=_Headers(), metavar="K=V", help="With --otlp URL: send this header.")
@common
def command(
    common: Common, run_id: str, output: Path | None, with_artifacts: bool, otlp: str | None, header: tuple[str, ...]
) -> None:
    """Write a run into one file: its events, those of the runs inside of it, and what happened meanwhile.

    The file opens without a server ('tracecraft replay FILE'), proves that it is whole ('runs verify FILE') and goes
    into another stack ('runs import FILE'). With --otlp the run goes to programs that show traces, such as Phoenix,
    Langfuse or Jaeger; keys for them also come from OTEL_EXPORTER_OTLP_HEADERS.

    Example: tracecraft runs export k3x9qa -o winner.tcb --with-artifacts
    """
    sent: dict[str, str] = {}

    def check() -> None:
        from tracecraft_core.errors import UsageError

        if otlp is None and header:
            raise UsageError("--header belongs to --otlp URL")
        if otlp is not None:
            if output is not None or with_artifacts:
                raise UsageError("--otlp names where it writes: leave --output and --with-artifacts out")
            from tracecraft_cli.otlp_export import endpoint, exporting

            if header and not endpoint.is_url(otlp):
                raise UsageError("--header belongs to --otlp URL")
            sent.update(exporting.check(otlp, header))

    async def work(session: AsyncSession, memo: Memo) -> None:
        if otlp is not None:
            return await _spans(common, session, run_id, otlp, sent)
        import dataclasses

        from tracecraft_cli import carrying
        from tracecraft_cli.amounts import counted

        done = await carrying.export(session.context, run_id, output, with_artifacts=with_artifacts)
        files = f", {counted(done.artifacts, 'file')}" if with_artifacts else ""
        entries = counted(done.entries, "entry", "entries")
        text = f"{done.file}: run {done.run}, {entries}{files}, {done.size:,} bytes, root {done.root[:16]}"
        emit(common.as_json, dataclasses.asdict(done), text)
        return None

    guard(common.as_json, check)
    run(common, work, acts=False)


async def _spans(common: Common, session: AsyncSession, run_id: str, target: str, headers: dict[str, str]) -> None:
    from tracecraft_cli.amounts import counted
    from tracecraft_cli.otlp_export import exporting, files

    done, notes = await exporting.export(session.context, run_id, target, headers)
    for one in notes:
        note(f"tracecraft: {one}")
    if target != files.STDOUT:  # there the spans are
        inside = f" and {len(done['runs']) - 1:,} inside of it" if len(done["runs"]) > 1 else ""
        size = f"{counted(done['spans'], 'span')}, {counted(done['links'], 'link')}"
        emit(common.as_json, done, f"{done['target']}: run {done['run']}{inside}, {size}, trace {done['trace']}")
