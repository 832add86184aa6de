"""One word more or less in a list of a YAML file, and not a byte besides: comments, order and layout stay.

PyYAML tells where each node stands in the text; the word is put there or taken away, and what comes out is read again:
if it does not say exactly what it should, nothing is done and the person is told what to write.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def with_one(text: str, keys: tuple[str, str], word: str, path: Path) -> str:
    """The text with a word in the list at ``keys``, which is made if need be. Raises `UsageError`."""
    said = _load(text)
    if word in (_at(said, keys) or []):
        return text
    wanted = copy.deepcopy(said)
    outer = wanted.get(keys[0])
    wanted[keys[0]] = outer = outer if isinstance(outer, dict) else {}
    outer[keys[1]] = [*(outer.get(keys[1]) or []), word]
    return _checked(_add(text, keys, word), wanted, f"add {word} to {keys[0]}.{keys[1]}", path)


def without(text: str, keys: tuple[str, str], word: str, path: Path, made: int = 0) -> str:
    """The text without a word in the list at ``keys``. Raises `UsageError`.

    The list stays. When nothing is left in it, as many keys go, from the inside, as were ``made`` for the word.
    """
    said = _load(text)
    if word not in (_at(said, keys) or []):
        return text
    what = f"remove {word} from {keys[0]}.{keys[1]}"
    wanted = copy.deepcopy(said)
    wanted[keys[0]][keys[1]] = [one for one in _at(said, keys) or [] if one != word] or None
    text = _checked(_take(text, keys, word), wanted, what, path)
    if made > 0 and not wanted[keys[0]][keys[1]]:
        del wanted[keys[0]][keys[1]]
        text = _checked(_drop(text, keys), wanted, what, path)
        if made > 1 and not wanted[keys[0]]:
            del wanted[keys[0]]
            text = _checked(_drop(text, keys[:1]), wanted, what, path)
    return text


def depth(text: str, keys: tuple[str, str]) -> int:
    """How many of the keys are there, from the outside."""
    said = _load(text)
    if keys[0] not in said:
        return 0
    outer = said[keys[0]]
    return 2 if isinstance(outer, dict) and keys[1] in outer else 1


def _load(text: str) -> dict[str, Any]:
    import yaml

    found = yaml.safe_load(text)
    return found if isinstance(found, dict) else {}


def _at(said: dict[str, Any], keys: tuple[str, str]) -> list[Any] | None:
    outer = said.get(keys[0])
    inner = outer.get(keys[1]) if isinstance(outer, dict) else None
    return inner if isinstance(inner, list) else None


def _checked(text: str | None, wanted: dict[str, Any], what: str, path: Path) -> str:
    import yaml

    try:
        found = _load(text) if text is not None else None
    except yaml.YAMLError:
        found = None
    if text is None or found is None or _plain(found) != _plain(wanted):
        raise UsageError(f"{path} is written in a way that is not changed here: {what} by hand")
    return text


def _plain(said: dict[str, Any]) -> dict[str, Any]:
    """An empty list, and one that is not there, say the same."""
    return {
        key: {inner: one or None for inner, one in value.items()}
        if value and isinstance(value, dict)
        else value or None
        for key, value in said.items()
    }


def _nodes(text: str, keys: tuple[str, str]) -> tuple[Any, Any]:
    """The outer mapping and the list inside, as far as they are there."""
    import yaml

    outer = _child(yaml.compose(text, Loader=yaml.SafeLoader), keys[0])
    return outer, _child(outer, keys[1])


def _child(node: Any, key: str) -> Any:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _add(text: str, keys: tuple[str, str], word: str) -> str | None:
    import yaml

    outer, inner = _nodes(text, keys)
    if outer is None:
        gap = "" if text.endswith("\n") or not text else "\n"
        return f"{text}{gap}{keys[0]}:\n  {keys[1]}:\n    - {word}\n"
    if not isinstance(outer, yaml.MappingNode):
        empty = isinstance(outer, yaml.ScalarNode) and not outer.value
        return _insert(text, outer.end_mark.index, f"\n  {keys[1]}:\n    - {word}") if empty else None
    if inner is None:
        if outer.flow_style:
            more = ", " if outer.value else ""
            return _insert(text, outer.start_mark.index + 1, f"{keys[1]}: [{word}]{more}")
        pad = " " * outer.start_mark.column
        return _insert(text, outer.start_mark.index, f"{keys[1]}:\n{pad}  - {word}\n{pad}")
    if isinstance(inner, yaml.SequenceNode) and not inner.flow_style:
        end = text.find("\n", inner.value[-1].end_mark.index)  # behind what may stand behind the last one
        return _insert(text, end if end >= 0 else len(text), f"\n{' ' * inner.start_mark.column}- {word}")
    if isinstance(inner, yaml.SequenceNode):
        more = f", {word}" if inner.value else word
        at = inner.value[-1].end_mark.index if inner.value else inner.start_mark.index + 1
        return _insert(text, at, more)
    pad = " " * (outer.start_mark.column + 2)  # the key stands there with nothing behind it
    return None if inner.value or outer.flow_style else _insert(text, inner.end_mark.index, f"\n{pad}- {word}")


def _take(text: str, keys: tuple[str, str], word: str) -> str | None:
    _, inner = _nodes(text, keys)
    at = next(index for index, node in enumerate(inner.value) if node.value == word)
    node = inner.value[at]
    if not inner.flow_style:
        begin = text.rfind("\n", 0, node.start_mark.index) + 1
        end = text.find("\n", node.end_mark.index)
        line = text[begin : node.start_mark.index].strip()
        return text[:begin] + text[end + 1 :] if line == "-" and end >= 0 else (text[:begin] if line == "-" else None)
    if len(inner.value) == 1:
        return text[: node.start_mark.index] + text[node.end_mark.index :]
    if at:
        return text[: inner.value[at - 1].end_mark.index] + text[node.end_mark.index :]
    return text[: node.start_mark.index] + text[inner.value[1].start_mark.index :]


def _drop(text: str, keys: tuple[str, ...]) -> str | None:
    """The text without a key and the nothing behind it."""
    import yaml

    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in keys[:-1]:
        node = _child(node, key)
    at = next(index for index, (name, _) in enumerate(node.value) if name.value == keys[-1])
    name, value = node.value[at]
    begin, end = name.start_mark.index, value.end_mark.index
    if not node.flow_style:
        line, rest = text.rfind("\n", 0, begin) + 1, text.find("\n", end)
        behind = text[end:] if rest < 0 else text[end:rest]
        if text[line:begin].strip() or behind.strip():  # a word of the person's stands beside it
            return None
        return text[:line] if rest < 0 else text[:line] + text[rest + 1 :]
    if at + 1 < len(node.value):
        return text[:begin] + text[node.value[at + 1][0].start_mark.index :]
    return text[: node.value[at - 1][1].end_mark.index if at else begin] + text[end:]


def _insert(text: str, at: int, more: str) -> str:
    return text[:at] + more + text[at:]
