"""What a filter means, what is wrong with one and where, and that its text never becomes SQL."""

from __future__ import annotations

import datetime
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecraft_bridge.filters.conditions import All, Any, Comparison, IsNan, Not, Present
from tracecraft_bridge.filters.fields import COLUMNS, STATISTICS, field
from tracecraft_bridge.filters.grammar import parse
from tracecraft_bridge.filters.mistake import FilterError
from tracecraft_bridge.filters.sql import compiled

NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)


def comparison(text: str) -> Comparison:
    found = parse(text, NOW)
    assert isinstance(found, Comparison)
    return found


def mistake(text: str) -> FilterError:
    with pytest.raises(FilterError) as caught:
        parse(text, NOW)
    return caught.value


def test_an_empty_filter_is_none() -> None:
    assert parse("", NOW) is None
    assert parse(" \n ", NOW) is None


def test_and_binds_closer_than_or_and_not_closer_than_both() -> None:
    found = parse("status = failed or not cost > 1 and errors = 0", NOW)
    assert isinstance(found, Any)
    first, second = found.conditions
    assert isinstance(first, Comparison)
    assert isinstance(second, All)
    assert isinstance(second.conditions[0], Not)


def test_parentheses_change_what_belongs_together() -> None:
    found = parse("(status = failed or cost > 1) and errors = 0", NOW)
    assert isinstance(found, All)
    assert isinstance(found.conditions[0], Any)


@pytest.mark.parametrize(
    ("text", "name", "key"),
    [
        ("metrics.loss < 1", "metrics.last", "loss"),
        ("metric.loss.last < 1", "metrics.last", "loss"),
        ("metrics.loss.min < 1", "metrics.min", "loss"),
        ("metrics.`loss.min` < 1", "metrics.last", "loss.min"),
        ("metrics.`loss.min`.max < 1", "metrics.max", "loss.min"),
        ('metrics."val loss" < 1', "metrics.last", "val loss"),
        ("metrics.train/loss < 1", "metrics.last", "train/loss"),
        ("metrics.min < 1", "metrics.last", "min"),
        ("param.lr = 1", "params", "lr"),
        ("PARAMS.Lr = 1", "params", "Lr"),
        ("parameters.model.depth = 1", "params", "model.depth"),
        ("tag.mlflow.user = x", "tags", "mlflow.user"),
        ("attributes.run_name = x", "name", None),
        ("attr.start_time > 2026-01-01", "started", None),
        ("run.cost > 1", "cost", None),
        ("agents.name = x", "agent.name", None),
        ("agent = x", "agent", None),
        ("took > 3", "seconds", None),
        ("git_branch = main", "git.branch", None),
    ],
)
def test_a_field_has_these_spellings(text: str, name: str, key: str | None) -> None:
    found = comparison(text).field
    assert (found.name, found.key) == (name, key)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("metrics.loss < 3e-1", (0.3,)),
        ("metrics.loss > -inf", (float("-inf"),)),
        ("params.lr in (1e-3, '1e-3', adam)", (0.001, "1e-3", "adam")),
        ("params.name like 12", ("12",)),
        ("tags.build = 12", ("12",)),
        ("status in (RUNNING, Failed)", ("running", "failed")),
        ("seconds > 5m", (300.0,)),
        ("seconds > 90", (90.0,)),
        ("git.dirty = yes", (True,)),
        (r"""name = 'it\'s'""", ("it's",)),
        (r'''name ~ "\d+\\s"''', (r"\d+\s",)),
        ("run = 20261122-193415-k3x9qa", ("20261122-193415-k3x9qa",)),
        ("started > 2h ago", (NOW - datetime.timedelta(hours=2),)),
        ("started > today", (NOW.replace(hour=0),)),
        ("started > yesterday", (NOW.replace(day=21, hour=0),)),
        ("started >= 2026-11-22", (NOW.replace(hour=0),)),
        ('started >= "2026-11-22T13:00:00+01:00"', (NOW,)),
        ("start_time < 1795348800000", (NOW,)),
    ],
)
def test_a_value_is_what_its_field_holds(text: str, values: tuple[object, ...]) -> None:
    assert comparison(text).values == values


def test_presence_and_nan() -> None:
    loss, team = field("metrics.loss"), field("tags.team")
    assert parse("metrics.loss is not null", NOW) == Present(loss)
    assert parse("metrics.loss is null", NOW) == Not(Present(loss))
    assert parse("metrics.loss is nan", NOW) == IsNan(loss)
    assert parse("metrics.loss is not nan", NOW) == All((Present(loss), Not(IsNan(loss))))
    for text in ("has tags.team", "has tag team", "has tag 'team'", "tags has team"):
        assert parse(text, NOW) == Present(team)
    assert parse("has tag 'a`b.c'", NOW) == Present(field('tags."a`b.c"'))


