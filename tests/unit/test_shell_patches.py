"""In which folder a patch of a shell command is applied: what is certain, what is a guess."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.folder import short_lived_folder
from tracecraft_cli import shell_patches

if TYPE_CHECKING:
    from pathlib import Path

PATCH = "*** Begin Patch\n*** Add File: a\n+x\n*** End Patch\nEOF\n"
APPLY = f"apply_patch <<'EOF'\n{PATCH}"


def placed(before: str, apply: str = APPLY) -> tuple[str, str | None]:
    """The place of the first file that a command patches."""
    script = before + apply
    line = next(number for number, text in enumerate(script.split("\n")) if text == "*** Add File: a")
    return shell_patches.places(script).get(line, shell_patches.UNKNOWN)


@pytest.mark.parametrize(
    ("before", "folder"),
    [
        ("cd /w && ", "/w"),
        ("cd /w/src &&\\\n  ", "/w/src"),
        ("cd '/w/a b' && ", "/w/a b"),
        ('cd "/w/a b" && ', "/w/a b"),
        ("cd /w/a\\ b && ", "/w/a b"),
        ("cd /w/'a b'\"/c\"/d && ", "/w/a b/c/d"),
        ('cd "/w/a\\"b" && ', '/w/a"b'),
        ("cd -P -- /w && ", "/w"),
        ("cd /w && cd src && ", "/w/src"),
        ("cd src && cd /w && cd ../b && ", "/w/../b"),
        ("pushd /w && ", "/w"),
        ("pushd /w >/dev/null && ", "/w"),
        ("cd /w 2>&1 && ", "/w"),
        ("cd /w &>/dev/null && ", "/w"),
        ("cd /w && pushd src && popd && ", "/w"),
        ("mkdir -p /w/new && cd /w/new && ", "/w/new"),
        ("cd nowhere; cd /w && ", "/w"),
        ("for x in 1 2; do\n  :\ndone\ncd /w && ", "/w"),
        ("echo $(date) && cd /w && ", "/w"),
        ("# cd /other\ncd /w && ", "/w"),
        ("cd /w && true && ", "/w"),
        ("cd ~ && ", "~"),
        ("cd && ", "~"),
        ("cd ~/src && ", "~/src"),
        ("cd /; cd /w && ", "/w"),
        ("cd /\n", "/"),
        ("cd / || exit 1\n", "/"),
        ("cd /; ", "/"),
        ("cat <<X\ncd /other\nX\ncd /w && ", "/w"),
        ("cat <<-X\n\tcd /other\n\tX\ncd /w && ", "/w"),
        ("bash\n-lc\ncd /w && ", "/w"),
    ],
)
def test_a_folder_that_is_written_out_is_certain(before: str, folder: str) -> None:
    assert placed(before) == (os.path.expanduser(folder), None)


@pytest.mark.parametrize(
    ("before", "folder", "under"),
    [
        ("", "", ""),
        ("cd src && ", "src", "src"),
        ("cd src && cd '../a b' && ", "src/../a b", "src/../a b"),
        ("mkdir -p src && pushd src && ", "src", "src"),
        ("cd src\n", "src", ""),
        ("cd src; ", "src", ""),
        ("cd src || exit\n", "src", ""),
        ("cd /no/such/folder; ", "/no/such/folder", ""),
        ("false && cd /; ", "/", ""),
        ("true || cd / && ", "/", ""),
        ("cd / | ", "/", ""),
        ("cd / & ", "/", ""),
        ("if x; then\n  cd /\nfi\n", "/", ""),
        ("while x; do\n  cd /\ndone\n", "/", ""),
        ("f() {\n  cd /\n}\n", "/", ""),
        ("(ls; cd /; ls) && ", "/", ""),
        ("{ cd src; } && cd /; ", "/", ""),
        ("x=`ls; cd /; ls` && ", "/", ""),
    ],
)
def test_a_folder_that_depends_on_something_is_a_guess(before: str, folder: str, under: str) -> None:
    assert placed(before) == (folder, under)


@pytest.mark.parametrize(
    "before",
    [
        "cd / && cd $X && ",
        'cd / && cd "$X" && ',
        'cd / && cd "$X"/src && ',
        "cd / && cd s* && ",
        "cd / && cd {a,b} && ",
        "cd / && cd - && ",
        "cd / && cd ~bob && ",
        "cd / && cd ~+ && ",
        "cd / && cd a b && ",
        "cd / && cd $'a' && ",
        "cd / && popd && ",
        "cd / && pushd && ",
        "cd / && pushd +1 && ",
        "cd / && (cd src && ",
        "cd / && { cd src && ",
        "cd / && builtin cd src && ",
        "cd / && eval 'cd src' && ",
        "cd / && . ./env && ",
        "cd / && CDPATH=/x cd src && ",
        "cd / && \\cd $X && ",
        "cd / && for x in 1; do ",
        "cd $X && ",
        "$X && ",
        "popd && ",
    ],
)
def test_what_cannot_be_followed_makes_a_guess_of_what_was_certain(before: str) -> None:
    assert placed(before)[1] == ""


@pytest.mark.parametrize(
    "apply",
    [
        f"cat <<'EOF' | apply_patch\n{PATCH}",
        f"cat <<'EOF' > p\n{PATCH}",
        f"sudo apply_patch <<'EOF'\n{PATCH}",
        f"(cd src && apply_patch <<'EOF'\n{PATCH}",
        "apply_patch '*** Begin Patch\n*** Add File: a\n+x\n*** End Patch'\n",
        "apply_patch <<< '*** Begin Patch\n*** Add File: a\n+x\n*** End Patch'\n",
        "bash -c 'apply_patch <<EOF\n*** Begin Patch\n*** Add File: a\n+x\n*** End Patch\nEOF'\n",
    ],
    ids=["pipe", "file", "sudo", "subshell", "argument", "here-string", "another-shell"],
)
def test_a_patch_that_is_for_another_program_is_applied_nobody_knows_where(apply: str) -> None:
    assert placed("cd / && ", apply)[1] == ""


@pytest.mark.parametrize(
    "apply",
    [
        f"apply_patch <<EOF\n{PATCH}",
        f'apply_patch << "EOF"\n{PATCH}',
        f"apply_patch <<\\EOF 2>&1\n{PATCH}",
        f"/usr/bin/applypatch <<'EOF' && cd /other\n{PATCH}",
        f"apply_patch <<-EOF\n\t{PATCH}",
        "apply_patch <<EOF\n*** Begin Patch\n*** Add File: a",
    ],
    ids=["bare", "quoted", "escaped", "more-behind", "tabs", "cut"],
)
def test_a_here_document_is_read_as_the_shell_reads_it(apply: str) -> None:
    assert placed("cd /w && ", apply) == ("/w", None)


def test_each_patch_of_a_command_has_its_own_folder() -> None:
    script = f"cd /a && {APPLY}cd /b && {APPLY}cat <<X\n{PATCH.replace('EOF', 'X')}{APPLY}cd ../c && {APPLY}"
    lines = [number for number, text in enumerate(script.split("\n")) if text == "*** Add File: a"]
    found = [shell_patches.places(script)[line] for line in lines]
    assert found == [("/a", None), ("/b", None), ("/b", ""), ("/b", ""), ("/b/../c", "")]


def test_two_here_documents_of_one_line_follow_each_other() -> None:
    patch = PATCH.replace("EOF", "TWO")
    script = f"cd /a && apply_patch <<'EOF' && cd /b && apply_patch <<'TWO'\n{PATCH}{patch}"
    assert [shell_patches.places(script)[line] for line in (2, 7)] == [("/a", None), ("/b", None)]


def test_a_folder_that_is_there_has_been_gone_to_whatever_came_of_the_rest(tmp_path: Path) -> None:
    assert placed(f"cd {tmp_path} && ls\nls\n") == (str(tmp_path), None)
    assert placed(f"cd {tmp_path}/none && ls\nls\n") == (f"{tmp_path}/none", "")
    assert placed(f"ls && cd {tmp_path}\n") == (str(tmp_path), "")


@given(st.text(alphabet="cd ps'\"\\$`~/&|;<>EOF\n-(){}#x\x00é\ud800", max_size=120))
def test_no_command_is_too_strange_to_be_read(script: str) -> None:
    assert all(under is None or isinstance(under, str) for _, under in shell_patches.places(script + APPLY).values())


def commands(top: str) -> st.SearchStrategy[str]:
    """Scripts of a few commands, joined in ways that matter."""
    folders = st.sampled_from(
        ["a", "b", "..", "a/b", "none", f"{top}/a", f"{top}/b", f"{top}/none", f"'{top}/a'", '"$X"', "-", ""]
    )
    plain = st.one_of(
        st.builds("cd {}".format, folders),
        st.builds("pushd {} >/dev/null".format, folders),
        st.sampled_from(["true", "false", "popd >/dev/null", "HERE", "HERE", "HERE", "ls >/dev/null", "exit 1"]),
    )
    block = st.sampled_from(
        [
            "(cd a)",
            "{ cd b; }",
            "if false; then cd b; fi",
            "for x in a b; do cd $x; done",
            "x=$(cd a; pwd)",
            "eval cd b",
        ]
    )
    joints = st.sampled_from([" && ", " && ", "; ", "\n", " || ", " | "])
    return st.lists(st.tuples(st.one_of(plain, plain, plain, block), joints), min_size=2, max_size=8).map(
        lambda parts: "".join(part for pair in parts for part in pair) + "true\n"
    )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_certain_is_where_bash_is(data: st.DataObject) -> None:
    """``apply_patch`` is a function here that says where it is called."""
    with short_lived_folder() as top:
        (top / "a" / "b").mkdir(parents=True)
        (top / "b").mkdir()
        script, lines, number = "", {}, 0
        for line in data.draw(commands(str(top))).split("\n"):
            here = line.count("HERE")
            for _ in range(here):
                line = line.replace("HERE", f"apply_patch <<'E{number + 1}'", 1)
                number += 1
            script += line + "\n"
            for one in range(number - here + 1, number + 1):
                lines[one] = script.count("\n")
                script += f"{one}\nE{one}\n"
        prelude = 'apply_patch() { read -r n; echo "$n $(pwd)" >&3; }\n'
        done = subprocess.run(
            ["bash", "-c", f"exec 3>&1 >/dev/null\n{prelude}{script}"],
            cwd=top,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        found = shell_patches.places(script)
        for said in done.stdout.splitlines():
            called, _, where = said.partition(" ")
            folder, under = found[lines[int(called)]]
            if under is None:
                assert os.path.normpath(folder) == where, script
            else:
                assert where.endswith(os.path.normpath(under).removeprefix("..").removeprefix(".")), script
