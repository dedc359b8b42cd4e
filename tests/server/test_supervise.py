"""The supervisor, with real processes that do as a test says instead of serving."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.problems import ConfigError
from llmgw.server import supervise, worker_process
from llmgw.server.channel import Ask, Channel, Order
from llmgw.server.drain import Departure
from llmgw.server.listeners import reserve
from llmgw.server.supervise import NotAdopted, NotReplaced, NoWorker, Supervisor
from llmgw.telemetry.metrics import PrometheusMeter, WorkerMeters

WORKER = """
import asyncio, faulthandler, json, os, pickle, socket, sys, time
from llmgw.server.channel import *
from llmgw.telemetry.metrics import PrometheusMeter, Tally

index, of, data, channel, hand = map(int, sys.argv[1:])

def note(what):
    with open(os.environ["FAKE_NOTES"], "a") as notes:
        notes.write(json.dumps([time.monotonic(), index, what, os.getpid()]) + chr(10))

async def tell(over, tally):
    while True:
        await asyncio.sleep(0.02)
        over.send(Told(tally))

async def main():
    note("started")
    over = await Channel.over(socket.socket(fileno=channel), Order)
    begin = await over.receive()
    note("begun" if begin is not None else "unwanted")
    if begin is None:
        return
    tally = Tally(index + 1, [], [], [], [], {"llmgw_some": ("Some.", 2.0)})
    BEHAVIOUR
    await over.close()

faulthandler.register(STACKS, all_threads=True)
asyncio.run(main())
"""
SERVE = """
    over.send(Ready())
    over.send(Told(tally))
    while (order := await over.receive()) is not None:
        if type(order) is Ask:
            over.send(Told(tally, asked=True))
        if type(order) is Prepare:
            prepared = pickle.loads(order.document).generation
            over.send(Prepared(order.number, REFUSAL))
        if type(order) is Switch:
            note(prepared)
            over.send(Switched(order.number))
        if type(order) is Lend:
            socket.send_fds(socket.socket(fileno=os.dup(hand)), [b"."], [data])
        if type(order) is Leave:
            note("told to leave")
            break
"""
REFUSE = SERVE.replace("REFUSAL", "'no such region' if index else None")
PLACED = SERVE.replace("REFUSAL", "'?', (Problem('llmgw.yaml', 7, 'providers.e.ca', 'is no certificate'),)")
SERVE = SERVE.replace("REFUSAL", "None")
DEAF = """
    over.send(Ready())
    time.sleep(60)
"""
DIE = "os._exit(7)"
FAIL = "over.send(Failed('the disk is on fire'))"
YOUNG = """
    over.send(Ready())
    await asyncio.sleep(0.05)
    os._exit(7)
