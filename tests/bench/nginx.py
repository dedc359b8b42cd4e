"""nginx twice: as the proxy to compare with, and as the canned provider behind both.

As the proxy: one worker, no access log, 64 kept upstream connections, HTTP/1.1, buffering off for
streams only, and request bodies held in memory (`client_body_buffer_size 2m`): with the default of
16k a large body would be written to disk and read back, and nginx would look worse than it is.

As the provider: `return 200` for small requests. It answers before it has read a large body, which
would spoil the proxy's connection, so large bodies go one hop further: read whole, then answered.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from tests.bench.exchange import PATH, chat_answer
from tests.bench.processes import Process, wait_until

COMMON = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile {fds};
{user}
pid {dir}/nginx.pid;
error_log {dir}/error.log error;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    client_max_body_size 32m;
    client_body_buffer_size 2m;
    {body}
}}
"""
PROXY = """
    upstream up {{
        server 127.0.0.1:{upstream};
        keepalive 64;
        keepalive_requests 100000000;
        keepalive_timeout 600s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass {scheme}://up;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_buffering {buffering};
            proxy_read_timeout 300s;
            {tls}
        }}
    }}
"""
PROXY_TLS = """
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {ca};
            proxy_ssl_name localhost;
            proxy_ssl_server_name on;
            proxy_ssl_session_reuse on;
"""
PROVIDER = """
    default_type application/json;
    server {{
        listen 127.0.0.1:{port} backlog=4096{ssl};
        {certificate}
        location = {path} {{ {action} }}
    }}
    server {{
        listen unix:{dir}/answer.sock;
        location / {{ {answer} }}
    }}
"""
READ_WHOLE = """
            proxy_pass http://unix:{dir}/answer.sock:/;
            proxy_http_version 1.1;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
"""


def binary(name: str) -> str:
    """Where a Debian package put a program; `/usr/sbin` is not on everybody's path."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: apt-get install nginx-light wrk")
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def open_proxy(
    work: Path, *, name: str, cpu: int, upstream: int, buffering: bool, ca: Path | None
) -> tuple[Process, int]:
    """A running `proxy_pass` to a port of this machine, and the port it listens on."""
    port = free_port()
    body = PROXY.format(
        port=port,
        upstream=upstream,
        scheme="https" if ca else "http",
        buffering="on" if buffering else "off",
        tls=PROXY_TLS.format(ca=ca) if ca else "",
    )
    return _open(work / name, cpu, body, port), port


def open_provider(
    work: Path, *, cpu: int, large: bool = False, certificate: tuple[Path, Path] | None = None
) -> tuple[Process, int]:
    """A running provider of canned 1 KB completions, and its port.

    large: read every body to its end first. certificate: chain and key, to listen with TLS.
    """
    port = free_port()
    home = work / "provider"
    answer = f"return 200 '{chat_answer(1024).decode()}';"
    body = PROVIDER.format(
        port=port,
        dir=home,
        path=PATH,
        answer=answer,
        action=READ_WHOLE.format(dir=home) if large else answer,
        ssl=" ssl" if certificate else "",
        certificate="ssl_certificate {}; ssl_certificate_key {};".format(*certificate) if certificate else "",
    )
    return _open(home, cpu, body, port), port


def _open(home: Path, cpu: int, body: str, port: int) -> Process:
    home.mkdir(parents=True, exist_ok=True)
    # As root the worker would become `nobody` and could not write below a private directory.
    user = "user root;" if os.getuid() == 0 else ""
    config = home / "nginx.conf"
    config.write_text(COMMON.format(dir=home, body=body, user=user, fds=20000))
    process = Process(
        [binary("nginx"), "-p", str(home), "-c", str(config), "-e", str(home / "error.log")],
        cpu=cpu,
        log=home / "log",
        cwd=home,
    )
    try:
        wait_until(lambda: accepts(port), process, what="nginx")
    except BaseException:
        process.stop()
        raise
    return process
