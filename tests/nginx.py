"""A real nginx in front of service processes: plain or with TLS, as another system user or as our own."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatservice.testing import free_port
from conftest import CI
from scripts.nginx import find_nginx, running_nginx

DEPLOY = Path(__file__).parents[1] / "deploy" / "nginx"
TELLS = "add_header X-Upstream $upstream_addr always;"
"""For the tests: which process answered."""
SERVER = """
    access_log off;
    {upstream}
    server {{
        listen {address}:{port}{tls};
        location {path} {{
            proxy_pass {target};
            proxy_buffering off;
            {location}
            {tells}
        }}
    }}
"""
USUAL_HEADERS = {
    "Host": "$http_host",
    "X-Forwarded-For": "$proxy_add_x_forwarded_for",
    "X-Forwarded-Proto": "$scheme",
}


def need_nginx() -> str:
    """Return the program; skip if it is missing, or fail if CI=true."""
    program = find_nginx()
    if program is None:
        (pytest.fail if CI else pytest.skip)("needs nginx: apt-get install nginx")
    return program


@contextmanager
def nginx(
    *targets: str,
    user: str = "",
    address: str = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
    tls: bool = False,
    upstream: str = "",
    location: str = "",
    path: str = "/",
    strips: bool = False,
) -> Iterator[str]:
    """Run nginx in front of the services at the URLs `targets`, round robin; yields the URL to reach it at.

    It serves them below `path`, which it passes on, or removes if it `strips`.
    `headers` are set on each request; `upstream` and `location` are further lines of these blocks. Only root can run
    its workers as another `user`; otherwise the test is skipped.
    """
    need_nginx()
    if user and os.geteuid():
        pytest.skip("only root can start nginx with workers of another user")
    servers = " ".join(f"server {target.removeprefix('http://')};" for target in targets)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nginx-") as directory:
        home = Path(directory)
        sent = [f"proxy_set_header {name} {value};" for name, value in (headers or {}).items()]
        inside = SERVER.format(
            upstream=f"upstream chat {{ {servers} {upstream} }}" if len(targets) > 1 else "",
            address=address,
            port=port,
            tls=f" ssl; ssl_certificate {home}/cert; ssl_certificate_key {home}/key" if tls else "",
            path=path,
            target=("http://chat" if len(targets) > 1 else targets[0]) + ("/" if strips else ""),
            location=" ".join([*sent, location]),
            tells=TELLS,
        )
        if tls:
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
                + ["-keyout", home / "key", "-out", home / "cert"],
                check=True,
                capture_output=True,
            )
        url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        with running_nginx(need_nginx(), home, inside, port, user=user):
            yield url


@contextmanager
def example_nginx(ports: Iterable[int]) -> Iterator[tuple[int, Path]]:
    """Run nginx with deploy/nginx, without its TLS, before processes on these ports; yield its port and its log."""
    port = free_port()
    servers = "".join(f"    server 127.0.0.1:{each} max_fails=0;\n" for each in ports)
    upstream = re.sub(r"^    server .*\n(    server .*\n)*", servers, _lines("chat-upstream.conf"), flags=re.MULTILINE)
    before, _, main = _lines("chat.conf").split("server {\n")  # the second one only redirects to https
    for here, there in (
        (r"listen 443 ssl http2;", f"listen 127.0.0.1:{port};"),
        (r"^    (ssl_|listen \[|access_log).*$", ""),
        (r"location / \{", f"location / {{ {TELLS}"),
    ):
        main, found = re.subn(here, there, main, flags=re.MULTILINE)
        assert found, f"deploy/nginx/chat.conf has no {here}"
    with tempfile.TemporaryDirectory(prefix="nginx-") as directory:
        home = Path(directory)
        main = main.replace("/var/log/nginx", directory)
        inside = f"access_log off; {upstream} {before} server {{ {main}"
        with running_nginx(need_nginx(), home, inside, port):
            yield port, home / "error.log"


def _lines(name: str) -> str:
    """Return a file of deploy/nginx without its comments."""
    return re.sub(r" *#.*", "", (DEPLOY / name).read_text())
