"""What is found in texts, and what is left alone."""

from __future__ import annotations

import json
import re._parser as sre  # type: ignore[import-untyped]
import time
from collections import Counter

import pytest

from llmgw.core.api_key import generate
from llmgw.redaction.detectors import RULES
from llmgw.redaction.kinds import KINDS
from llmgw.redaction.rule import MAX_LENGTH
from llmgw.redaction.text import HOLD, PLACEHOLDERS, redacted, rules_of

JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0"
    ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
)
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8PbnGy0AHB7\nMhgwMbRvI0M=\n"
    "-----END RSA PRIVATE KEY-----"
)
FOUND = {
    "email": [
        "bob@example.com",
        "Bob.Smith+news_1@mail.example.co.uk",
        "o-brien%x@sub-domain.example.org",
        "josé@exämple.com",
        "用户@例子.公司",
        "a@b.xn--p1ai",
        f"{'x' * 64}@example.com",
    ],
    "phone": [
        "+4915112345678",
        "+49 151 1234 5678",
        "+49 (0)151-1234.5678",
        "+1 (415) 555-2671",
        "+33 1 23 45 67 89",
        "+44\u00a020\u00a07946\u00a00958",
        "+4٩1٥1١٢٣٤٥٦٧٨",
        "(415) 555-2671",
        "415-555-2671",
        "415\u2011555\u20112671",
    ],
    "credit_card": [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111\u00a01111\u00a01111\u00a01111",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "3782 822463 10005",
        "30569309025904",
        "6011111111111117",
        "3530111333300000",
        "6304000000000000",
        "4111111111111111110"[:16],
        "٤١١١١١١١١١١١١١١١",
        "４１１１１１１１１１１１１１１１",
    ],
    "iban": [
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "GB82 WEST 1234 5698 7654 32",
        "FR14 2004 1010 0505 0001 3M02 606",
        "NO93 8601 1117 947",
        "MT84MALT011000012345MTLCAST001S",
        "de89 3704 0044 0532 0130 00",
        "DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000",
    ],
    "ip": [
        "203.0.113.7",
        "10.255.0.1",
        "2001:db8::1",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "fe80::1ff:fe23:4567:890a",
    ],
    "secrets": [
        "sk-proj-abcdefghijklmnop1234567890ABCD",
        "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz-0123456789_abcAA",
        "sk-or-v1-0123456789abcdef0123456789abcdef",
        "sk-abcdefghijklmnopqrstuvwxyzABCDEF1234567890abcdef",
        "llmgw_2cwie4b5agf33ynj_c63RlgDYfGZSuNsHxfamp8wVnZTpksgneERHSv-tjhk",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "github_pat_11ABCDEFG0123456789012_abcdefghijklmnopqrstuvwxyz",
        "glpat-abcDEF0123456789abcd",
        "xox" + "b-1234567890-abcdefghij",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "sk_" + "live_0123456789abcdefABCDEF",
        "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
        "gsk_" + "a1B2" * 13,
        "npm_0123456789abcdefghijABCDEFGHIJ012345",
        "hvs.CAESIJ0123456789abcdefghij",
        JWT,
        "Bearer abcdefghij.1234567890~abc==",
        "bearer\t0123456789abcdef0123",
        PEM,
        PEM.replace("\n", "\\n"),
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----",
    ],
}
LEFT_ALONE = {
    "email": [
        "bob at example.com",
        "@handle",
        "user@localhost",
        "a@b",
        "@types/node@18.2",
        "git@github",
        "x @ y.com",
    ],
    "phone": [
        "+1",
        "1234567890",
        "2024-01-31",
        "12-34-56",
        "+123456",
        "+12345678901234567",
        "a+49151123456789",
        "tel 555-2671",
        "100-200-3000",
        "3.14159265358979",
        "order 415555267198",
        "1+2 345 678 90 12 34 56 78 90 12",
    ],
    "credit_card": [
        "4111111111111112",
        "1234567890123456",
        "1700000000000",
        "1700000000000000",
        "0000000000000000",
        "41111111111111111111",
        "a4111111111111111",
        "4111111111111111b",
        "4111 1111 1111",
        "id_4111111111111112",
        "9999 9999 9999 9999",
        "5555 5555 5555 5555",
    ],
    "iban": [
        "DE89370400440532013001",
        "DE8937040044053201300",
        "XX89370400440532013000",
        "DE00 0000 0000 0000 0000 00",
        "AB12CD34EF56GH78IJ90",
        "xDE89370400440532013000",
        "DE893704004405320130001",
    ],
    "ip": [
        "127.0.0.1",
        "0.0.0.0",
        "1.2.3",
        "v1.2.3.4",
        "1.2.3.4.5",
        "256.1.1.1",
        "12:34:56",
        "aa:bb:cc:dd:ee:ff",
        "std::string",
        "a::b",
        "::1",
        "1:2",
        "10:30",
        "3.14.15",
    ],
    "secrets": [
        "sk-learn is a library",
        "sk-fading-circle-container-wide",
        "the bearer of this letter",
        "Bearer token",
        "Bearer responsibilities-and-obligations",
        "risk-management-and-compliance-2024-report",
        "AKIA",
        "ghp_short",
        "eyJ",
        "hf_hub_download",
        "llmgw_requests_total",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "0123456789abcdef0123456789abcdef01234567",
        "550e8400-e29b-41d4-a716-446655440000",
    ],
}
HOSTILE = [
    "a",
    "a.",
    "a@",
    "a@b.",
    "4 ",
    "4444 ",
    "4111111111111111",
    "1",
    "AB12",
    "AB12 ",
    "DE893704 ",
    "a:",
    "1:2:",
    "1.",
    "sk-",
    "sk-a-",
    "eyJ",
    "eyJa.",
    "bearer ",
    "-",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "+1 ",
    "+",
    "(2",
    "415-",
    "hello world ",
    "\\",
    "\\n",
    "\\n1",
    "\\u00e9",
    "\\u00e9@",
    "a\\n@",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_found(kind: str, text: str) -> None:
    """Whole and nothing else, at the edges of a text and within it."""
    rules = rules_of((kind,))

    for before, after in (
        ("", ""),
        ("see ", " now"),
        ("(", ")"),
        ('"', '",'),
        ("说", "。"),
        ("is:\n", "\nand"),
    ):
        if kind == "phone" and before == "(" and text.startswith("("):
            continue
        expected = f"{before}{PLACEHOLDERS[kind]}{after}"
        got = redacted(f"{before}{text}{after}", rules, Counter())
        if before == "说" and "用户" in text:
            assert text not in got  # all of these letters may be the address
            continue
        assert got == expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [(kind, text) for kind, texts in FOUND.items() for text in texts if text.isascii() and "\t" not in text],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_found_in_a_text_that_is_json(kind: str, text: str, ascii_only: bool) -> None:
    """What begins a line, a cell or a tag there stands behind an escape. It stays JSON."""
    for before in ("is:\n", "\t", "\r\n", "a\f", "<", "\u0080"):
        document = json.dumps({"v": f"{before}{text}\nand"}, ensure_ascii=ascii_only)
        document = document.replace("<", "\\u003c")
        got = json.loads(redacted(document, rules_of((kind,)), Counter()))["v"]
        assert got.endswith(f"{PLACEHOLDERS[kind]}\nand")
        assert got.startswith(before.rstrip("\u0080"))
        assert text not in got


@pytest.mark.parametrize(
    "name", ["jos\\u00e9", "m\\u00fcller", "\\u7528\\u6237", "\\u0438\\u0432\\u0430\\u043d.p"]
)
def test_an_address_whose_letters_are_escaped(name: str) -> None:
    text = redacted(f'{{"v": "for {name}@example.com, now"}}', rules_of(("email",)), Counter())

    assert text == '{"v": "for [EMAIL], now"}'


def test_keys_as_they_are_issued_are_found() -> None:
    rules = rules_of(("secrets",))
    for _ in range(50):
        assert redacted(f"key {generate()[1]}.", rules, Counter()) == "key [SECRET]."


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in LEFT_ALONE.items() for text in texts]
)
def test_left_alone(kind: str, text: str) -> None:
    for around in (text, f"see {text} now", f"({text})"):
        assert redacted(around, rules_of((kind,)), Counter()) == around


