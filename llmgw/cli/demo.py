"""`llmgw serve --demo`: a gateway of one's own in one directory, with nothing to prepare.

The first start writes a configuration and a key; later ones find them there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from llmgw.core.api_key import digest, generate, render_digest

_CONFIG = "llmgw.yaml"
_KEY = "demo.key"
_TEXT = """\
# A gateway to try things with, made by `llmgw serve --demo`. Delete the directory to begin anew.
# `llmgw init` writes a configuration for your own providers.
version: 1
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  lame_duck: 0s
  drain_timeout: 5s
providers:
  demo: {{kind: echo, first_token: 20ms, tokens_per_second: 200}}
models:
  # `echo` is free; the others answer the same, and are priced like the models they are named for.
  echo: {{targets: [{{provider: demo, model: echo}}]}}
  gpt-4o: {{targets: [{{provider: demo, model: gpt-4o}}]}}
  text-embedding-3-small: {{targets: [{{provider: demo, model: text-embedding-3-small}}]}}
prices:
  overrides:
    demo/echo: {{input: 0 USD/M, output: 0 USD/M}}
    demo/gpt-4o: {{input: 2.50 USD/M, output: 10 USD/M}}
    demo/text-embedding-3-small: {{input: 0.02 USD/M, output: 0 USD/M}}
tenants:
  default:
    keys:
      - {{id: {key_id}, user: you, hash: "{hash}"}}
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """config: the file that was written. key: what clients send."""

    config: Path
    key: str

    def announce(self, data: str, admin: str) -> None:
        """Tell where it listens, and what to try."""
        config = shlex.quote(str(self.config))
        llmgw = shlex.quote(_program())
        typer.echo(
            f"""
llmgw is ready on http://{data}
key   {self.key}

Try it:
  curl http://{data}/v1/chat/completions -H 'Authorization: Bearer {self.key}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"model":"echo","messages":[{{"role":"user","content":"Hello there"}}]}}'

With an OpenAI SDK:
  export OPENAI_BASE_URL=http://{data}/v1 OPENAI_API_KEY={self.key}

Then, in another terminal:
  {llmgw} usage report --by model -c {config}
  {llmgw} usage tail -c {config}
  {llmgw} keys create --user alice -c {config}
  curl http://{admin}/metrics

Files are in {self.config.parent}/. Stop with Ctrl-C.
"""
        )


def prepare_demo(directory: Path) -> Demo:
    """Make the demo's files where they are missing."""
    directory.mkdir(mode=0o700, exist_ok=True)
    config = directory / _CONFIG
    key_file = directory / _KEY
    if not config.exists() or not key_file.exists():
        key_id, key = generate()
        port = _free_port(8080)
        text = _TEXT.format(
            port=port,
            admin_port=_free_port(port + 1),
            key_id=key_id,
            hash=render_digest(digest(key)),
        )
        key_file.touch(mode=0o600)
        key_file.write_text(key + "\n")
        config.write_text(text)
    return Demo(config, key_file.read_text().strip())


def _program() -> str:
    """How this program was called, so that what is printed works when pasted."""
    called = Path(sys.argv[0])
    if shutil.which("llmgw") or called.name != "llmgw":
        return "llmgw"
    return os.path.relpath(called)


def _free_port(wanted: int) -> int:
    """`wanted`, or the next one that nobody listens on."""
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return wanted
