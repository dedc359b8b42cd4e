"""A configuration is loaded whole, or refused with every problem and its line."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgw.config.load import document_from_text, load_document
from llmgw.config.problems import ConfigError
from llmgw.config.source import parse_yaml, plain

Refusals = Callable[..., list[str]]

SMALLEST = 'version: 1\nproviders: {openai: {kind: openai, api_key: "${env:OPENAI_API_KEY}"}}\n'


def test_smallest_file() -> None:
    """One provider is enough: every model name goes to it, and there is one tenant."""
    document = document_from_text(SMALLEST)

    assert document.passthrough("default") == "openai"
    assert list(document.tenants) == ["default"]
    assert document.provider("default", "openai") == document.providers["openai"]


def test_absent_parts_may_be_empty() -> None:
    """A section whose members are all commented out is an absent section."""
    document = document_from_text(SMALLEST + "server:\nmodels:\ntenants: {}\nstorage:\nlogging: null\n")

    assert document.server.listen.port == 8080
    assert list(document.tenants) == ["default"]


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    """Whatever the working directory, files are found from the configuration's own."""
    file = tmp_path / "llmgw.yaml"
    file.write_text(
        "version: 1\nstorage: {url: 'sqlite:///x.db', data_dir: data}\n"
        "server: {tls: {cert: c.pem, key: /k.pem}}\n"
        "providers: {a: {kind: openai, api_key: x, ca: ca.pem}}\n"
    )

    document = load_document(file, {})

    assert document.path == file
    assert document.storage.sqlite_path == tmp_path / "x.db"
    assert document.storage.data_dir == tmp_path / "data"
    assert document.server.tls.cert == tmp_path / "c.pem"
    assert document.server.tls.key == Path("/k.pem")
    assert document.providers["a"].ca == tmp_path / "ca.pem"  # type: ignore[union-attr]


def test_default_paths_start_at_the_file(tmp_path: Path) -> None:
    document = document_from_text(SMALLEST, path=tmp_path / "llmgw.yaml")

    assert document.storage.sqlite_path == tmp_path / "llmgw.db"
    assert document.storage.data_dir == tmp_path / ".llmgw"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_document(tmp_path / "none.yaml", {})


def test_generation_follows_the_contents() -> None:
    """Comments and order change nothing; a value does."""
    first = document_from_text(SMALLEST).generation
    same = document_from_text("# hello\n" + "\n".join(reversed(SMALLEST.splitlines()))).generation
    other = document_from_text(SMALLEST + "logging: {level: debug}\n").generation

    assert len(first) == 12
    assert first == same != other


def test_document_is_frozen() -> None:
    document = document_from_text(SMALLEST)

    with pytest.raises(ValueError, match="frozen"):
        document.version = 1  # type: ignore[misc]


def test_document_tells_places() -> None:
    document = document_from_text(SMALLEST, path=Path("f.yaml"))

    assert str(document.place(("providers", "openai", "api_key"))) == "f.yaml:2"


