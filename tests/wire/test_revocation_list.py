"""When lists end, of those that other programs make and of what is none."""

from __future__ import annotations

import math
import random
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import pytest

from llmgw.wire.revocation_list import ends_of_lists
from tests.fakes.pki import Authority

_NAME = b"\x30\x02\x31\x00"


def crl(*times: bytes, version: bytes = b"\x02\x01\x01") -> bytes:
    def sequence(content: bytes) -> bytes:
        return bytes([0x30, len(content)]) + content

    signed = sequence(version + sequence(b"\x06\x01\x01") + _NAME + b"".join(times))
    der = sequence(signed + sequence(b"") + b"\x03\x01\x00")
    return b"-----BEGIN X509 CRL-----\n" + b64encode(der) + b"\n-----END X509 CRL-----\n"


def utc(text: str) -> bytes:
    return bytes([0x17 if len(text) == 13 else 0x18, len(text)]) + text.encode()


def test_the_later_of_two_lists_of_one_issuer_counts(tmp_path: Path) -> None:
    one, other = Authority(tmp_path, "One"), Authority(tmp_path, "Other")
    lists = one.revoke(ends=timedelta(hours=1)), one.revoke(ends=timedelta(hours=3)), other.revoke()

    ends = sorted(ends_of_lists(b"some text\n" + b"".join(lists)).values())

    assert len(ends) == 2
    assert ends[1] - ends[0] == pytest.approx(21 * 3600, abs=5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("700101000000Z", 0),
        ("491231235959Z", 2524607999),
        ("500101000000Z", -631152000),
        ("20700101000000Z", 3155760000),
    ],
)
def test_both_forms_of_a_time(text: str, seconds: float) -> None:
    assert [*ends_of_lists(crl(utc("260101000000Z"), utc(text))).values()] == [seconds]


def test_a_list_of_the_first_version_and_one_that_does_not_say_when_it_ends() -> None:
    assert [*ends_of_lists(crl(utc("260101000000Z"), version=b"")).values()] == [math.inf]


def test_what_is_no_list_is_left_out(tmp_path: Path) -> None:
    good = Authority(tmp_path, "One").revoke()
    chance = random.Random(1)

    assert ends_of_lists(b"") == {}
    assert ends_of_lists(crl(utc("260101000000Z"), utc("no time here!"))) == {}
    for _ in range(2_000):
        broken = bytearray(good)
        at = chance.randrange(25, len(good) - 25)
        broken[at : at + 2] = chance.randbytes(2)
        assert len(ends_of_lists(bytes(broken))) <= 1
