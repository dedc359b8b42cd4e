from __future__ import annotations

import random

import pytest

from llmgw.core.reply import Reply
from llmgw.core.stored_reply import REPLAY, StoredReply, again, from_bytes, kept_lines, to_bytes

REPLY = StoredReply(
    200, b"content-type: text/event-stream\r\n", bytes(range(256)), True, "up", "gpt-4o", 7, 3
)


def test_what_was_kept_is_found() -> None:
    assert from_bytes(to_bytes(REPLY)) == REPLY


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_is_noticed(seed: int) -> None:
    data = bytearray(to_bytes(REPLY))
    bit = random.Random(seed).randrange(len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8

    assert from_bytes(bytes(data)) is None


def test_what_was_cut_is_noticed() -> None:
    data = to_bytes(REPLY)

    assert all(from_bytes(data[:length]) is None for length in range(len(data)))


def test_another_version_is_nothing() -> None:
    data = bytearray(to_bytes(REPLY))
    data[2] += 1

    assert from_bytes(bytes(data)) is None


def test_only_lines_of_the_answer_itself_are_kept() -> None:
    head = (
        b"cache-control: private, no-store\r\nx-llmgw-provider: up\r\nX-RateLimit-Limit: 5\r\n"
        b"Content-Type: application/json\r\nx-request-id: req_1\r\nx-llmgw-cost: 0.1\r\nretry-after: 3\r\n"
    )

    assert kept_lines(head) == (
        b"cache-control: private, no-store\r\nx-llmgw-provider: up\r\nContent-Type: application/json\r\n"
    )


def test_a_policy_can_answer_with_it() -> None:
    answer = again(REPLY, REPLAY, b"Idempotent-Replayed: true\r\n")

    assert isinstance(answer, Reply)
    assert (answer.status, answer.body, answer.stored) == (200, REPLY.body, REPLY)
