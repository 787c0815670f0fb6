"""A small OpenID provider on loopback that misbehaves as a test wants."""

from __future__ import annotations

import json
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from signin.openid_provider import forget_documents

CLIENT, SECRET = "chat", "its secret"
# Passwords are checked elsewhere: these tests only need one that is quick to check.
HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@cache
def key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Provider:
    """`claims` changes the next ID token, `signed` replaces how it is signed; `asked` is what was sent for a code."""

    def __init__(self) -> None:
        self.key, self.other_key = key("its own"), key("somebody else's")
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(provider.read(self.path, self.headers.get("Authorization", "")))

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.reply(provider.exchange({name: values[0] for name, values in form.items()}))

            def reply(self, answer: dict[str, Any]) -> None:
                body = json.dumps(answer).encode()
                self.send_response(400 if "error" in answer else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.reset()

    def reset(self) -> None:
        forget_documents()
        self.kid = "first"
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.told_issuer = self.issuer
        self.algorithm, self.signing_key = "RS256", self.key
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: dict[str, str] = {}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def read(self, path: str, authorization: str) -> dict[str, Any]:
        if path.endswith("/openid-configuration"):
            pages = {"authorization": "/auth", "token": "/token", "userinfo": "/me", "end_session": "/leave"}
            return {
                "issuer": self.told_issuer,
                "jwks_uri": f"{self.issuer}/keys",
                **{f"{name}_endpoint": self.issuer + page for name, page in pages.items()},
            }
        if path == "/keys":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]}
        return {"sub": "alice-at-home", **self.userinfo}

    def grant(self, asked: dict[str, str]) -> str:
        """Return a code for a request to authorize, as if a person had agreed."""
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return code

    def exchange(self, form: dict[str, str]) -> dict[str, Any]:
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None:
            return {"error": "invalid_grant"}
        self.asked = form
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": "alice-at-home", "iat": now, "exp": now + 300}
        claims = {**claims, "nonce": asked.get("nonce"), **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        token = jwt.encode(claims, self.signing_key, algorithm=self.algorithm, headers={"kid": self.kid})
        return {"access_token": "opaque", "token_type": "Bearer", "id_token": token}