@pytest.mark.parametrize(
    ("text", "column", "problem", "hint"),
    [
        ("statu = running", 1, "no field 'statu'", "did you mean 'status'?"),
        ("cost > 1 and metrcs.loss < 1", 14, "no field 'metrcs.loss'", "did you mean 'metrics.loss'?"),
        ("agent.nam = x", 1, "no field 'agent.nam'", "did you mean 'agent.name'?"),
        ("metrics < 1", 1, "no field 'metrics'", "metrics need a key, as metrics.loss"),
        ("has cost x", 5, "no field 'cost'", "metrics, params and tags have keys: has tag nightly"),
        ("status = runing", 10, "no status 'runing'", "did you mean 'running'?"),
        ("cost > abc", 8, "cost is a number, 'abc' is none", "for example 0.5"),
        ("metrics.loss = nan", 16, "metrics.loss is a number, 'nan' is none", "write 'is nan'"),
        ("started > soon", 11, "started is a time, 'soon' is none", 'for example "2026-11-22"'),
        ("attr.cost > abc", 13, "attr.cost is a number, 'abc' is none", "for example 0.5"),
        ("cost > 2h ago", 8, "cost is no time, and 'ago' makes one", ""),
        ("cost is nan", 1, "cost is never NaN", "metrics and params can be"),
        ("cost like 3", 6, "cost is no text, 'like' compares text", "use = or <"),
        ("status < running", 8, "status has no order", "use = or in"),
        ("git.dirty = 3", 13, "git.dirty is true or false, not '3'", ""),
        ("status = ", 9, "expected a value, found the end", ""),
        ("status = and x", 10, "expected a value, found 'and'", ""),
        ("(cost > 1", 10, "expected ')', found the end", ""),
        ("cost > 1)", 9, "expected the end, found ')'", ""),
        ("metrics.loss < 0.3 foo", 20, "expected the end, 'and' or 'or', found 'foo'", ""),
        ("(cost > 1 foo", 11, "expected ')', 'and' or 'or', found 'foo'", ""),
        ("status in (failed killed)", 19, "expected ',' or ')', found 'killed'", ""),
        (
            "k3x9qa",
            7,
            "expected a comparison (= != < <= > >= ~), 'in', 'like', 'has', 'is' or 'not', found the end",
            "",
        ),
        ('name = "abc', 8, "a '\"' that is not closed, or not at its place", ""),
        ("name = a\0b", 9, "a NUL, which no value can have", ""),
        ("not " * 101 + "cost = 1", 401, "more than 100 parentheses and 'not'", ""),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, column: int, problem: str, hint: str) -> None:
    found = mistake(text)
    assert (found.position + 1, found.problem) == (column, problem)
    assert found.hint.startswith(hint)
    assert bool(found.hint) == bool(hint)


def test_the_caret_stands_below_the_mistake() -> None:
    assert mistake("cost > 1 and statu = x").drawing == "  cost > 1 and statu = x\n               ^"
    shown, caret = mistake(" or ".join(["cost > 1"] * 50) + " or statu = 1" + " or cost > 1" * 9).drawing.split("\n")
    assert shown[caret.index("^") :].startswith("statu = 1")
    assert len(shown) <= 102


def test_a_filter_may_not_be_endless() -> None:
    assert "characters" in mistake("cost > 1 or " * 1000 + "cost > 1").problem


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0`"), min_size=1, max_size=30)
NAMES = [*COLUMNS, *(f"metrics.K.{name}" for name in STATISTICS), "params.K", "tags.K"]


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.sampled_from([name for name in NAMES if field(name).kind in ("text", "either")]), KEYS, TEXT, st.data())
def test_no_text_of_the_user_becomes_sql(name: str, key: str, value: str, data: st.DataObject) -> None:
    operator = data.draw(st.sampled_from(["=", "!=", "<", ">", "like", "not ilike", "~", "in", "not in"]))
    backquoted = name.replace("K", f"`{key}`")
    operand = f"({quoted(value)}, {quoted(value)})" if operator.endswith("in") else quoted(value)
    found = parse(f"{backquoted} {operator} {operand}", NOW)
    assert found is not None
    plain = parse(f"{name} {operator} {'(v, v)' if operator.endswith('in') else 'x' * len(value) or quoted('')}", NOW)
    assert plain is not None
    assert compiled(found).sql == compiled(plain).sql
    assert value in compiled(found).values
    assert compiled(found).sql.count("%s") == len(compiled(found).values)


@given(st.text(string.printable, max_size=80))
def test_any_text_is_a_filter_or_a_mistake(text: str) -> None:
    try:
        found = parse(text, NOW)
    except FilterError as error:
        position = error.position
    else:
        position = 0
        assert found is None or compiled(found).sql
    assert 0 <= position <= len(text)
