"""The clients that the Chatbot API document prints, run as they are printed: address and key aside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from chatservice.testing import ServiceTestCase

PYTHON = """
import requests
import json

def stream_chat_completion(model, messages):
    url = "http://localhost:8000/v1/chat/completions"
    headers = {
        "Content-Type": "application/json",
        "Authorization": "beareryour_api_key_here"
    }
    data = {
        "model": model,
        "messages": messages,
        "stream": True
    }

    with requests.post(url, json=data, headers=headers, stream=True) as response:
        for line in response.iter_lines():
            if line:
                decoded_line = line.decode('utf-8')
                if decoded_line.startswith("data: "):
                    chunk = json.loads(decoded_line[6:])
                    yield chunk
                elif decoded_line == "data: [DONE]":
                    break

# Usage
messages = [{"role": "user", "content": "Tell me a joke"}]
for chunk in stream_chat_completion("default", messages):
    print(chunk['choices'][0]['delta']['content'], end='', flush=True)
"""

JAVASCRIPT = """
async function streamChatCompletion(model, messages) {
  const response = await fetch("http://localhost:8000/v1/chat/completions", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Authorization: "beareryour_api_key_here",
    },
    body: JSON.stringify({
      model,
      messages,
      stream: true,
    }),
  });

  const reader = response.body.getReader();
  const decoder = new TextDecoder();

  while (true) {
    const { value, done } = await reader.read();
    if (done) break;

    const chunk = decoder.decode(value);
    const lines = chunk.split("\\n");

    for (const line of lines) {
      if (line.startsWith("data: ")) {
        if (line.includes("[DONE]")) break;
        const data = JSON.parse(line.slice(6));
        console.log(data.choices[0].delta.content);
      }
    }
  }
}

// Usage
const messages = [{ role: "user", content: "Tell me a joke" }];
streamChatCompletion("default", messages);
"""


class PrintedClientTest(ServiceTestCase):
    def run_client(self, program: str, *command: str, suffix: str) -> subprocess.CompletedProcess[str]:
        program = program.replace("http://localhost:8000", self.service.url)
        program = program.replace("your_api_key_here", self.alice.secret)
        with tempfile.NamedTemporaryFile("w", suffix=suffix) as file:
            file.write(program)
            file.flush()
            return subprocess.run([*command, file.name], capture_output=True, text=True, timeout=30)

    def test_the_python_client_prints_the_answer(self):
        done = self.run_client(PYTHON, sys.executable, suffix=".py")
        self.assertIn("You wrote:\n\nTell me a joke", done.stdout)
        # It parses every line that begins with `data: `, and the wire's last one is no JSON.
        self.assertIn("JSONDecodeError", done.stderr)
        self.assertNotIn("KeyError", done.stderr)
        self.assertNotIn("IndexError", done.stderr)

    def test_the_javascript_client_prints_the_answer(self):
        node = shutil.which("node")
        if node is None:
            if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
                pytest.fail("needs node, and CI=true promises one", pytrace=False)
            pytest.skip("needs node to run the printed JavaScript client")
        assert node is not None
        done = self.run_client(JAVASCRIPT, node, suffix=".mjs")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        words = done.stdout.replace("\n", "")
        self.assertIn("You wrote:Tell me a joke", words)
        self.assertNotIn("undefined", done.stdout)

    def test_the_key_without_a_space_is_for_this_surface_only(self):
        header = {"Authorization": f"bearer{self.alice.secret}"}
        self.assertEqual(self.guest.get("/v1/models", headers=header).status_code, 200)
        self.assertEqual(
            self.guest.get("/v1/models", headers={"Authorization": "beareryour_api_key_here"}).status_code, 401
        )
        self.assertEqual(self.guest.get("/v1/chat/conversations", headers=header).status_code, 401)
        self.assertEqual(self.guest.get("/v1/models").status_code, 401)
