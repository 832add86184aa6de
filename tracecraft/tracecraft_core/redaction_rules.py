"""What a secret looks like in a text: the rules of redaction.

Every rule has *anchors*, short texts of which one must occur wherever the rule applies. A value without any anchor, and
nearly every one is, costs a few substring searches and nothing more.

A rule is tried on whatever others wrote, so none may take long: what a pattern repeats before it knows that it has
found something is bounded, or cannot begin anew inside of itself. A pattern that begins with literal letters, with what
must stand before them looked up afterwards (``gsk_(?<=\\bgsk_)``), is searched for several times as fast.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """What to replace in every text. Where the pattern has a group, only the group is replaced."""

    name: str
    pattern: re.Pattern[str]
    anchors: tuple[bytes, ...]
    """One of these is in the JSON of whatever it applies to; none: it is always tried."""


def _rule(name: str, pattern: str, *anchors: str) -> Rule:
    return Rule(name, re.compile(pattern), tuple(anchor.encode() for anchor in anchors))


def _prefixed(name: str, prefix: str, rest: str) -> Rule:
    """Keys that begin with a text of their own."""
    literal = re.escape(prefix)
    return _rule(name, rf"{literal}(?<=\b{literal}){rest}", prefix)


def _any(*names: str, anycase: bool = False) -> str:
    """One of some names, as an expression that is searched for by first letters, which is several times as fast."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name[0], []).append(name[1:])
    if not anycase:
        rest = "|".join(f"(?<={first})(?:{'|'.join(of)})" for first, of in groups.items())
        return f"[{''.join(groups)}](?:{rest})"
    rest = "|".join(f"(?<=[{first}{first.upper()}])(?i:{'|'.join(of)})" for first, of in groups.items())
    return f"[{''.join(groups)}{''.join(groups).upper()}](?:{rest})"


OPTIONS: Final = (
    r"(?:password|passwd|passphrase|pass|pwd|secret|token|(?:api|access|private|secret|session|auth)-?key|credentials?)"
)
"""Last words of options in front of a secret."""

_NAMES: Final = (
    *("passw(?:or)?d", "passphrase", "secret", "credentials?"),
    *("api[_-]?key", "access[_-]?key", "account[_-]?key", "private[_-]?key", "session[_-]?key"),
)
"""Names of JSON, of YAML and of code, in any case."""
_VARIABLES: Final = (
    *("PASSW(?:OR)?D", "PASSPHRASE", "P(?<![A-Z]P)ASS", "_PWD", "SECRET", "TOKEN", "CREDENTIALS?", "AUTHORIZATION"),
    *("COOKIE", "API_?KEY", "ACCESS_?KEY", "PRIVATE_?KEY", "SESSION_?KEY", "SIGNING_?KEY", "ENCRYPTION_?KEY"),
)
"""Names of an environment."""
_VALUE: Final = r"[^\s\"',;&]"
_QUOTE: Final = r"(?:\\{0,3}[\"'])?"
"""Also one of JSON inside of JSON, with its backslashes."""
_QUOTED: Final = r"(?<=\")[^\s\"][^\"\n]{4,}[^\s\"\\](?=\\{0,3}\")|(?<=')[^\s'][^'\n]{4,}[^\s'\\](?=\\{0,3}')"
"""A text of some words between quotes."""
_DIGIT: Final = rf"(?={_VALUE}{{0,200}}\d)"
_LETTER: Final = rf"(?={_VALUE}{{0,200}}[A-Za-z])"
_TYPES: Final = (
    r"(?:str|string|String|bytes|int|bool|None|null|true|false|Final|Optional|ClassVar|Any|SecretStr)"
    r"(?![^\s\"',;|=)\]\[])"
)
"""What follows a name and a colon in code and in schemas."""
_REFERENCE: Final = (
    r"\$[A-Z_][A-Z0-9_]*|\$\{\w{1,80}\}|\$\{\{[^}\n]{1,80}\}\}|\{[A-Za-z_][^}\s:]{0,80}\}|<[A-Za-z][^>\s]{0,40}>"
)
"""What stands for a value and is none: ``$TOKEN``, ``{self.token}``, ``<token>``."""
_NO_VALUE: Final = rf"\[redacted|{_TYPES}|(?:{_REFERENCE})(?![^\s\"',;)\]}}])"
_PERSON: Final = r"[A-Za-z][a-z]{0,12}(?:[._-][a-z]{1,12}){0,2}\d{0,2}"
"""A user that is plainly a name: ``git``, ``joe``, ``john.doe2``, ``x-access-token``."""
_NEXT_OPTION: Final = r"-(?:[A-Za-z]{0,5}\d{0,5}(?:[\s\"'=:,)]|$)|[->.])"
"""What follows an option that has no value here: dashes and a few letters."""
_NEXT_ITEM: Final = r"\\{0,3}[\"'],\s{0,9}\\{0,3}[\"'](?![a-z_]{1,40}\\{0,3}[\"'])"
"""Between the items of a list of arguments that is shown; a lower-case word is the name that code gives an option."""
_PASSES: Final = "".join(
    rf"(?<!{word}.pass)" for word in ("first", "second", "third", "last", "next", "forward", "backward", "single")
)
"""Passes that are no passwords."""

