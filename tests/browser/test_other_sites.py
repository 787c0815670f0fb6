"""Another site's page, opened by a signed-in user: the browser sends the cookie, but every request is refused."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chatservice.testing import needs_dialect, running_service, tried_once
from conversations.models import Conversation
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


USE_KEY = """async ([home, key]) => {
  const told = {};
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json", "X-Stainless-Lang": "js" };
  const attempt = async (name, path, options = {}) => {
    try {
      const response = await fetch(home + path, { headers, ...options });
      told[name] = { status: response.status, text: await response.text(), id: response.headers.get("x-request-id") };
    } catch (error) {
      told[name] = { status: 0, text: String(error) };
    }
  };
  const question = { model: "echo", stream: true, messages: [{ role: "user", content: "Hello from elsewhere" }] };
  await attempt("stream", "/v1/chat/completions", { method: "POST", body: JSON.stringify(question) });
  await attempt("create", "/v1/chat/conversations", { method: "POST", body: JSON.stringify({ title: "By key" }) });
  const { id } = JSON.parse(told.create.text).data;
  await attempt("rename", `/v1/chat/conversations/${id}`, { method: "PATCH", body: JSON.stringify({ title: "New" }) });
  await attempt("delete", `/v1/chat/conversations/${id}`, { method: "DELETE" });
  await attempt("missing", "/v1/nothing");
  await attempt("no key", "/v1/models", { headers: {} });
  await attempt("cookie", "/conversations", { headers: {}, credentials: "include" });
  await attempt("as our page", "/conversations", { headers: { "X-Requested-With": "chat" } });
  told.socket = await new Promise((done) => {
    const socket = new WebSocket(home.replace("http", "ws") + "/ws/chat", ["chat.v1", `key.${key}`]);
    socket.onopen = () => socket.send(JSON.stringify({ type: "ping", id: "1" }));
    socket.onmessage = (event) => done(event.data);
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


@tried_once
class OtherSiteTest(ChatCase):
    network_may_fail = True

    def other_site(self) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}"

    def test_a_page_of_an_allowed_origin_uses_a_key_and_never_the_cookie(self) -> None:
        needs_dialect("websocket", "openai_v1", "chat_v1")
        self.home = self.other_site()
        self.service = self.enterContext(running_service(CORS_ALLOWED_ORIGINS=self.home))
        self.sign_in(self.user)  # the browser sends the cookie to every port of this host
        self.page.goto(self.home)
        told = self.page.evaluate(USE_KEY, [self.service.url, self.bob.secret])
        statuses = {name: answer["status"] for name, answer in told.items() if name != "socket"}
        expected = {"stream": 200, "create": 201, "rename": 200, "delete": 200, "missing": 404, "no key": 401}
        self.assertEqual(statuses, {**expected, "cookie": 0, "as our page": 0}, told)
        self.assertIn("[DONE]", told["stream"]["text"])
        self.assertTrue(told["stream"]["id"] and told["no key"]["id"])
        self.assertIn("pong", told["socket"])

    def test_another_sites_page_reads_and_changes_nothing(self) -> None:
        needs_dialect("websocket")
        self.home = self.other_site()
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