"""


class Heard:
    """Events, and who was recovered."""

    def __init__(self, notes: Path) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []
        self.recovered: list[tuple[int, int]] = []
        self._notes = notes

    def log_event(self, level: str, event: str, **fields: object) -> None:
        self.events.append((level, event, fields))

    def named(self, name: str) -> list[dict[str, object]]:
        return [fields for _, event, fields in self.events if event == name]

    def notes(self, what: str) -> list[tuple[float, int, int]]:
        """When, in which place, by which process."""
        lines = [json.loads(line) for line in self._notes.read_text().splitlines()]
        return [(at, index, pid) for at, index, noted, pid in lines if noted == what]


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Heard:
    (tmp_path / "notes").touch()
    monkeypatch.setenv("FAKE_NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    monkeypatch.setattr(worker_process, "PROGRAM", "fake_worker")
    return Heard(tmp_path / "notes")


@pytest.fixture
def behave(tmp_path: Path) -> Callable[[str], None]:
    """Says what workers do that are started from now on."""

    def write(behaviour: str) -> None:
        body = textwrap.indent(textwrap.dedent(behaviour).strip(), "    ").strip()
        (tmp_path / "fake_worker.py").write_text(WORKER.replace("BEHAVIOUR", body))

    return write


@asynccontextmanager
async def supervisor(
    heard: Heard, *, meter: PrometheusMeter | None = None, trouble: Exception | None = None
) -> AsyncIterator[Supervisor]:
    async def recovered(index: int, pid: int) -> None:
        await asyncio.sleep(0.1)
        heard.recovered.append((index, pid))
        if trouble is not None:
            raise trouble

    document = document_from_text("version: 1\nserver: {workers: 2}\nproviders: {e: {kind: echo}}\n")
    data = reserve("server.listen", "127.0.0.1", 0)
    made = Supervisor(document, data, heard, WorkerMeters(meter or PrometheusMeter()), recovered)
    made.start()
    yield made
    departure = Departure()
    departure.ask(patient=False)
    await made.stop(departure, 5)


async def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_each_place_has_a_worker_until_the_end(heard: Heard, behave: Callable[[str], None]) -> None:
    behave(SERVE)
    async with supervisor(heard) as running:
        assert await running.came_up(asyncio.Event())
        await until(lambda: running.ready == 2)
        assert len(running.processes.pids) == 2

    assert running.ready == 0
    assert len(heard.notes("told to leave")) == 2
    ends = [(level, fields["code"]) for level, event, fields in heard.events if event == "worker_ended"]
    assert ends == [("info", 0)] * 2
    assert heard.recovered == []
    assert running.processes.ended_cpu_s > 0


async def test_gauges_and_requests_in_flight_are_summed(heard: Heard, behave: Callable[[str], None]) -> None:
    behave(SERVE)
    meter = PrometheusMeter()
    async with supervisor(heard, meter=meter) as running:
        await until(lambda: running.ready == 2)
        await running.refresh()

        assert meter.in_flight == running.under_way == 3
        assert meter.gauges["llmgw_some"].read() == 4

    assert meter.in_flight == 0
    assert meter.gauges["llmgw_some"].read() == 0


async def test_one_that_does_not_answer_holds_up_no_scrape(
    heard: Heard, behave: Callable[[str], None]
) -> None:
    """Nor the end: it is killed when the time is over."""
    behave(DEAF)
    departure = Departure()
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        before = time.monotonic()
        await asyncio.gather(running.refresh(), running.refresh())
        assert time.monotonic() - before < 1
        departure.ask(patient=True)
        await running.stop(departure, 0.2)

    assert [fields.get("signal") for fields in heard.named("worker_ended")] == [9, 9]


async def test_none_ever_comes_up(heard: Heard, behave: Callable[[str], None]) -> None:
    """They are not tried again: what stops all of them at the start is for a person to mend."""
    behave(FAIL)
    async with supervisor(heard) as running:
        with pytest.raises(NoWorker, match="the disk is on fire"):
            await running.came_up(asyncio.Event())

    assert len(heard.notes("started")) == 2
    assert [fields["error"] for fields in heard.named("worker_ended")] == ["the disk is on fire"] * 2


async def test_one_that_ends_without_a_word(heard: Heard, behave: Callable[[str], None]) -> None:
    behave(DIE)
    async with supervisor(heard) as running:
        with pytest.raises(NoWorker, match=r"worker \d ended with code 7 before it was ready"):
            await running.came_up(asyncio.Event())


async def test_asked_to_go_before_any_is_up(heard: Heard, behave: Callable[[str], None]) -> None:
    behave(SERVE)
    asked = asyncio.Event()
    async with supervisor(heard) as running:
        asked.set()
        assert await running.came_up(asked) is False

    assert running.processes.pids == ()


async def test_a_dead_one_is_recovered_before_the_next_begins(
    heard: Heard, behave: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is replaced at once, in its place; that it could not be recovered keeps nobody waiting."""
    monkeypatch.setattr(supervise, "_SHORT_LIFE_S", 0.0)
    behave(SERVE)
    async with supervisor(heard, trouble=OSError("no room")) as running:
        await until(lambda: running.ready == 2)
        victim = running.workers[1]
        victim.kill()
        died = time.monotonic()
        await until(lambda: running.ready == 2 and victim.code is not None)

    assert time.monotonic() - died < 3
    assert heard.recovered == [(1, victim.pid)]
    assert [fields["error"] for fields in heard.named("worker_not_recovered")] == ["no room"]
    begun = [pid for _, index, pid in heard.notes("begun") if index == 1]
    assert len(begun) == 2
    order = [name for _, name, fields in heard.events if fields.get("index") == 1]
    assert order == ["worker_ready", "worker_ended", "worker_not_recovered", "worker_ready", "worker_ended"]
    assert running.restarts == 1


