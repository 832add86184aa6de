"""A filter's text as conditions."""

from __future__ import annotations

import datetime
import re
from functools import cache
from typing import TYPE_CHECKING, Final, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args
from lark.exceptions import VisitError

from tracecraft_bridge.filters import fields, literals
from tracecraft_bridge.filters.conditions import All, Any, Comparison, Condition, IsNan, Not, Present
from tracecraft_bridge.filters.fields import Field, UnknownField
from tracecraft_bridge.filters.literals import Given, WrongValue
from tracecraft_bridge.filters.mistake import FilterError

if TYPE_CHECKING:
    from tracecraft_bridge.filters.conditions import Operator

MAX_LENGTH: Final = 8_000
"""Characters of a filter."""
MAX_DEPTH: Final = 100
"""Parentheses and ``not`` in a filter."""

_GRAMMAR: Final = r"""
start: either
?either: both (_OR both)*
?both: opposite (_AND opposite)*
?opposite: _NOT opposite -> negated | "(" either ")" | condition
condition: FIELD OPERATOR value                     -> compared
    | FIELD LIKE value                              -> compared
    | FIELD _NOT LIKE value                         -> not_compared
    | FIELD IN "(" value ("," value)* ")"           -> compared
    | FIELD _NOT IN "(" value ("," value)* ")"      -> not_compared
    | FIELD _IS _NULL                               -> absent
    | FIELD _IS _NOT _NULL                          -> present
    | FIELD _IS _NAN                                -> nan
    | FIELD _IS _NOT _NAN                           -> not_nan
    | FIELD _HAS value                              -> has
    | _HAS FIELD value?                             -> has
value: WORD | STRING | WORD AGO

_AND: /and(?![\w.\/-])/i
_OR: /or(?![\w.\/-])/i
_NOT: /not(?![\w.\/-])/i
IN: /in(?![\w.\/-])/i
LIKE: /i?like(?![\w.\/-])/i
_IS: /is(?![\w.\/-])/i
_HAS: /has(?![\w.\/-])/i
_NULL: /null(?![\w.\/-])/i
_NAN: /nan(?![\w.\/-])/i
AGO: /ago(?![\w.\/-])/i
OPERATOR: /==|=|!=|<>|<=|>=|<|>|!~|~/
FIELD: /(?!(and|or|not|in|i?like|is|has)(?![\w.\/-]))[A-Za-z_][\w\/-]*(\.([\w\/:@-]+|`[^`]+`|"(\\.|[^"\\])+"))*/i
WORD: /(?!(and|or|not|in|i?like|is|has)(?![\w.\/-]))[+-]?[\w.][\w.:@%\/+-]*/i
STRING: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/s
%ignore /\s+/
"""

_SHOWN: Final = {
    "FIELD": "a field (status, cost, metrics.loss, …)",
    "OPERATOR": "a comparison (= != < <= > >= ~)",
    "WORD": "a value",
    "STRING": "a value",
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "$END": "the end",
}
"""What is not here is a word and shown as such."""
_ESCAPED: Final = re.compile(r"\\([\"'\\])")


def parse(text: str, now: datetime.datetime | None = None) -> Condition | None:
    """The condition of a filter, or ``None`` of an empty one; ``now`` is what ``2h ago`` counts from.

    Raises `FilterError`.
    """
    if not text.strip():
        return None
    _check_size(text)
    try:
        tree = _parser().parse(text)
        builder = _Builder(text, now or datetime.datetime.now(datetime.UTC))
        return builder.transform(tree)
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None
    except VisitError as error:
        if isinstance(error.orig_exc, FilterError):
            raise error.orig_exc from None
        raise


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)


