"""Requests with a foreign Host are refused: another name may resolve to this machine (DNS rebinding)."""

from __future__ import annotations

from chatservice.dialects import DIALECTS
from chatservice.dialects.problems import Problem
from chatservice.testing import ServiceTestCase, rendered, running_service, tried_once

MESSAGE = "This Host is not served here: see the setting ALLOWED_HOSTS."
WRONG = ("evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1", "", "localhost/x", "10.0.0.1")


@tried_once
class HostTest(ServiceTestCase):
    def test_another_host_is_refused_in_the_dialects_shape_whoever_asks(self):
        for name, mount in DIALECTS.items():
            path = f"/{mount or 'conversations'}"
            for client in (self.guest, self.alice.http):
                for host in WRONG:
                    with self.subTest(f"{path} at {host}"):
                        response = client.get(path, headers={"Host": host})
                        self.assertEqual(response.status_code, 400, response.text)
                        shape = rendered(name, Problem(400, "unknown_host", MESSAGE), response.headers["x-request-id"])
                        self.assertEqual(response.json(), shape)
                        self.assertTrue(response.headers["x-request-id"])
        for path in ("/docs", "/admin/", "/static/chatservice/graphql.js", "/nothing"):
            self.assertEqual(self.guest.get(path, headers={"Host": "evil.example"}).status_code, 400, path)

    def test_health_is_told_under_any_host(self):
        for path in ("/healthz", "/readyz"):
            self.assertEqual(self.guest.get(path, headers={"Host": "10.0.0.1"}).status_code, 200)

    def test_the_hosts_of_the_setting_are_served(self):
        with running_service(ALLOWED_HOSTS="chat.example.org,.example.net") as service:
            for host, status in (
                ("chat.example.org", 200),
                ("CHAT.example.org:443", 200),
                ("a.b.example.net", 200),
                ("example.org", 400),
                ("127.0.0.1", 400),
            ):
                response = self.guest.get(f"{service.url}/docs", headers={"Host": host})
                self.assertEqual(response.status_code, status, host)
