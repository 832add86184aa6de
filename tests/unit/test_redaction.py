"""Secrets do not leave the process; what is none stays as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft.recording import values
from tracecraft.recording.redaction import Redaction, redact
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRETS = {
    "api-key": ["sk-ant-api03-abcdefghijklmnop", "sk-proj-0123456789abcdefXYZ"],
    "aws-key": ["AKIAIOSFODNN7EXAMPLE"],
    "github-token": ["ghp_" + "a1" * 18, "github_pat_" + "B2" * 20],
    "gitlab-token": ["glpat-" + "x9" * 11],
    "slack-token": ["xoxb-123456789012-abcdef"],
    "google-key": ["AIza" + "Sy" * 17 + "a"],
    "stripe-key": ["sk_live_" + "4eC39HqLyjWDarjt"],
    "huggingface-token": ["hf_" + "Ab1" * 11],
    "registry-token": ["npm_" + "a" * 36],
    "jwt": ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N"],
    "private-key": ["-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"],
    "nkey-seed": ["SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYVFJDY"],
}
HARMLESS = [
    "the task-1 of disk-2 takes a risk-free look at tokens",
    "https://example.org/a?b=c#d and nats://127.0.0.1:4222",
    "token: elephant, next token: the, max_tokens=100000",
    "password: 12345678.5",
    "skeleton keys and monkeys, SUAVE ASIAN",
    {"token": "hello", "tokens": ["a", "b"], "max_tokens": 4096, "key": "findings", "primary_key": "id"},
    {"secret": None, "password": "", "api_key": 7},
]


@pytest.fixture
def rules() -> Redaction:
    return Redaction()


def cleaned(rules: Redaction, value: Any) -> tuple[Any, dict[str, int]]:
    body, counts = rules.json(values.encode(value))
    return json.loads(body), counts


@pytest.mark.parametrize(("rule", "secret"), [(rule, secret) for rule, all_ in SECRETS.items() for secret in all_])
def test_a_secret_is_replaced_wherever_it_is_and_counted(rules: Redaction, rule: str, secret: str) -> None:
    value = {"deep": [f'say "{secret}" twice: {secret}'], secret: 1}
    found, counts = cleaned(rules, value)
    mark = f"[redacted:{rule}]"
    assert found == {"deep": [f'say "{mark}" twice: {mark}'], mark: 1}
    assert counts == {rule: 3}
    assert rules.counts == counts


@pytest.mark.parametrize("value", HARMLESS, ids=str)
def test_what_is_no_secret_stays(rules: Redaction, value: Any) -> None:
    assert cleaned(rules, value) == (value, {})


@pytest.mark.parametrize(
    "key", ["password", "api_key", "OPENAI_API_KEY", "db-password", "clientSecret", "Authorization"]
)
def test_what_stands_under_a_secret_name_is_replaced(rules: Redaction, key: str) -> None:
    assert cleaned(rules, {key: "hunter2"}) == ({key: "[redacted:key]"}, {"key": 1})


def test_only_the_secret_part_of_a_text_is_replaced(rules: Redaction) -> None:
    text = "curl -H 'Authorization: Bearer abcdef123456' https://joe:pa55@host/ DB_PASSWORD=hunter2x; ok"
    assert cleaned(rules, text)[0] == (
        "curl -H 'Authorization: Bearer [redacted:bearer]' https://joe:[redacted:url-password]@host/ "
        "DB_PASSWORD=[redacted:assignment]; ok"
    )


def test_own_rules_apply_with_and_without_an_anchor(rules: Redaction) -> None:
    rules.add(r"ACME-[0-9]{4}", name="acme")
    rules.add(r"Straße (\w+)", name="street", anchor="Straße")
    assert cleaned(rules, "ACME-1234 in Straße Sieben") == (
        "[redacted:acme] in Straße [redacted:street]",
        {"acme": 1, "street": 1},
    )
    rules.reset()
    assert cleaned(rules, "ACME-1234") == ("ACME-1234", {})


def test_rules_can_be_switched_off(rules: Redaction) -> None:
    rules.off()
    assert cleaned(rules, {"password": SECRETS["jwt"][0]}) == ({"password": SECRETS["jwt"][0]}, {})


def test_a_pattern_that_is_none_is_refused(rules: Redaction) -> None:
    with pytest.raises(UsageError, match=r"'\(' is not a regular expression"):
        rules.add("(")


def test_a_rule_that_is_added_later_applies_to_texts_that_were_seen_before(rules: Redaction) -> None:
    assert rules.text("step ACME-1234") == "step ACME-1234"
    rules.add(r"ACME-[0-9]{4}", name="acme")
    assert rules.text("step ACME-1234") == "step [redacted:acme]"


@pytest.fixture
def own_rule() -> Iterator[None]:
    redact.add(r"ACME-[0-9]{4}", name="acme")
    yield
    redact.reset()


@pytest.mark.usefixtures("own_rule")
def test_exceptions_are_redacted_too() -> None:
    from tracecraft.recording.failure import failure

    try:
        raise ValueError("ACME-1234 failed")
    except ValueError as error:
        said = failure(error)
    assert said.message == "[redacted:acme] failed"
    assert "ACME" not in said.trace