def _check_size(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise FilterError(text, MAX_LENGTH, f"the filter has {len(text):,} characters, over {MAX_LENGTH:,}")
    deep = [found.start() for found in re.finditer(r"\(|\bnot\b", text, re.IGNORECASE)]
    if len(deep) > MAX_DEPTH:
        raise FilterError(text, deep[MAX_DEPTH], f"more than {MAX_DEPTH} parentheses and 'not'")
    if (nul := text.find("\0")) >= 0:
        raise FilterError(text, nul, "a NUL, which no value can have")


def _unexpected(text: str, error: UnexpectedInput) -> FilterError:
    if isinstance(error, UnexpectedCharacters):
        position, expected = cast("int", error.pos_in_stream), set(error.allowed or ())
        found = repr(text[position])
        if found[1:-1] in "\"'`":
            return FilterError(text, position, f"a {found} that is not closed, or not at its place")
    elif isinstance(error, UnexpectedToken):
        ends = error.token.type == "$END"
        position = len(text.rstrip()) if ends else error.token.start_pos or 0
        expected, found = set(error.accepts or error.expected), "the end" if ends else repr(str(error.token))
    else:
        return FilterError(text, len(text), "unexpected end")
    useful = expected - {"AGO"} or expected  # it may stand behind any value and helps with few
    shown = dict.fromkeys(_SHOWN.get(name, f"'{name.strip('_').lower()}'") for name in sorted(useful, key=_importance))
    return FilterError(text, position, f"expected {_listed(list(shown))}, found {found}")


def _importance(terminal: str) -> tuple[bool, str]:
    return (terminal not in ("FIELD", "OPERATOR", "WORD", "STRING"), terminal)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


@v_args(inline=True)
class _Builder(Transformer[Token, "Condition"]):
    """Makes conditions of lark's tree; every problem has its place."""

    def __init__(self, text: str, now: datetime.datetime) -> None:
        super().__init__()
        self._text, self._now = text, now

    def start(self, condition: Condition) -> Condition:
        return condition

    def either(self, *conditions: Condition) -> Condition:
        return Any(conditions)

    def both(self, *conditions: Condition) -> Condition:
        return All(conditions)

    def negated(self, condition: Condition) -> Condition:
        return Not(condition)

    def value(self, token: Token, ago: Token | None = None) -> Given:
        position = token.start_pos or 0
        if token.type == "STRING":
            return Given(_ESCAPED.sub(r"\1", str(token)[1:-1]), position, quoted=True)
        return Given(str(token), position, ago=ago is not None)

    def compared(self, name: Token, operator: Token, *given: Given) -> Condition:
        return self._comparison(name, _operator(operator), given, operator)

    def not_compared(self, name: Token, operator: Token, *given: Given) -> Condition:
        return self._comparison(name, cast("Operator", f"not {_operator(operator)}"), given, operator)

    def absent(self, name: Token) -> Condition:
        return Not(Present(self._field(name)))

    def present(self, name: Token) -> Condition:
        return Present(self._field(name))

    def nan(self, name: Token) -> Condition:
        field = self._field(name)
        if field.table not in ("metric_latest", "run_param"):
            raise FilterError(
                self._text, name.start_pos or 0, f"{field.name} is never NaN", "metrics and params can be"
            )
        return IsNan(field)

    def not_nan(self, name: Token) -> Condition:
        found = self.nan(name)
        assert isinstance(found, IsNan)
        return All((Present(found.field), Not(found)))

    def has(self, name: Token, given: Given | None = None) -> Condition:
        return Present(self._field(name, None if given is None else given.text))

    def _field(self, name: Token, key: str | None = None) -> Field:
        try:
            return fields.field(str(name)) if key is None else fields.keyed(str(name), key)
        except UnknownField as error:
            raise FilterError(self._text, name.start_pos or 0, str(error), error.hint) from None

    def _comparison(self, name: Token, operator: Operator, given: tuple[Given, ...], place: Token) -> Condition:
        field = self._field(name)
        self._check_operator(field, operator, place)
        # A pattern is text, whatever it looks like.
        kind = "text" if field.kind == "either" and operator.split()[-1] in ("like", "ilike", "~", "!~") else field.kind
        values = []
        for one in given:
            try:
                values.append(literals.value(one, str(name), kind, self._now))
            except WrongValue as error:
                raise FilterError(self._text, one.position, str(error), error.hint) from None
        return Comparison(field, operator, tuple(values))

    def _check_operator(self, field: Field, operator: Operator, place: Token) -> None:
        textual = field.kind in ("text", "either", "status", "purpose")
        where = place.start_pos or 0
        if operator.split()[-1] in ("like", "ilike", "~", "!~") and field.kind not in ("text", "either"):
            raise FilterError(self._text, where, f"{field.name} is no text, {operator!r} compares text", "use = or <")
        if operator in ("<", "<=", ">", ">=") and (field.kind == "flag" or (textual and field.kind in fields.CHOICES)):
            raise FilterError(self._text, where, f"{field.name} has no order", "use = or in")


def _operator(token: Token) -> Operator:
    spelled = str(token).lower()
    return cast("Operator", {"==": "=", "<>": "!="}.get(spelled, spelled))