async def test_l14_those_that_die_young_are_waited_for_longer_and_longer(
    heard: Heard, behave: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_FIRST_PAUSE_S", 0.2)
    monkeypatch.setattr(supervise, "_LONGEST_PAUSE_S", 0.6)
    paused: list[float] = []

    async def pause(running: Supervisor, seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(Supervisor, "_pause", pause)
    behave(YOUNG)
    async with supervisor(heard) as running:
        await until(lambda: len(paused) >= 9)

    assert sorted(paused)[:8] == [0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.6, 0.6]
    assert running.restarts >= 8


async def test_one_that_cannot_even_be_started(
    heard: Heard, behave: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told, and tried again later."""
    monkeypatch.setattr(supervise, "_FIRST_PAUSE_S", 0.05)
    behave(SERVE)
    start = supervise.share
    refusals = iter([True, False, True])

    def refuse_some(reserved: socket.socket) -> socket.socket:
        if next(refusals, False):
            raise OSError("no more sockets")
        return start(reserved)

    monkeypatch.setattr(supervise, "share", refuse_some)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)

    assert [fields["error"] for fields in heard.named("worker_not_started")] == ["no more sockets"] * 2


async def test_a_worker_notices_that_its_supervisor_is_gone(
    heard: Heard, behave: Callable[[str], None]
) -> None:
    behave(SERVE)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        for worker in running.workers:
            worker._sock.shutdown(socket.SHUT_RDWR)
        await until(lambda: len(heard.named("worker_ended")) == 2)

    assert heard.notes("told to leave") == []


OTHER = "version: 1\nserver: {workers: 2}\nproviders: {other: {kind: echo}}\n"


async def test_every_worker_adopts_a_document(heard: Heard, behave: Callable[[str], None]) -> None:
    """And so does one that follows."""
    behave(SERVE)
    document = document_from_text(OTHER)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        await running.adopt(document)
        assert {index for _, index, _ in heard.notes(document.generation)} == {0, 1}
        assert {worker.generation for worker in running.workers} == {document.generation}
        running.workers[0].kill()
        await until(lambda: running.restarts == 1 and running.ready == 2)
        assert {worker.generation for worker in running.workers} == {document.generation}


async def test_a_document_that_one_cannot_serve_is_served_by_none(
    heard: Heard, behave: Callable[[str], None]
) -> None:
    behave(REFUSE)
    document = document_from_text(OTHER)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        before = {worker.generation for worker in running.workers}
        with pytest.raises(NotAdopted, match="no such region"):
            await running.adopt(document)
        # All prepare before any switches.
        assert heard.notes(document.generation) == []
        assert {worker.generation for worker in running.workers} == before
        assert running._serving.generation not in document.generation


async def test_what_is_wrong_in_the_file_is_told_with_its_place_and_once(
    heard: Heard, behave: Callable[[str], None]
) -> None:
    behave(PLACED)
    changed = document_from_text("version: 1\nproviders: {other: {kind: echo}}\n")

    async with supervisor(heard) as team:
        await until(lambda: team.ready == 2)
        with pytest.raises(ConfigError) as refused:
            await team.adopt(changed)

    assert str(refused.value) == "llmgw.yaml:7 providers.e.ca: is no certificate"


async def test_nothing_is_borrowed_of_one_that_has_ended(heard: Heard, behave: Callable[[str], None]) -> None:
    """Its end may come between the wish to replace it and the asking for its socket."""
    behave(SERVE)

    async with supervisor(heard) as team:
        await until(lambda: team.ready == 2)
        worker = team.workers[0]
        worker.kill()
        await until(lambda: not worker.ready)
        with pytest.raises(ConnectionError):
            await worker.borrow()


async def test_one_that_is_stuck_is_replaced(
    heard: Heard, behave: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_LOOK_S", 0.05)
    monkeypatch.setattr(supervise, "_FIRST_PAUSE_S", 0.05)
    behave(DEAF)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        behave(SERVE)
        await until(lambda: running.restarts == 2)
        stuck = {fields["index"] for fields in heard.named("worker_stuck")}

    assert stuck == {0, 1} == {fields["index"] for fields in heard.named("worker_silent")}
    assert {fields.get("signal") for fields in heard.named("worker_ended")} >= {9}


async def test_one_that_is_stuck_before_it_accepts_is_replaced(
    heard: Heard, behave: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_LOOK_S", 0.2)
    monkeypatch.setattr(supervise, "_STARTING_LOOKS", 20)
    monkeypatch.setattr(supervise, "_FIRST_PAUSE_S", 0.05)
    lively = "\n    telling = asyncio.ensure_future(tell(over, tally))" + SERVE
    behave("\n    if index: time.sleep(60)" + lively)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 1)
        behave(lively)
        await until(lambda: running.ready == 2, 20)

    assert [fields["index"] for fields in heard.named("worker_stuck")] == [1]


async def test_each_is_replaced_by_one_that_is_ready_before_it_leaves(
    heard: Heard, behave: Callable[[str], None]
) -> None:
    behave(SERVE)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        before = {worker.pid for worker in running.workers}
        rolling = running.replace()
        with pytest.raises(NotReplaced, match="already"):
            running.replace()
        await until(lambda: rolling.done)
        after = {worker.pid for worker in running.workers}

    assert (rolling.failure, rolling.replaced, running.restarts) == (None, 2, 0)
    assert len(before | after) == 4
    told = [(name, fields["pid"] in before) for _, name, fields in heard.events if "pid" in fields][2:]
    assert told[:4] == [("worker_ready", False), ("worker_ended", True)] * 2
    # Before another takes that place.
    assert heard.recovered[0][0] == 0


async def test_those_that_cannot_be_replaced_serve_on(heard: Heard, behave: Callable[[str], None]) -> None:
    behave(SERVE)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        before = {worker.pid for worker in running.workers}
        behave(FAIL)
        rolling = running.replace()
        await until(lambda: rolling.done)
        assert {worker.pid for worker in running.workers} == before
        assert running.ready == 2
        behave(SERVE)
        again = running.replace()
        await until(lambda: again.done)
        assert again.failure is None

    assert (rolling.failure, rolling.replaced) == ("the disk is on fire", 0)
    (told,) = heard.named("workers_not_restarted")
    assert told["error"] == "the disk is on fire"


async def test_one_is_replaced_while_another_waits_to_be_started_again(
    heard: Heard, behave: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_FIRST_PAUSE_S", 60.0)
    behave(SERVE)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        rolling = running.replace()
        running.workers[1].kill()
        await until(lambda: rolling.replaced == 1)
        assert running.ready == 1
        with pytest.raises(NotReplaced):
            running.replace()


async def test_a_successor_that_dies_is_followed_itself(
    heard: Heard, behave: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the one it replaced is still there, with its streams."""
    monkeypatch.setattr(supervise, "_SHORT_LIFE_S", 0.0)
    behave(SERVE.replace("break", "await asyncio.sleep(60 if order.succeeded else 0); break"))
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        running.replace()
        await until(lambda: any(worker.leaving for worker in running.workers))
        (old,) = [worker for worker in running.workers if worker.leaving]
        await until(lambda: running.ready == 2)
        running.workers[2].kill()
        await until(lambda: running.restarts == 1 and running.ready == 2)
        assert old in running.workers
        old.kill()


async def test_one_that_stays_stuck_while_it_leaves_is_killed(
    heard: Heard, behave: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_LOOK_S", 0.1)
    behave(
        SERVE.replace('note("told to leave")', "time.sleep(60) if order.succeeded else None").replace(
            "over.send(Ready())",
            "over.send(Ready()); asyncio.get_running_loop().create_task(tell(over, tally))",
        )
    )
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        rolling = running.replace()
        await until(lambda: rolling.replaced == 1)
        assert running.ready == 2

    assert heard.named("worker_stuck")


async def test_one_that_cannot_serve_what_the_others_do_makes_place(
    heard: Heard, behave: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was starting when they were asked, and refuses when they have switched."""
    monkeypatch.setattr(supervise, "_FIRST_PAUSE_S", 0.05)
    late = "\n    await asyncio.sleep(0.5 if index else 0)" + SERVE
    behave(
        late.replace(
            "over.send(Prepared(order.number, None))",
            "over.send(Prepared(order.number, 'no' if index else None))",
        ).replace("note(prepared)", "note(prepared); os._exit(3) if index else None")
    )
    document = document_from_text(OTHER)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 1)
        await running.adopt(document)
        behave(SERVE)
        await until(lambda: running.restarts == 1 and running.ready == 2)
        assert {worker.generation for worker in running.workers} == {document.generation}


async def test_signals_are_held_only_while_it_is_started(heard: Heard, behave: Callable[[str], None]) -> None:
    behave(SERVE)
    async with supervisor(heard) as running:
        await until(lambda: running.ready == 2)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
        for pid in running.processes.pids:
            status = Path(f"/proc/{pid}/status").read_text()
            (blocked,) = (int(line.split()[1], 16) for line in status.splitlines() if "SigBlk" in line)
            assert {number for number in range(1, 32) if blocked >> (number - 1) & 1} == {1, 2, 12, 15}


async def test_messages_are_whole_however_they_arrive() -> None:
    """And what is no message is the end."""
    ours, theirs = socket.socketpair()
    sender = await Channel[Order].over(ours, Order)
    theirs.setblocking(False)
    sender.send(Ask())
    raw = await asyncio.get_running_loop().sock_recv(theirs, 100)
    again, receiving = socket.socketpair()
    receiver = await Channel[Order].over(receiving, Order)
    for byte in raw:
        again.send(bytes([byte]))
        await asyncio.sleep(0)

    assert await receiver.receive() == Ask()

    again.send(b"\0\0\0\3no!")
    assert await receiver.receive() is None
    await sender.close()
    sender.send(Ask())
    await receiver.close()
    theirs.close()
    again.close()
