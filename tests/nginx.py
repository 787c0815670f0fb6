"""A real nginx in front of service processes: plain or with TLS, as another system user or as our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from chatservice.testing import free_port, wait_until
from conftest import CI

CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    {upstream}
    server {{
        listen {address}:{port}{tls};
        location {path} {{
            proxy_pass {target};
            proxy_buffering off;
            {location}
            # For the tests: which process answered.
            add_header X-Upstream $upstream_addr always;
        }}
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
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
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
    program = need_nginx()
    is_root = os.geteuid() == 0
    if user and not is_root:
        pytest.skip("only root can start nginx with workers of another user")
    servers = " ".join(f"server {target.removeprefix('http://')};" for target in targets)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nginx-") as directory:
        home = Path(directory)
        home.chmod(0o755)  # the workers may run as another user
        sent = [f"proxy_set_header {name} {value};" for name, value in (headers or {}).items()]
        configuration = CONFIGURATION.format(
            user=f"user {user or 'root'};" if is_root else "",
            home=home,
            upstream=f"upstream chat {{ {servers} {upstream} }}" if len(targets) > 1 else "",
            address=address,
            port=port,
            tls=f" ssl; ssl_certificate {home}/cert; ssl_certificate_key {home}/key" if tls else "",
            path=path,
            target=("http://chat" if len(targets) > 1 else targets[0]) + ("/" if strips else ""),
            location=" ".join([*sent, location]),
        )
        (home / "conf").write_text(configuration)
        if tls:
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
                + ["-keyout", home / "key", "-out", home / "cert"],
                check=True,
                capture_output=True,
            )
        process = subprocess.Popen(
            [program, "-e", home / "error.log", "-p", home, "-c", home / "conf"], stderr=subprocess.DEVNULL
        )
        url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, (home / "error.log").read_text()
            try:
                return bool(httpx2.get(f"{url}/healthz", verify=False, trust_env=False).status_code)
            except httpx2.HTTPError:
                return False

        try:
            wait_until(answers, what="nginx")
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)
