"""Secrets do not leave the process; what is none stays as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft.redaction import Redaction, redact
from tracecraft_core import values
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
    {"token_count": "many thousands of them", "tokens": "a-b-c-d-e-f-g-h", "passed": "yes", "compass": "north"},
    {"secret_name": "prod/db", "password_file": "/run/db", "access_key_id": "mine", "first_pass": "went well"},
    {"PWD": "/home/joe", "env": "PWD=/home/joe\nOLDPWD=/tmp\nCOMPASS=north\nMAX_TOKENS=4096"},
    "all tests pass: --passes 3 --max-tokens 100 --password-file /run/db",
    "mkdir -p data; curl -u joe https://host; mysql -u root -p shop",
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
    "key",
    [
        *("password", "api_key", "OPENAI_API_KEY", "db-password", "clientSecret", "Authorization"),
        *("AWS_SECRET_ACCESS_KEY", "secretKey", "DB_PASS", "pwd", "passwd", "dbPwd", "pass", "accessKey", "APIKey"),
        *("credentials", "Set-Cookie", "session-key", "private_key_pem", "SECRET_KEY_BASE", "userPassword2", "apikey"),
    ],
)
def test_what_stands_under_a_secret_name_is_replaced(rules: Redaction, key: str) -> None:
    assert cleaned(rules, {key: "hunter2"}) == ({key: "[redacted:key]"}, {"key": 1})


def test_what_a_secret_name_holds_is_replaced_in_a_list_and_as_bytes_and_behind_an_option(rules: Redaction) -> None:
    mark = "[redacted:key]"
    value = {"cookie": ["a=b"], "password": b"hunter2", "argv": ["login", "--password", "hunter2", "--user", "joe"]}
    argv = ["login", "--password", mark, "--user", "joe"]
    assert cleaned(rules, value)[0] == {"cookie": [mark], "password": mark, "argv": argv}


@pytest.mark.parametrize(
    "text",
    [
        *("AWS_SECRET_ACCESS_KEY=HIDDEN", "HOME=/root\nDB_PASS=HIDDEN\nPATH=/bin", "export MY_TOKEN=HIDDEN"),
        *("DB_PASSWORD='HIDDEN'", 'X_PWD="HIDDEN"', "secretKey=HIDDEN", "{'aws_secret_access_key': 'HIDDEN'}"),
        *("login --password HIDDEN now", "login --db-password=HIDDEN now", "login --api-key HIDDEN"),
        *("mysql -u root -pHIDDEN shop", "curl -s -u user:HIDDEN https://host", "curl --user 'user:HIDDEN' host"),
        *("postgres://joe:HIDDEN@host/db", "amqp://:HIDDEN@host", "Cookie: HIDDEN"),
    ],
)
def test_a_password_in_a_command_or_an_environment_is_replaced(rules: Redaction, text: str) -> None:
    for secret in ("hunter2x", "correct-Horse9/battery", "p@ssw0rd7") if "//" not in text else ("x1", "p@ssw0rd7"):
        found, counts = cleaned(rules, text.replace("HIDDEN", secret))
        (rule,) = counts
        assert found == text.replace("HIDDEN", f"[redacted:{rule}]")


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
        said = failure(error, redact.text)
    assert said.message == "[redacted:acme] failed"
    assert "ACME" not in said.trace
