"""Closed-loop load by wrk: as many requests as the connections can carry.

wrk reports what it completed through `done`, as one JSON line. An answer that is not 2xx or a
broken connection fails the run: a proxy must not look fast by refusing.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bench.exchange import KEY, PATH
from tests.bench.nginx import binary

SCRIPT = """\
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
wrk.headers["User-Agent"] = "llmgw-bench"

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'RESULT {{"requests": %d, "seconds": %f, "p50_us": %d, "p99_us": %d, "errors": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50.0), latency:percentile(99.0),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk completed."""

    requests: int
    seconds: float
    p50_us: int
    p99_us: int


def run_wrk(work: Path, *, port: int, body: bytes, connections: int, seconds: float, cpu: int | None) -> Load:
    """Load a port of this machine and wait for the end. Raises RuntimeError on any failed request.

    cpu: the core it stays on; None for any.
    """
    body_file = work / "body.json"
    body_file.write_bytes(body)
    script = work / "load.lua"
    script.write_text(SCRIPT.format(body=body_file, key=KEY))
    command = [
        binary("wrk"),
        *("-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--timeout", "10s"),
        *("-s", str(script), f"http://127.0.0.1:{port}{PATH}"),
    ]
    told = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 30,
        preexec_fn=None if cpu is None else lambda: os.sched_setaffinity(0, {cpu}),
    )
    lines = [line for line in told.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(f"wrk told no result:\n{told.stdout}{told.stderr}")
    result = json.loads(lines[-1].removeprefix("RESULT "))
    errors = result.pop("errors")
    if errors or not result["requests"]:
        raise RuntimeError(f"{errors} of {result['requests']} requests failed at port {port}")
    return Load(**result)