_KEYS: Final = (
    _rule("api-key", r"sk-(?<=\bsk-)[A-Za-z0-9_-]{16,}", "sk-"),
    _prefixed("api-key", "gsk_", r"[A-Za-z0-9]{20,}"),
    _prefixed("api-key", "csk-", r"[A-Za-z0-9]{20,}"),
    _prefixed("api-key", "xai-", r"[A-Za-z0-9]{20,}"),
    _prefixed("api-key", "pplx-", r"[A-Za-z0-9]{20,}"),
    _prefixed("api-key", "tvly-", r"[A-Za-z0-9-]{20,}"),
    _prefixed("api-key", "nvapi-", r"[A-Za-z0-9_-]{20,}"),
    _prefixed("api-key", "lsv2_", r"[a-z]{2}_[A-Za-z0-9_]{20,}"),
    _prefixed("api-key", "r8_", r"[A-Za-z0-9]{30,}"),
    _rule("aws-key", r"A(?:KIA|SIA)(?<=\bA...)[0-9A-Z]{16}\b", "AKIA", "ASIA"),
    _rule("github-token", r"gh[pousr]_(?<=\bgh._)[A-Za-z0-9]{30,}", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    _prefixed("github-token", "github_pat_", r"[A-Za-z0-9_]{30,}"),
    _prefixed("gitlab-token", "glpat-", r"[A-Za-z0-9_-]{20,}"),
    _rule("slack-token", r"xox[abeoprs]-(?<=\bxox.-)[A-Za-z0-9-]{10,}", "xox"),
    _prefixed("slack-token", "xapp-", r"\d-[A-Za-z0-9-]{10,}"),
    _rule("webhook", r"hooks\.slack\.com/[a-z]{1,20}/([A-Za-z0-9/_-]{20,})", "hooks.slack.com/"),
    _rule("webhook", r"/api/webhooks/\d{1,30}/([A-Za-z0-9_-]{20,})", "/api/webhooks/"),
    _rule("google-key", r"AIza(?<=\bAIza)[A-Za-z0-9_-]{35}", "AIza"),
    _prefixed("google-key", "ya29.", r"[A-Za-z0-9_-]{20,}"),
    _rule("stripe-key", r"\b[rsw]h?k?_(?:live|test)_[A-Za-z0-9]{16,}", "k_live_", "k_test_"),
    _prefixed("stripe-key", "whsec_", r"[A-Za-z0-9+/=]{20,}"),
    _prefixed("sendgrid-key", "SG.", r"[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}"),
    _prefixed("huggingface-token", "hf_", r"[A-Za-z0-9]{30,}"),
    _prefixed("digitalocean-token", "dop_v1_", r"[a-f0-9]{40,}"),
    _rule("registry-token", r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,})", "npm_", "pypi-"),
    _rule("jwt", r"eyJ(?<=\beyJ)[A-Za-z0-9_-]{8,1024}+\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*", "eyJ"),
    _rule(
        "private-key",
        r"-----BEGIN [A-Z ]{0,40}(?:PRIVATE KEY|NKEY SEED)-----[\s\S]*?(?:-----END [A-Z ]{0,60}-----+|\Z)",
        "PRIVATE KEY",
        "NKEY SEED",
    ),
    _prefixed("private-key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{50,}"),
    _rule("nkey-seed", r"S[UAO]A(?<=\bS.A)[A-Z2-7]{55}\b", "SUA", "SAA", "SOA"),
)
"""Keys and tokens that tell by their own look what they are."""