def test_a_private_key_without_an_end() -> None:
    """It goes on for as long as it may be one."""
    text = 'key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\nAB==" # the end'

    assert redacted(text, rules_of(KINDS), Counter()) == 'key = "[SECRET]" # the end'


def test_all_kinds_together() -> None:
    """Each value is of the kind that it is, and is counted once."""
    counts: Counter[str] = Counter()
    values = [(kind, text) for kind, texts in FOUND.items() for text in texts]

    told = redacted(" | ".join(text for _, text in values), rules_of(KINDS), counts)

    assert told == " | ".join(PLACEHOLDERS[kind] for kind, _ in values)
    assert counts == Counter(kind for kind, _ in values)


def test_what_was_redacted_is_left_alone() -> None:
    once = redacted("\n".join(text for texts in FOUND.values() for text in texts), rules_of(KINDS), Counter())

    counts: Counter[str] = Counter()
    assert redacted(once, rules_of(KINDS), counts) == once
    assert not counts


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_texts_take_linear_time(piece: str) -> None:
    """A megabyte of each takes at most a few seconds; going back and forth would take hours."""
    text = (piece * (1_000_000 // len(piece) + 1))[:1_000_000]
    began = time.process_time()

    redacted(text, rules_of(KINDS), Counter())

    assert time.process_time() - began < 20


def test_patterns_are_shorter_than_what_is_held_back() -> None:
    for rules in RULES.values():
        for rule in rules:
            least, most = sre.parse(rule.pattern.pattern, rule.pattern.flags).getwidth()
            assert least > 0
            assert most <= MAX_LENGTH < HOLD
