from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from llmgw.stores.alive import Alive

_HOLDER = """
import sys
from pathlib import Path
from llmgw.stores.alive import Alive

alive = Alive(Path(sys.argv[1]))
alive.hold()
print(alive.name, flush=True)
sys.stdin.read()
"""


def test_who_is_there_is_not_dead(tmp_path: Path) -> None:
    one, other = Alive(tmp_path), Alive(tmp_path)
    one.hold()
    one.hold()

    assert not other.is_dead(one.name)
    assert not one.is_dead(one.name)
    assert [*other.dead()] == []
    one.release()
    other.release()


def test_kill_9_is_noticed_at_once(tmp_path: Path) -> None:
    """By everybody, until it is buried; a process that hangs is not dead."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    one, other = Alive(tmp_path), Alive(tmp_path)
    assert not one.is_dead(name)
    process.send_signal(signal.SIGSTOP)
    assert not one.is_dead(name)
    process.kill()
    process.communicate()

    assert one.is_dead(name)
    assert [*other.dead()] == [name]
    one.bury(name)
    one.bury(name)
    assert [*other.dead()] == []
    assert not other.is_dead(name)


def test_who_left_in_good_order_leaves_nothing(tmp_path: Path) -> None:
    alive = Alive(tmp_path)
    alive.hold()
    alive.release()
    alive.release()

    assert [*tmp_path.iterdir()] == []
    assert not Alive(tmp_path).is_dead(alive.name)
