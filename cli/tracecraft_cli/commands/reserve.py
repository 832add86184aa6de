"""``tracecraft reserve``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from tracecraft_cli.behind_dashes import WithProgram, program
from tracecraft_cli.options import DURATION, Common, common
from tracecraft_cli.output import emit, note
from tracecraft_cli.runner import guard, in_session, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft import AsyncSession
    from tracecraft_cli.git_hook import Changed
    from tracecraft_cli.held import Memo

_FORMS: Final = ("list", "release", "check", "install_git_hook", "uninstall_git_hook")
"""Options of which one at a time says what is to be done, as click calls them."""


@click.command(cls=WithProgram, example="tracecraft reserve 'src/**' --exec -- ./refactor.sh")
@click.argument("globs", metavar="GLOB...", nargs=-1)
@click.option("--lease", type=DURATION, help="Length of the lease, for example 30s. [default: 15m; with --exec 30s]")
@click.option("--wait", type=DURATION, help="Wait this long while others hold some of it, for example 60s.")
@click.option("--exec", "executes", is_flag=True, help="Run the command behind '--', and release when it ends.")
@click.option("--grace", type=DURATION, default=5.0, help="Time from SIGTERM to SIGKILL for CMD. [default: 5s]")
@click.option("--list", is_flag=True, help="Show who holds what; with GLOB, what overlaps it.")
@click.option("--release", is_flag=True, help="Release what you hold within GLOB.")
@click.option("--all", "all_", is_flag=True, help="With --release: everything that you hold.")
@click.option("--check", is_flag=True, help="Only tell whether GLOB is free; exit code 3 if not.")
@click.option("--staged", is_flag=True, help="With --check: the files of the commit that is being made.")
@click.option("--strict", is_flag=True, help="With --staged: refuse the commit also when nobody can tell.")
@click.option("--from-top", is_flag=True, help="GLOB is one as --list shows it, wherever you are.")
@click.option("--install-git-hook", is_flag=True, help="Check every commit in this repository.")
@click.option("--uninstall-git-hook", is_flag=True, help="Check them no more.")
@common
def command(
    common: Common,
    globs: tuple[str, ...],
    lease: float | None,
    wait: float | None,
    executes: bool,
    grace: float,
    all_: bool,
    staged: bool,
    strict: bool,
    from_top: bool,
    **forms: bool,
) -> None:
    """Reserve files, so that no other agent edits them: all that GLOB matches, in every worktree of the repository.

    A folder stands for everything inside; '*' and '?' stop at a slash, '**' does not. Of several all or none are
    reserved. Exits with 3, naming the holder, when somebody else holds a file that GLOB matches too, with 124 when
    --wait was in vain. The lease lapses by itself; every tracecraft command of yours renews it.

    Examples: tracecraft reserve src/parse.py 'docs/**/*.md'; tracecraft reserve --check src/parse.py
    """
    argv, form = program(), _form(forms)
    if executes != bool(argv) or (argv and form):
        raise click.UsageError("--exec runs what stands behind '--': tracecraft reserve src --exec -- ./refactor.sh")
    _check_words(form, globs, all_, staged and not from_top)
    if from_top and not globs:
        raise click.UsageError("--from-top needs a GLOB: tracecraft reserve --from-top 'src/**'")
    if form in ("--install-git-hook", "--uninstall-git-hook"):
        guard(common.as_json, lambda: _hook(common, install=form == "--install-git-hook"))
    elif staged:
        guard(common.as_json, lambda: _check_commit(common, strict, _meant(globs, from_top) if globs else None))
    elif form is not None:
        guard(common.as_json, lambda: _ask(common, form, _meant(globs, from_top)))
    else:
        guard(common.as_json, lambda: _reserve(common, _meant(globs, from_top), lease, wait, argv, grace))
        guard(common.as_json, lambda: _say_what_is_not_there(() if from_top else globs))


def _form(forms: dict[str, bool]) -> str | None:
    """What is to be done, if not to reserve. Raises ``click.UsageError`` for two things at once."""
    given = [f"--{name.replace('_', '-')}" for name in _FORMS if forms[name]]
    if len(given) > 1:
        raise click.UsageError(f"{given[0]} and {given[1]} exclude each other: one at a time")
    return given[0] if given else None


def _meant(globs: tuple[str, ...], from_top: bool) -> tuple[str, ...]:
    """The globs within the repository. Raises `UsageError`."""
    from tracecraft import repository
    from tracecraft_core import globs as patterns

    if from_top:
        return tuple(patterns.parse(glob.removeprefix("./")).text for glob in globs)
    return tuple(repository.glob_of(glob) for glob in globs)


def _say_what_is_not_there(globs: tuple[str, ...]) -> None:
    """A glob may be meant for files to come, or be mistaken."""
    from tracecraft import repository

    for glob in globs:
        if repository.matches_nothing(glob):
            note(f"tracecraft: {glob} matches no file now")


def _check_words(form: str | None, globs: tuple[str, ...], all_: bool, staged: bool) -> None:
    """Raise ``click.UsageError`` for words that do not go together."""
    if all_ and form != "--release":
        raise click.UsageError("--all goes with --release: tracecraft reserve --release --all")
    if staged and (form != "--check" or globs):
        raise click.UsageError("--staged goes with --check, and says which files: tracecraft reserve --check --staged")
    if form == "--release" and all_ == bool(globs):
        raise click.UsageError("say what to release: tracecraft reserve --release src, or --release --all")
    if not globs and (form is None or (form == "--check" and not staged)):
        raise click.UsageError("name a file, a folder or a glob: tracecraft reserve src/parse.py")
    if globs and form in ("--install-git-hook", "--uninstall-git-hook"):
        raise click.UsageError(f"{form} takes no GLOB: the hook checks the files of every commit")


def _reserve(
    common: Common,
    globs: tuple[str, ...],
    lease: float | None,
    wait: float | None,
    argv: tuple[str, ...] | None,
    grace: float,
) -> None:
    from tracecraft import leases
    from tracecraft_cli.taking import Wish

    default = leases.LIVE_TTL_S if argv else leases.ONESHOT_TTL_S
    wish = Wish((), None, leases.check_ttl(default if lease is None else lease), wait, globs)
    if argv:
        from tracecraft_cli.execution import execute

        raise SystemExit(execute(common, wish, argv, grace))

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import reserved

        await reserved.reserve(session, memo, wish, common.as_json)

    run(common, work)


def _ask(common: Common, form: str, globs: tuple[str, ...]) -> None:
    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import reserved

        if form == "--release":
            await reserved.release(session, memo, globs, common.as_json)
        elif form == "--check":
            await reserved.check(session, globs, common.as_json)
        else:
            await reserved.show(session, globs, common.as_json)

    if form == "--release":
        run(common, work, touches=_reservations_of(common))
    else:
        run(common, work, acts=False)


def _reservations_of(common: Common) -> list[str]:
    """The reservations that earlier commands made: a command that releases them must not renew them meanwhile."""
    from tracecraft_cli.held import Memo
    from tracecraft_core import settings
    from tracecraft_core.reservations import is_reservation

    return [task for task in Memo(settings.load(common.flags)).tasks() if is_reservation(task)]


def _check_commit(common: Common, strict: bool, given: tuple[str, ...] | None) -> None:
    from tracecraft_cli import commit_guard, git_facts

    staged = git_facts.staged_files() if given is None else list(given)

    async def work(session: AsyncSession, memo: Memo) -> None:
        from tracecraft_cli import reserved

        await reserved.check_commit(session, staged, common.as_json)

    with commit_guard.unasked(strict):
        in_session(common, work, acts=False)


def _hook(common: Common, *, install: bool) -> None:
    from tracecraft_cli import git_hook

    act: Callable[[], Changed] = git_hook.install if install else git_hook.uninstall
    changed = act()
    words = {
        "installed": f"{changed.path} installed: a commit of files that another agent holds is refused",
        "unchanged": f"{changed.path} is installed already",
        "removed": f"{changed.path} removed",
        "absent": f"{changed.path} is not ours: nothing to remove",
    }
    result = {
        "path": str(changed.path),
        "outcome": changed.outcome,
        "before": None if changed.before is None else str(changed.before),
    }
    emit(common.as_json, result, words[changed.outcome])
    if changed.before is not None and install:
        note(f"the hook that was there before is kept as {changed.before.name} and runs first")
    elif changed.before is not None:
        note("the hook that was there before is back")