_PLACES: Final = (
    _rule(
        "url-token",
        r"(?i)://(?:(?<=\bnats://)|(?<=\btls://)|(?<=\bws://)|(?<=\bwss://))"
        rf"(?!(?:{_REFERENCE})@)([^\s/:@\"'?#,]+)@",
        "://",
    ),
    _rule(
        "url-token",
        rf"://(?:(?<=http://)|(?<=https://)|(?<=HTTPS://))(?!(?:{_PERSON}|{_REFERENCE})@)([^\s/:@\"'?#,<>()]+)@",
        "://",
    ),
    _rule(
        "url-password",
        r"://(?:\[redacted:[^\]\s]*\]|(?!\[redacted:)[^/\s:@\"']*):(?!\[redacted:[^\]\s]*\]@)([^/\s\"'?#]+)@",
        "://",
    ),
    _rule(
        "bearer",
        r"[Bb](?<!\w.)(?i:earer|asic)(?: \s{0,9}|%20)([A-Za-z0-9._~+/=-]{12,})",
        *("earer ", "asic ", "EARER ", "ASIC ", "earer%", "asic%"),
    ),
    _rule(
        "authorization",
        rf"(?i)authorization{_QUOTE}\]?\s{{0,9}}[:=]\s{{0,9}}{_QUOTE}(?:[a-z][a-z0-9-]{{0,30}}\s+)?"
        rf"(?!\[redacted){_DIGIT}([^\s\"',;&\\()]{{8,}})",
        *("uthorization", "UTHORIZATION"),
    ),
    _rule(
        "assignment",
        rf"{_any(*_VARIABLES)}(?:_?KEY|_BASE|_VALUE|_?[0-9])*=[\"']?(?!\[redacted)((?<=[\"'])[^\"'\n]+|[^\s\"';]+)",
        *("PASS", "_PWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "AUTHORIZATION", "COOKIE"),
    ),
    _rule(
        "assignment",
        rf"[A-Z0-9]_(?:PASS(?:W(?:OR)?D)?|PASSPHRASE|PWD|SECRET){_QUOTE}:\s{{0,9}}{_QUOTE}"
        rf"(?!{_NO_VALUE})({_QUOTED}|[^\s\"',;\\()\[\]{{}}]+)",
        *("PASS", "_PWD", "SECRET"),
    ),
    _rule(
        "option",
        rf"--(?:[a-z]+-)*{OPTIONS}(?:=|\s+|{_NEXT_ITEM})[\"']?(?!{_NEXT_OPTION}|\[redacted)((?<=[\"'])[^\"'\n]+|[^\s\"']+)",
        *("--",),
    ),
    _rule(
        "option",
        r"mysql(?<=\bmysql)[a-z-]{0,20}(?:[ \t]+(?!mysql)[^\s|;]+){0,60}?[ \t]+"
        r"-p(?!\[redacted)([^\s\"']+)",
        "mysql",
    ),
    _rule(
        "option",
        r"mariadb(?<=\bmariadb)[a-z-]{0,20}(?:[ \t]+(?!mariadb)[^\s|;]+){0,60}?[ \t]+"
        r"-p(?!\[redacted)([^\s\"']+)",
        "mariadb",
    ),
    _rule("option", r"sshpass(?<=\bsshpass)\s+-p\s*[\"']?(?!\[redacted)([^\s\"']+)", "sshpass"),
    _rule("option", r"login\s(?<=\blogin.)(?:[^\n|;]{0,200}?\s)?-p\s+[\"']?(?![-$]|\[redacted)([^\s\"']+)", " -p"),
    _rule(
        "option",
        r"curl(?<=\bcurl)(?:[ \t]+(?!curl[ \t])[^\s|;]+){0,60}?[ \t]+"
        r"(?:-[a-zA-Z]{0,9}[uU]|--(?:proxy-)?user)[\s=]{0,9}[\"']?"
        r"[^\s:\"'-][^\s:\"']{0,200}:(?!\[redacted)([^\s\"']+)",
        "curl",
    ),
    _rule("option", r"machine\s+\S{1,200}\s+login\s+\S{1,200}\s+password\s+(?!\[redacted)(\S+)", "machine "),
    _rule("cookie", r"(?i)\bcookie:\s*+(?!\[redacted)([^\r\n\"']+)", "ookie:", "OOKIE:"),
    _rule(
        "assignment",
        rf"{_any(*_NAMES, anycase=True)}(?i:[_-]?key)?{_QUOTE}\s{{0,99}}[=:]\s{{0,99}}"
        rf"(?:\{{\s{{0,99}}{_QUOTE}(?i:value){_QUOTE}\s{{0,9}}:\s{{0,99}})?"
        rf"{_QUOTE}(?!{_NO_VALUE})({_QUOTED}|(?={_VALUE}{{0,200}}[^\d\s\"',;&.]){_VALUE}{{6,}})",
        "assw", "ecret", "key", "Key", "redential", "assphrase", "PASS", "ECRET", "KEY", "REDENTIAL",
    ),
    _rule(
        "assignment",
        rf"(?i)passw(?:or)?d{_QUOTE}\s{{0,9}}[=:]\s{{0,9}}{_QUOTE}(\d{{4,}})(?![\w.:/-])",
        *("assw", "PASSW"),
    ),
    _rule(
        "assignment",
        rf"pass(?<=[A-Za-z0-9][_-]pass){_PASSES}{_QUOTE}\s{{0,9}}[=:]\s{{0,9}}{_QUOTE}(?!{_NO_VALUE})"
        rf"({_QUOTED}|{_DIGIT}{_LETTER}[^\s\"',;&()\[\]{{}}=\\]{{6,}}+(?!\())",
        *("_pass", "-pass"),
    ),
    _rule(
        "assignment",
        rf"[Pp]wd(?<![a-z][Pp]wd){_QUOTE}\s{{0,9}}[=:]\s{{0,9}}{_QUOTE}(?![/~.$<{{]|\[redacted){_DIGIT}{_LETTER}"
        r"([^\s\"',;&()\[\]{}\\]{6,}+)(?!\()",
        *("wd=", "wd:", "wd ", 'wd\\"'),
    ),
    _rule(
        "assignment",
        rf"(?i)token{_QUOTE}\s{{0,99}}[=:]\s{{0,99}}{_QUOTE}(?!\[redacted){_DIGIT}"
        rf"(?={_VALUE}{{0,200}}[a-z])({_VALUE}{{12,}})",
        "oken", "OKEN",
    ),
    _rule(
        "assignment",
        rf"[Nn]ame{_QUOTE}\s{{0,9}}:\s{{0,9}}{_QUOTE}(?i:[a-z0-9_.-]{{0,60}}?(?:{'|'.join(_NAMES)}|token|[_-]pass|[_-]pwd)(?:[_-]?key)?)"
        rf"{_QUOTE}\s{{0,9}},?\s{{0,99}}{_QUOTE}[Vv]alue{_QUOTE}\s{{0,9}}:\s{{0,9}}{_QUOTE}"
        rf"(?!\[redacted|(?:{_REFERENCE}))({_QUOTED}|[^\s\"',;\\()\[\]{{}}]+)",
        *("alue: ", r"alue:\n", r"alue\":"),
    ),
)  # fmt: skip
"""Secrets that only the words around them tell."""

DEFAULTS: Final = (*_KEYS, *_PLACES)
"""The rules that are on unless they are switched off."""
