"""The reloader, with real files and a data plane that only notes what it was given."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmgw.config.document import Document
from llmgw.config.problems import ConfigError, Problem
from llmgw.runtime import reload as module
from llmgw.runtime.reload import Reloader, read_document

GOOD = "version: 1\nproviders: {e: {kind: echo}}\n"


class Place:
    """A directory with a configuration, and what came of following it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "llmgw.yaml"
        self.environ: dict[str, str] = {}
        self.events: list[tuple[str, dict[str, object]]] = []
        self.adopted: list[Document] = []
        self.trouble: Exception | None = None
        (directory / ".llmgw").mkdir()

    def log_event(self, level: str, event: str, **fields: object) -> None:
        self.events.append((event, fields))

    def named(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.events if name == event]

    async def adopt(self, document: Document) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.adopted.append(document)

    def reloader(self, text: str = GOOD) -> Reloader:
        self.file.write_text(text)
        return Reloader(
            read_document(self.file, self.environ), self.environ, self, self.adopt, lambda document: None
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_change_is_adopted_and_kept(place: Place) -> None:
    reloader = place.reloader()
    assert not (await reloader.reload()).changed

    place.file.write_text(GOOD + "tenants: {acme: {}}\n")
    outcome = await reloader.reload()

    assert outcome.changed
    assert reloader.document is place.adopted[-1]
    assert outcome.generation == reloader.document.generation
    assert list(reloader.document.tenants) == ["acme"]
    assert outcome.generation in (place.directory / ".llmgw" / "lastgood").read_text()
    assert not (await reloader.reload(forced=True)).changed
    assert len(place.named("config_reloaded")) == 1


async def test_an_equal_meaning_is_nothing(place: Place) -> None:
    reloader = place.reloader()

    place.file.write_text("# the same\n" + GOOD)

    assert not (await reloader.reload()).changed
    assert place.adopted == []


BROKEN = {
    "empty": "",
    "cut in a name": GOOD[:15],
    "cut in a value": GOOD[:-4],
    "unknown key": GOOD + "tenantss: {}\n",
    "tab": GOOD + "\tx: 1\n",
    "no mapping": "- 1\n",
    "other version": GOOD.replace("1", "2", 1),
    "unknown kind": GOOD.replace("echo", "eco"),
    "target to nowhere": GOOD + "models: {m: {targets: [{provider: f, model: x}]}}\n",
    "no key": GOOD + "tenants: {t: {providers: {o: {kind: openai}}}}\n",
    "missing secret": GOOD.replace("kind: echo", "kind: openai, api_key: '${env:NONE}'"),
    "missing include": GOOD + "include: [other.yaml]\n",
    "bad limit": GOOD + "limits: {per_tenant: 5 per fortnight}\n",
    "duplicate": GOOD + "version: 1\n",
    "not utf-8": "version: 1 # \udcff\n",
    "nul": GOOD + "\0",
    "static": GOOD + "server: {lame_duck: 7s}\n",
    "static data_dir": GOOD + "storage: {data_dir: elsewhere}\n",
    "alias bomb": GOOD + "a: &a [1,1,1]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]\n",
    "alias bomb of ten levels": GOOD
    + "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11)),
    "includes itself": GOOD + "include: [llmgw.yaml]\n",
    "includes nobody's home": GOOD + "include: ['~nobody-has-this-name/x.yaml']\n",
    "includes a NUL": GOOD + 'include: ["\\0"]\n',
    "includes a directory": GOOD + "include: [.]\n",
    "larger than 8 MiB": GOOD + "# " + "x" * (9 << 20) + "\n",
    "nested": GOOD + "a: " + "[" * 5000 + "]" * 5000 + "\n",
    "another database": GOOD + "storage: {url: 'sqlite:///other.db'}\n",
    "a tenant without a name": GOOD + "tenants: {'': {}}\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_file_has_no_effect_and_is_told_once_with_its_place(place: Place, text: str) -> None:
    reloader = place.reloader()
    before = reloader.document

    place.file.write_bytes(text.encode("utf-8", "surrogateescape"))
    outcome = await reloader.reload()
    await reloader.reload()
    again = await reloader.reload(forced=True)

    assert outcome.problems
    assert again.problems == outcome.problems
    assert all("llmgw.yaml" in problem.file for problem in outcome.problems)
    assert reloader.document is before
    assert place.adopted == []
    (told,) = place.named("config_rejected")
    assert told["error"] == "\n".join(map(str, outcome.problems))
    assert (reloader.accepted, reloader.rejected) == (0, 1)

    place.file.write_text(GOOD + "tenants: {acme: {}}\n")
    assert (await reloader.reload()).changed


async def test_l02_a_file_of_100_mib_is_refused_at_once(place: Place) -> None:
    """Nothing but its beginning is read."""
    reloader = place.reloader()
    with place.file.open("ab") as file:
        file.truncate(100 << 20)
    before = time.monotonic()

    (problem,) = (await reloader.reload()).problems

    assert problem.reason == "larger than 8 MiB"
    assert time.monotonic() - before < 2


async def test_l04_another_store_needs_a_restart_and_says_so(place: Place) -> None:
    """Of an edit that changes it, nothing is taken."""
    reloader = place.reloader()
    place.file.write_text(GOOD + "storage: {url: 'sqlite:///other.db'}\ntenants: {acme: {}}\n")

    (problem,) = (await reloader.reload()).problems

    assert str(problem).endswith("llmgw.yaml:3 storage.url: needs a restart to change; nothing was reloaded")
    assert place.adopted == []


async def test_what_the_environment_decides_is_told(place: Place) -> None:
    place.environ["LLMGW_SERVER__FRONT_DOOR__MAX_URL"] = "4KiB"
    place.environ["LLMGW_STORAGE__DATA_DIR"] = str(place.directory / ".llmgw")

    assert place.reloader().overridden == ["server.front_door.max_url", "storage.data_dir"]


async def test_what_no_reader_has_thought_of_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloader = place.reloader()

    def fail(*_: object) -> Document:
        raise RuntimeError("unthinkable")

    monkeypatch.setattr(module, "read_document", fail)
    place.file.write_text(GOOD + "tenants: {acme: {}}\n")

    (problem,) = (await reloader.reload()).problems

    assert "cannot be read: RuntimeError: unthinkable" in str(problem)


async def test_the_static_half_is_refused_by_name(place: Place) -> None:
    """With all else that the same edit changes."""
    reloader = place.reloader()
    place.file.write_text(GOOD + "server:\n  front_door: {max_url: 4KiB}\ntenants: {acme: {}}\n")

    (problem,) = (await reloader.reload()).problems

    assert str(problem).endswith(
        "llmgw.yaml:4 server.front_door.max_url: needs a restart to change; nothing was reloaded"
    )
    assert "acme" not in reloader.document.tenants


async def test_a_deleted_file_is_survived_and_told(place: Place) -> None:
    reloader = place.reloader()
    place.file.unlink()

    (problem,) = (await reloader.reload()).problems

    assert "cannot be read: No such file" in problem.reason


async def test_l03_a_pipe_in_place_of_the_file_is_refused_and_the_file_found_again(place: Place) -> None:
    """Opening it would wait for a writer for ever, and with it every later reload and the end."""
    reloader = place.reloader()
    place.file.unlink()
    os.mkfifo(place.file)

    async with asyncio.timeout(5):
        (problem,) = (await reloader.reload()).problems

    assert problem.reason == "cannot be read: a pipe that nobody writes to"
    place.file.unlink()
    place.file.write_text(GOOD + "tenants: {acme: {}}\n")
    assert (await reloader.reload()).changed


async def test_a_file_is_followed_after_the_working_directory_is_gone(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the release that the gateway was started from is removed."""
    gone = tmp_path / "release-1"
    gone.mkdir()
    monkeypatch.chdir(gone)
    reloader = place.reloader()
    gone.rmdir()

    place.file.write_text("version: [broken")
    assert (await reloader.reload()).problems
    place.file.write_text(GOOD + "tenants: {acme: {}}\n")
    assert (await reloader.reload()).changed


async def test_what_is_refused_with_its_place_is_told_so(place: Place) -> None:
    """A file of a CA, for one, is only read when the document is compiled."""
    reloader = place.reloader()
    place.trouble = ConfigError([Problem("llmgw.yaml", 7, "providers.e.ca", "is no certificate")])
    place.file.write_text(GOOD + "tenants: {acme: {}}\n")

    (problem,) = (await reloader.reload()).problems

    assert str(problem) == "llmgw.yaml:7 providers.e.ca: is no certificate"


async def test_what_cannot_be_compiled_is_refused(place: Place) -> None:
    reloader = place.reloader()
    place.trouble = ValueError("no such region")
    place.file.write_text(GOOD + "tenants: {acme: {}}\n")

    (problem,) = (await reloader.reload()).problems

    assert "cannot be put into effect: no such region" in str(problem)
    assert "acme" not in reloader.document.tenants


async def test_included_files_and_globs_are_followed(place: Place) -> None:
    """A new file, a broken one, one mended, and one that is gone."""
    (place.directory / "tenants").mkdir()
    reloader = place.reloader(GOOD + "include: [tenants/*.yaml]\n")
    await reloader.reload()

    one = place.directory / "tenants" / "one.yaml"
    one.write_text("tenants: {one: {}}\n")
    assert (await reloader.reload()).changed
    assert list(reloader.document.tenants) == ["one"]

    one.write_text("tenants: {one: {x: 1}}\n")
    (problem,) = (await reloader.reload()).problems
    assert "one.yaml:1 tenants.one.x" in str(problem)

    one.write_text("tenants: {uno: {}}\n")
    assert (await reloader.reload()).changed
    assert list(reloader.document.tenants) == ["uno"]

    one.unlink()
    assert (await reloader.reload()).changed
    assert list(reloader.document.tenants) == ["default"]
    assert len(place.named("config_rejected")) == 1


async def test_an_include_that_appears_later(place: Place) -> None:
    """It was named by a file that was refused."""
    reloader = place.reloader()
    place.file.write_text(GOOD + "include: [other.yaml]\n")
    assert (await reloader.reload()).problems

    (place.directory / "other.yaml").write_text("tenants: {acme: {}}\n")

    assert (await reloader.reload()).changed


async def test_a_rotated_secret_is_read_when_asked(place: Place) -> None:
    place.environ["KEY"] = "sk-one"
    reloader = place.reloader("version: 1\nproviders: {o: {kind: openai, api_key: '${env:KEY}'}}\n")
    place.environ["KEY"] = "sk-two"

    assert not (await reloader.reload()).changed
    assert (await reloader.reload(forced=True)).changed
    settings: Any = reloader.document.providers["o"]
    assert settings.api_key.get_secret_value() == "sk-two"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_watch_follows_writes_renames_and_symlinks(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an editor, a deployment and a mounted ConfigMap do it; and an edit that leaves no trace but
    its contents."""
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    reloader = place.reloader()
    watching = asyncio.create_task(reloader.watch())

    def tenant() -> str:
        return next(iter(reloader.document.tenants))

    place.file.write_text(GOOD + "tenants: {one: {}}\n")
    await until(lambda: tenant() == "one")

    beside = place.directory / "beside.yaml"
    beside.write_text(GOOD + "tenants: {two: {}}\n")
    beside.replace(place.file)
    await until(lambda: tenant() == "two")

    for number in ("three", "four"):
        (place.directory / number).mkdir()
        (place.directory / number / "llmgw.yaml").write_text(GOOD + f"tenants: {{{number}: {{}}}}\n")
        link = place.directory / "link"
        link.symlink_to(place.directory / number / "llmgw.yaml")
        link.replace(place.file)
        await until(lambda number=number: tenant() == number)

    was = place.file.stat()
    with place.file.open("r+") as file:
        file.write(GOOD + "tenants: {five: {}}\n"[:-1].replace("five", "fore"))
    os.utime(place.file, ns=(was.st_atime_ns, was.st_mtime_ns))
    await until(lambda: tenant() == "fore")

    place.file.unlink()
    await until(lambda: place.named("config_rejected"))
    place.file.write_text(GOOD)
    await until(lambda: tenant() == "default")
    watching.cancel()
    assert len(place.named("config_rejected")) == 1


async def test_l03_what_is_being_written_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halves that are valid by themselves among them."""
    monkeypatch.setattr(module, "LOOK_S", 0.1)
    reloader = place.reloader()
    await reloader.reload()
    watching = asyncio.create_task(reloader.watch())

    with place.file.open("w") as file:
        for line in (GOOD + "tenants:\n  one: {}\n  two: {}\n").splitlines(keepends=True):
            file.write(line)
            file.flush()
            await asyncio.sleep(0.05)
    await until(lambda: place.adopted)
    watching.cancel()

    assert [list(document.tenants) for document in place.adopted] == [["one", "two"]]
    assert place.named("config_rejected") == []


async def test_l03_two_versions_are_never_mixed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that change while they are read are read again."""
    (place.directory / "other.yaml").write_text("tenants: {one: {}}\n")
    reloader = place.reloader(GOOD + "include: [other.yaml]\n")
    reads: list[Document] = []

    def change_and_read(path: Path, environ: Mapping[str, str]) -> Document:
        document = read_document(path, environ)
        reads.append(document)
        if len(reads) == 1:
            (place.directory / "other.yaml").write_text("tenants: {two: {}}\nmodels: {}\n")
        return document

    monkeypatch.setattr(module, "read_document", change_and_read)
    assert (await reloader.reload()).changed

    assert [list(document.tenants) for document in reads] == [["one"], ["two"]]
    assert [list(document.tenants) for document in place.adopted] == [["two"]]


async def test_l03_files_that_are_named_while_they_are_looked_for_are_followed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is swapped after it was asked what is included, and before it is read."""
    reloader = place.reloader()
    find = module.Sources.find
    finds: list[module.Sources] = []

    def too_early(sources: module.Sources) -> None:
        finds.append(sources)
        if len(finds) > 1:
            find(sources)

    monkeypatch.setattr(module.Sources, "find", too_early)
    place.file.write_text(GOOD + "include: [more.yaml]\n")
    (place.directory / "more.yaml").write_text("tenants: {acme: {}}\n")
    assert (await reloader.reload()).changed

    (place.directory / "more.yaml").write_text("tenants: {other: {}}\n")

    assert (await reloader.reload()).changed


async def test_l06_a_storm_of_edits_is_taken_together(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it lasts, one in ten looks is read; the last edit wins."""
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    reloader = place.reloader()
    watching = asyncio.create_task(reloader.watch())
    for number in range(75):
        beside = place.directory / "beside"
        beside.write_text(GOOD + f"tenants: {{t{number}: {{}}}}\n")
        beside.replace(place.file)
        await asyncio.sleep(0.02)
    await until(lambda: list(reloader.document.tenants) == ["t74"])
    watching.cancel()

    assert len(place.adopted) < 15
    assert place.named("config_rejected") == []


async def test_the_watch_reads_when_asked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 60.0)
    reloader = place.reloader()
    watching = asyncio.create_task(reloader.watch())
    place.file.write_text(GOOD + "tenants: {one: {}}\n")

    reloader.ask()

    await until(lambda: place.adopted)
    watching.cancel()
