"""Another site's page, opened by a signed-in user: the browser sends the cookie, but every request is refused."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chatservice.testing import needs_dialect
from conversations.models import Conversation
from tests.browser.case import one_database_is_enough
from tests.browser.chatting import ChatCase

TRY = """async (home) => {
  const told = {};
  const attempt = async (name, path, options) => {
    try {
      const response = await fetch(home + path, { credentials: "include", ...options });
      told[name] = response.type === "opaque" ? "opaque" : await response.text();
    } catch (error) {
      told[name] = "failed";
    }
  };
  const json = { "Content-Type": "application/json" };
  const body = JSON.stringify({ query: 'mutation { startConversation(title: "Stolen") { id } }' });
  await attempt("read", "/v1/chat/conversations", {});
  await attempt("write", "/graphql", { method: "POST", headers: { ...json, "X-Requested-With": "chat" }, body });
  await attempt("simple", "/graphql", { method: "POST", mode: "no-cors", body });
  await attempt("get", "/chat/conversation", { mode: "no-cors" });
  await attempt("sign out", "/logout", { method: "POST", mode: "no-cors" });
  told.socket = await new Promise((done) => {
    const socket = new WebSocket(home.replace("http", "ws") + "/ws/chat", "chat.v1");
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  });
  return told;
}"""


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Another site</title>")

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@one_database_is_enough
class OtherSiteTest(ChatCase):
    network_may_fail = True

    def test_another_sites_page_reads_and_changes_nothing(self) -> None:
        needs_dialect("websocket")
        server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.home = f"http://127.0.0.1:{server.server_address[1]}"
        self.talk("A secret", title="Mine")
        self.open()
        other = self.context.new_page()
        # The same host with another port: the closest another origin can come, and the browser sends the cookie.
        other.goto(self.home)
        told = other.evaluate(TRY, self.service.url)
        self.assertEqual(told["socket"], "refused")
        for name, text in told.items():
            self.assertNotIn("Mine", text, name)
        self.assertEqual(list(Conversation.objects.filter(owner=self.user).values_list("title", flat=True)), ["Mine"])
        self.assertEqual(Conversation.objects.filter(title="Stolen").count(), 0)
        self.page.reload()
        self.is_ready()
        self.assertNotIn("/login", self.page.url)
