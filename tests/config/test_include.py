"""Several files make one configuration, and none wins over another."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from llmgw.config.include import shown
from llmgw.config.load import load_document
from llmgw.config.problems import ConfigError

MAIN = "version: 1\nproviders: {e: {kind: echo}}\n"


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory / "llmgw.yaml"


def refused(main: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_document(main, {})
    return [str(problem).replace(f"{main.parent}/", "") for problem in caught.value.problems]


def test_one_file_a_tenant(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        {
            "llmgw.yaml": MAIN + "include: [tenants.d/*.yaml]\n",
            "tenants.d/a.yaml": "tenants: {a: {name: A}}\n",
            "tenants.d/b.yaml": "version: 1\ntenants: {b: {name: B}}\n",
        },
    )

    document = load_document(main, {})

    assert list(document.tenants) == ["a", "b"]
    assert [path.name for path in document.files] == ["llmgw.yaml", "a.yaml", "b.yaml"]
    assert str(document.place(("tenants", "b", "name"))).endswith("b.yaml:2")


def test_includes_are_relative_to_their_file(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        {
            "llmgw.yaml": MAIN + "include: [more/first.yaml]\n",
            "more/first.yaml": "include: [second.yaml]\nmodels: {m: {targets: [{provider: e, model: x}]}}\n",
            "more/second.yaml": "logging: {level: debug}\n"
            "prices: {overrides: {e/x: {input: 1 USD/M, output: 1 USD/M}}}\n",
        },
    )

    document = load_document(main, {})

    assert document.logging.level == "debug"
    assert list(document.models) == ["m"]
    assert list(document.prices.overrides) == ["e/x"]


def test_glob_without_matches(tmp_path: Path) -> None:
    """A directory that is still empty is no mistake."""
    assert load_document(write(tmp_path, {"llmgw.yaml": MAIN + "include: [none.d/*.yaml]\n"}), {})


def test_missing_include(tmp_path: Path) -> None:
    main = write(tmp_path, {"llmgw.yaml": MAIN + "include:\n  - none.yaml\n  - .\n"})

    assert refused(main) == [
        "llmgw.yaml:4 include[0]: none.yaml cannot be read: No such file or directory",
        f"llmgw.yaml:5 include[1]: {tmp_path} cannot be read: Is a directory",
    ]


def test_l03_a_pipe_without_a_writer_keeps_nobody_waiting(tmp_path: Path) -> None:
    main = write(tmp_path, {"llmgw.yaml": MAIN + "include: [pipe.yaml]\n"})
    os.mkfifo(tmp_path / "pipe.yaml")

    assert refused(main) == [
        "llmgw.yaml:3 include[0]: pipe.yaml cannot be read: a pipe that nobody writes to",
    ]


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """As in `llmgw config check -c <(make-config)`, where the writer may be late."""
    reading, writing = os.pipe()

    def make() -> None:
        time.sleep(0.1)
        with os.fdopen(writing, "wb") as file:
            file.write(MAIN.encode())

    writer = threading.Thread(target=make)
    writer.start()

    assert load_document(Path(f"/dev/fd/{reading}"), {})

    writer.join()
    os.close(reading)


def test_files_are_shown_whole_where_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert shown(tmp_path / "llmgw.yaml") == str(tmp_path / "llmgw.yaml")


def test_l02_defined_twice(tmp_path: Path) -> None:
    """Both places are named, for named things and for whole sections."""
    main = write(
        tmp_path,
        {
            "llmgw.yaml": MAIN + "logging: {level: info}\ninclude: [b.yaml]\n",
            "b.yaml": "providers:\n  e: {kind: echo}\nlogging: {level: info}\nversion: 2\n",
        },
    )

    assert refused(main) == [
        "b.yaml:2 providers.e: defined twice; first at llmgw.yaml:2",
        "b.yaml:3 logging: defined twice; first at llmgw.yaml:3",
        "b.yaml:4 version: differs from llmgw.yaml:1",
    ]


def test_l02_include_cycle(tmp_path: Path) -> None:
    main = write(tmp_path, {"llmgw.yaml": MAIN + "include: [b.yaml]\n", "b.yaml": "include: [llmgw.yaml]\n"})

    assert refused(main) == ["b.yaml:1 include[0]: llmgw.yaml includes itself"]


def test_included_twice(tmp_path: Path) -> None:
    main = write(
        tmp_path, {"llmgw.yaml": MAIN + "include: [b.yaml, ./b.yaml]\n", "b.yaml": "tenants: {a: {}}\n"}
    )

    assert refused(main) == ["llmgw.yaml:3 include[1]: b.yaml is included twice"]


def test_problems_name_the_included_file(tmp_path: Path) -> None:
    """A broken file does not hide the problems of the others."""
    main = write(
        tmp_path,
        {
            "llmgw.yaml": MAIN + "include: [a.yaml, b.yaml, c.yaml, d.yaml]\nlogging: {level: loud}\n",
            "a.yaml": "tenants: [\n",
            "b.yaml": "tenants:\n  x: {nam: y}\n",
            "c.yaml": "- 1\n",
            "d.yaml": "include: x.yaml\n",
        },
    )

    found = refused(main)

    assert [line.split(" ")[0] for line in found] == [
        "a.yaml:2:",
        "b.yaml:2",
        "c.yaml:1:",
        "d.yaml:1",
        "llmgw.yaml:4",
    ]


def test_aliases_are_not_changed_by_merging(tmp_path: Path) -> None:
    """What an include adds to the shared providers stays out of a tenant that aliases them."""
    main = write(
        tmp_path,
        {
            "llmgw.yaml": "version: 1\nproviders: &p {e: {kind: echo}}\ninclude: [b.yaml]\n"
            "tenants: {a: {providers: *p, models: {m: {targets: [{provider: e, model: x}]}}}}\n",
            "b.yaml": "providers: {f: {kind: echo}}\nmodels: {n: {targets: [{provider: f, model: x}]}}\n",
        },
    )

    document = load_document(main, {})

    assert list(document.providers) == ["e", "f"]
    assert list(document.tenants["a"].providers) == ["e"]