def test_l02_all_problems_at_once(refusals: Refusals) -> None:
    """Wrong types, unknown keys, wrong names and missing parts come in one report, in order."""
    text = """\
version: 1
server:
  lisen: 127.0.0.1:80
  lame_duck: 5
providers:
  openai: {kind: openai}
  groq: {kind: openai_compatible, vendor: grok}
models:
  m:
    targets:
      - {provider: opnai, model: x, weigth: 2}
"""

    assert [line.split(" (known")[0] for line in refusals(text)] == [
        'f.yaml:3 server.lisen: unknown key; did you mean "listen"?',
        "f.yaml:4 server.lame_duck: 5 needs a unit; write it like 30s (units: ms, s, m, h, d, w)",
        "f.yaml:6 providers.openai.api_key: is required",
        'f.yaml:7 providers.groq.vendor: no vendor named "grok"',
        'f.yaml:11 models.m.targets[0].provider: no provider named "opnai"; did you mean "openai"?',
        'f.yaml:11 models.m.targets[0].weigth: unknown key; did you mean "weight"?',
    ]


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("providers: {e: {kind: echo}}", "f.yaml:1 version: is required"),
        ("version: 2\nproviders: {e: {kind: echo}}", "f.yaml:1 version: must be 1"),
        ("version: 1", "f.yaml:1 providers: at least one provider is needed"),
        ("[1, 2]", "f.yaml:1: must be a mapping of names to values"),
        ("text", "f.yaml:1: must be a mapping of names to values"),
        (SMALLEST + "provider: {}", 'f.yaml:3 provider: unknown key; did you mean "providers"?'),
        (SMALLEST + "providers2: {}", "f.yaml:3 providers2: unknown key"),
        (SMALLEST + "models: {m: {}}", "f.yaml:3 models.m.targets: is required"),
        (SMALLEST + "models: {m: {targets: []}}", "f.yaml:3 models.m.targets: must hold at least one"),
        (SMALLEST + "models: {m: {targets: {}}}", "f.yaml:3 models.m.targets: must be a list"),
        (SMALLEST + "models: [m]", "f.yaml:3 models: must be a mapping of names to values"),
        (SMALLEST + "server: on", "f.yaml:3 server: must be a mapping of names to values"),
        (SMALLEST + "observability: {prometheus: off}", "prometheus: must be true or false"),
        (SMALLEST + "observability: {prometheus: 1.5}", "prometheus: must be true or false"),
        (SMALLEST + "errors: {format: flt}", "errors.format: must be 'dialect' or 'flat'"),
        (SMALLEST + "tenants: {acme: {name: 7}}", "tenants.acme.name: must be text; put it in quotes"),
        (SMALLEST + "tenants: {a b: {}}", 'tenants."a b": holds characters that are not allowed here'),
        ("version: 1\nproviders: {x: {api_key: y}}", "f.yaml:2 providers.x.kind: is required"),
        ("version: 1\nproviders: {x: {kind: ech}}", 'no provider kind named "ech"'),
        ("version: 1\nproviders: {x: {kind: echo, faults: no}}", "faults: must be true or false"),
        (
            "version: 1\nproviders: {x: {kind: echo, tokens_per_secnd: 1}}",
            'did you mean "tokens_per_second"?',
        ),
        ("version: 1\nproviders: {x: 3}", "f.yaml:2 providers.x: must be a mapping"),
    ],
)
def test_l02_one_problem(text: str, refusal: str, refusals: Refusals) -> None:
    """Each mistake is named where it was made."""
    assert any(refusal in found for found in refusals(text)), refusals(text)


@pytest.mark.parametrize(
    "value", ["sk-live-secret", "${vault:a/b#sk-live-secret}", "${sk-live-secret}", "${env:sk-live-secret"]
)
def test_problems_hold_no_secret(value: str, refusals: Refusals) -> None:
    """A report can be pasted into a ticket, whatever is wrong beside the secret."""
    text = f'version: 2\nproviders: {{x: {{kind: openai, api_key: "{value}", bas_url: 3, ca: 7}}}}\n'

    assert "sk-live-secret" not in "\n".join(refusals(text))


def test_document_shows_no_secret() -> None:
    document = document_from_text("version: 1\nproviders: {x: {kind: openai, api_key: sk-live-secret}}")

    assert "sk-live-secret" not in repr(document)
    assert "sk-live-secret" not in document.model_dump_json()
    assert "sk-live-secret" not in str(document.model_dump(mode="json"))


def test_l02_refused_quickly(refusals: Refusals) -> None:
    """A large broken file is refused within 200 ms."""
    rows = "\n".join(f"  m{n}: {{targets: [{{provider: nobody, model: x}}]}}" for n in range(200))
    started = time.monotonic()

    found = refusals(f"{SMALLEST}models:\n{rows}\n")

    assert len(found) == 200
    assert time.monotonic() - started < 0.5


EXAMPLE = plain(parse_yaml((Path(__file__).parents[2] / "config.example.yaml").read_bytes(), "f.yaml"))


def _paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in inner for found in _paths(child, (*path, key)))]


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(_paths(EXAMPLE)[1:]),
    st.sampled_from(
        [None, True, 0, -1, 1.5, float("inf"), "", "x", "off", "${env:X}", [], ["x"], {}, {"x": "y"}, [[]]]
    ),
)
def test_any_change_is_loaded_or_refused(path: tuple[object, ...], value: object) -> None:
    """Whatever stands in place of any value of the example, nothing but ConfigError comes out."""
    changed = copy.deepcopy(EXAMPLE)
    parent = changed
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value

    with suppress(ConfigError):
        document_from_text(yaml.safe_dump(changed))
