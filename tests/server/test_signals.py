from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, signal, sys
from llmgw.server.drain import Departure
from llmgw.server.signals import heard, ignore

async def main():
    departure = Departure()
    reloads = []
    with heard(asyncio.get_running_loop(), departure, lambda: reloads.append(1)):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        await departure.asked.wait()
        await asyncio.sleep(0)
    assert reloads == [1]
    print("ended", flush=True)
    os.kill(os.getpid(), int(sys.argv[1]))
    print("here", flush=True)

asyncio.run(main())
if len(sys.argv) > 2:
    ignore()
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
"""


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, ["ended"]),
        (signal.SIGINT, ["ended"]),
        (signal.SIGHUP, ["ended", "here"]),
        (signal.SIGUSR2, ["ended", "here"]),
    ],
)
def test_l11_told_again_after_the_end(number: int, said: list[str]) -> None:
    """It has ended well, and says so."""
    done = run(str(int(number)))

    assert (done.returncode, done.stdout.split("\n")[:-1]) == (0, said)


def test_l11_told_again_at_the_interpreters_end() -> None:
    done = run(str(int(signal.SIGHUP)), "on")

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "still here")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *args],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
