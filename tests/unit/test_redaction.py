"""Secrets do not leave the process; what is none stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tracecraft.redaction import DEFAULTS, Redaction, redact
from tracecraft_core import values
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SECRETS = {
    "api-key": [
        *("sk-ant-api03-abcdefghijklmnop", "sk-proj-0123456789abcdefXYZ", "gsk_" + "aB3" * 17, "csk-" + "a1b" * 16),
        *("xai-" + "Ab1" * 26, "pplx-" + "a1B" * 16, "tvly-dev-" + "a1B" * 10, "nvapi-" + "a_B-" * 16),
        *("lsv2_pt_" + "a1" * 16 + "_0123456789", "r8_" + "Ab1" * 12),
    ],
    "aws-key": ["AKIAIOSFODNN7EXAMPLE"],
    "github-token": ["ghp_" + "a1" * 18, "github_pat_" + "B2" * 20],
    "gitlab-token": ["glpat-" + "x9" * 11],
    "slack-token": ["xoxb-123456789012-abcdef", "xapp-1-A0123456789-123456-abcdef"],
    "google-key": ["AIza" + "Sy" * 17 + "a", "ya29.a0AfH6SMBabcdefghijklmnop"],
    "stripe-key": ["sk_live_" + "4eC39HqLyjWDarjt", "whsec_" + "aB3/" * 8],
    "sendgrid-key": ["SG." + "a1B_" * 5 + "ab." + "c2D-" * 10 + "abc"],
    "digitalocean-token": ["dop_v1_" + "a1" * 32],
    "huggingface-token": ["hf_" + "Ab1" * 11],
    "registry-token": ["npm_" + "a" * 36],
    "jwt": ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N"],
    "private-key": [
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
        "AGE-SECRET-KEY-1" + "QPZRY9X8" * 7 + "GF",
    ],
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
    "ssh://git@github.com/x, git@github.com:x/y.git, https://joe@host/x, https://x-access-token@host, joe@example.org",
    "https://john.doe2@host, https://medium.com/@Joe1234567890, https://unpkg.com/a@1.2.3, docker://alpine@sha256:abc",
    "nats://127.0.0.1:4222,nats://b:4222 wss://host/a@b ws://[::1]:80 nats://$TOKEN@h nats://{self.token}@h nats://<token>@h",
    "commit 3b466a30f3c2b1d4e5f60718293a4b5c6d7e8f90 of 6fa459ea-ee8a-3ca4-894e-db77e160355e",
    "def login(password: str, token: str | None, api_key: Optional[str] = None) -> None: ...",
    "authorization: str, Authorization: your application asks for it, the authorization server decides",
    "PASS: test_1 of 4, DB_PASS: str = field(), X_SECRET: Final = 3, DB_PASSWORD: ${DB_PASSWORD}, DB_PASS: {pass1}",
    "first_pass: 12ms1 forward_pass=layer2out db_pass = get_pass(1)",
    'option("--token", "token"); add_argument("--password", "-p", "--pass", help="of the user")',
    "pwd=/home/joe1 pwd: string cwd: a1b2c3d4 hooks.slack.com and gsk_ xai-grok r8_x SG.x ya29. whsec_x",
    "docker login -p $TOKEN1; mkdir login -p; git commit --token-type x --password -h host1 --secret -> b",
    {"properties": {"password": {"type": "string", "description": "The password of the user", "minLength": 8}}},
    {"password": {"min": 8}, "required": ["password", "token"], "passwords": 14344391, "pass": 12345, "secret": True},
    {"env": [{"name": "HOME", "value": "/root"}, {"name": "token", "value": "the"}, {"name": "password", "kind": "x"}]},
    "- name: loss\n  value: 0.512 and name: password_file\n  value: /run/x",
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


@pytest.mark.parametrize(
    "value",
    [
        {"env": [{"name": "DB_PASSWORD", "value": "HIDDEN"}, {"name": "HOME", "value": "/root"}]},
        {"value": "HIDDEN", "name": "db_pass"},
        {"Key": "ApiKey", "Value": "HIDDEN"},
        {"api_key": {"value": "HIDDEN", "type": "string"}},
        {"credentials": [{"value": "HIDDEN", "label": "of the shop"}]},
        {"argv": ["login", "--password", "-HIDDEN", "-u", "joe"]},
        {"password": 12345678},
    ],
    ids=["env", "value-first", "pair", "object", "objects", "argv", "digits"],
)
def test_a_value_that_is_kept_apart_from_its_secret_name_is_replaced(rules: Redaction, value: Any) -> None:
    for secret in ("hunter2x", "open sesame"):
        hidden = json.dumps(value).replace("HIDDEN", secret)
        found, counts = cleaned(rules, json.loads(hidden))
        expected = json.dumps(value).replace("-HIDDEN", "[redacted:key]").replace("HIDDEN", "[redacted:key]")
        assert (json.dumps(found), counts) == (expected.replace("12345678", '"[redacted:key]"'), {"key": 1})


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
        *(
            "nats://HIDDEN@h:4222,nats://b",
            "tls://HIDDEN@h",
            "wss://HIDDEN@h/x",
            "https://HIDDEN@h/x.git",
            "git+https://HIDDEN@h",
        ),
        *("Authorization: token HIDDEN", "-H 'authorization: ApiKey HIDDEN'", 'h["Authorization"] = "token HIDDEN"'),
        *("DB_PASS: HIDDEN", "db:\n  db_pass: HIDDEN\n", "DB_PASS: 'HIDDEN'", "x-pass = HIDDEN", "pwd=HIDDEN"),
        *("docker login -u joe -p HIDDEN host", "machine h login joe password HIDDEN", "login --password -HIDDEN"),
        *("['login', '--password', 'HIDDEN', '-v']", '["--token", "-HIDDEN"]'),
        *(
            "- name: DB_PASSWORD\n  value: HIDDEN\n",
            '{"name": "API_KEY", "value": "HIDDEN"}',
            '{"api_key":{"value":"HIDDEN"}}',
        ),
        *('{\\"password\\": \\"HIDDEN\\"}', '"AccountKey=HIDDEN;EndpointSuffix=x"'),
    ],
)
def test_a_password_in_a_command_or_an_environment_is_replaced(rules: Redaction, text: str) -> None:
    for secret in (
        ("hunter2x", "correct-Horse9/battery", "p@ssw0rd7") if "//" not in text else ("x1y2z3", "p%40ssw0rd7")
    ):
        found, counts = cleaned(rules, text.replace("HIDDEN", secret))
        (rule,) = counts
        assert found in [text.replace(hidden, f"[redacted:{rule}]") for hidden in ("HIDDEN", "-HIDDEN")]


@pytest.mark.parametrize(
    "text",
    [
        *('password = "HIDDEN"', "password: 'HIDDEN'", 'DB_PASS: "HIDDEN"', '{"client_secret": "HIDDEN"}'),
        *('{\\"password\\": \\"HIDDEN\\"}', 'db_pass = "HIDDEN"'),
    ],
)
def test_a_password_of_several_words_is_replaced_as_a_whole(rules: Redaction, text: str) -> None:
    for secret in ("open sesame 12345", "a1 b c d", "with space secret1"):
        mark = "[redacted:assignment]"
        assert cleaned(rules, text.replace("HIDDEN", secret)) == (text.replace("HIDDEN", mark), {"assignment": 1})


@pytest.mark.parametrize("text", ["password: HIDDEN", "passwd=HIDDEN", 'password = "HIDDEN"', "PASSWORD: HIDDEN, x"])
def test_a_password_of_digits_is_replaced(rules: Redaction, text: str) -> None:
    for secret in ("1234", "12345678901"):
        mark = "[redacted:assignment]"
        assert cleaned(rules, text.replace("HIDDEN", secret)) == (text.replace("HIDDEN", mark), {"assignment": 1})


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://hooks.slack.com/services/HIDDEN", "T00000000/B00000000/" + "X" * 24),
        ("https://discord.com/api/webhooks/123456/HIDDEN", "a1B-" * 17),
    ],
    ids=["slack", "discord"],
)
def test_of_a_webhook_the_part_that_lets_anybody_write_is_replaced(rules: Redaction, text: str, secret: str) -> None:
    assert cleaned(rules, text.replace("HIDDEN", secret))[0] == text.replace("HIDDEN", "[redacted:webhook]")


_FRAGMENTS = [
    *(secret for known in SECRETS.values() for secret in known),
    *("password", "token", "DB_PASS", "db_pass", "pwd", "api_key", "Authorization", "name", "value", "--password"),
    *("curl -u", "mysql", "login", "sshpass", "-p", "nats://", "https://", "@", ":", "=", " ", "\n", '"', "'", "\\"),
    *("{", "}", ",", ";", "/", "-", "h0st", "hunter2x", "joe", "12345", "[redacted:key]", "[redacted:", "]", "Bearer"),
    *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "cookie:", "machine", "password ", "é", "\u2028"),
]


@hypothesis.given(st.lists(st.sampled_from(_FRAGMENTS), max_size=24).map("".join))
@hypothesis.settings(max_examples=500, deadline=None)
def test_what_is_redacted_stays_as_it_is_when_it_is_redacted_again(text: str) -> None:
    rules = Redaction()
    for value in (text, {text: text, "password": {"value": text}, "argv": ["--token", text]}):
        once = cleaned(rules, value)[0]
        assert cleaned(rules, once)[0] == once


@hypothesis.given(st.lists(st.sampled_from(_FRAGMENTS), max_size=24).map("".join), st.sampled_from(["", "x é " * 80]))
@hypothesis.settings(max_examples=300, deadline=None)
def test_no_rule_applies_where_none_of_its_anchors_is(text: str, more: str) -> None:
    body = values.encode(text + more)
    for rule in DEFAULTS:
        if rule.pattern.search(text + more):
            assert any(anchor in body for anchor in rule.anchors), rule.name


def test_source_code_and_its_documentation_are_hardly_touched(rules: Redaction) -> None:
    sources = [
        path for part in ("tracecraft", "sdk", "cli", "bridge", "deploy", "docs") for path in _sources(ROOT / part)
    ]
    size = sum(len(path.read_text()) for path in sources)
    replaced = sum(sum(rules.counted(path.read_text())[1].values()) for path in sources)
    assert size > 1_000_000
    assert replaced < size / 30_000


def _sources(folder: Path) -> list[Path]:
    return [path for ending in ("py", "md") for path in folder.rglob(f"*.{ending}")]


HOSTILE = [
    *(
        "token:",
        "password=",
        "password \t",
        "password='",
        "eyJ-",
        "curl ",
        "curl -uuu",
        "mysql ",
        "login -",
        "SECRETKEY",
    ),
    *(
        "-----BEGIN ",
        "-----",
        "://a:",
        "nats://a",
        "https://a.a",
        "--a-",
        "machine a login ",
        "name: password",
        "pwd=1",
    ),
    *("db_pass=1", "authorization a ", "{", "${", "\\", " ", "1", "a", '"'),
]


@pytest.mark.parametrize("part", HOSTILE, ids=repr)
@pytest.mark.timeout(30)
def test_no_text_takes_long(rules: Redaction, part: str) -> None:
    for start in ("", "password=", "nats://", "-----BEGIN PRIVATE KEY-----", "Authorization: ", "eyJ", "curl -"):
        rules.text(start + part * (200_000 // len(part)))


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
