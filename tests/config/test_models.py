"""Public model names and their targets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmgw.config.load import document_from_text

ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"


def test_defaults() -> None:
    model = document_from_text(
        ECHO + "models: {'ft:gpt-4o:acme': {targets: [{provider: e, model: x}]}}"
    ).models["ft:gpt-4o:acme"]

    assert model.strategy == "priority"
    assert model.targets[0].weight == 1
    assert (model.timeouts.connect, model.timeouts.first_byte) == (5, 60)
    assert (model.timeouts.idle, model.timeouts.total) == (60, 600)


def test_several_targets_by_priority() -> None:
    model = document_from_text(
        ECHO
        + "models: {m: {strategy: priority, targets: [{provider: e, model: x}, {provider: e, model: y}]}}"
    ).models["m"]

    assert [target.model for target in model.targets] == ["x", "y"]


@pytest.mark.parametrize(
    ("model", "refusal"),
    [
        ("strategy: prioriti", 'no strategy named "prioriti"'),
        ("strategy: prioriti", 'did you mean "priority"?'),
        ("strategy: weighted, targets: [{provider: e, model: x, weight: 0}]", "every target has weight 0"),
        ("timeouts: {connect: off}", 'timeouts.connect: "off" is not a duration'),
        ("timeouts: {total: 0s}", "must be more than zero"),
        ("hedge: {after: 0s}", 'models.m.hedge.after: "0s" must be more than zero'),
        (
            "mirror: {target: {provider: x, model: y}, share: 1%}",
            'mirror.target.provider: no provider named "x"',
        ),
        ("mirror: {target: {provider: e, model: y}, share: 0%}", "mirror.share: must be more than 0%"),
        ("retry: {attempts: 0}", "models.m.retry.attempts"),
        ("fallbacks: [{model: other}]", 'models.m.fallbacks[0].model: no model named "other"'),
        ("fallbacks: [{model: m}]", 'falls back to "m", which leads back to "m"'),
        ("fallbacks: [{model: m, on: [luck]}]", "models.m.fallbacks[0].on[0]"),
        ("sticky: luck", "models.m.sticky"),
        ("breaker: {failure_ratio: 2}", "models.m.breaker.failure_ratio"),
        ("targets: [{provider: e}]", "models.m.targets[0].model: is required"),
        ("targets: [{provider: e, model: x, weight: -1}]", "greater than or equal to 0"),
        ("targets: [{provider: e, model: x, weight: true}]", "weight: must be a whole number"),
        ("targets: [e/x]", "models.m.targets[0]: must be a mapping"),
    ],
)
def test_refused(model: str, refusal: str, refusals: Callable[..., list[str]]) -> None:
    text = model if "targets" in model else f"{model}, targets: [{{provider: e, model: x}}]"
    found = refusals(f"{ECHO}models: {{m: {{{text}}}}}")

    assert any(refusal in line for line in found), found
