"""Talk to the service over its websocket: type a question, watch the answer arrive, go on.

    pip install websockets
    python examples/websocket_client.py [--url ws://127.0.0.1:8000/ws/chat] [--key cb_...] [question]

Without a question it asks for one after the other. The key can also come from CHAT_API_KEY; a service
on this very machine admits its own user's programs without one. A connection that breaks is taken up again where it
broke: that is what the cursor is for. Ctrl-C stops an answer; what it said so far is kept.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import json
import os
import sys
import time
import uuid
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

RECONNECTS = 10


class Chat:
    """One conversation, over as many connections as it takes."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.conversation_id: str | None = None

    def ask(self, question: str) -> None:
        """Print the answer as it arrives."""
        # The same client_id is the same question: sending it again after a break asks nobody twice.
        frame = {"type": "send", "content": question, "client_id": str(uuid.uuid4())}
        if self.conversation_id:
            frame["conversation_id"] = self.conversation_id
        for attempt in range(RECONNECTS):
            try:
                with connect(self.url, additional_headers=self.headers, max_size=None) as socket:
                    socket.send(json.dumps(frame))
                    while True:
                        event = self._next(socket, frame)
                        if event["type"] in ("ai_complete", "error"):
                            return
                        if "cursor" in event:
                            # From now on a break is mended from here.
                            frame = {"type": "subscribe", "run_id": event["run_id"], "cursor": event["cursor"]}
            except (ConnectionClosed, OSError) as broken:
                code = broken.rcvd.code if isinstance(broken, ConnectionClosed) and broken.rcvd else None
                if code in (4401, 4413):  # our own fault: trying again would not change it
                    return
                print(f"\n[connection lost, trying again: {broken}]", file=sys.stderr)
                time.sleep(min(0.2 * 2**attempt, 5.0))
        print("[giving up]", file=sys.stderr)

    def _next(self, socket: ClientConnection, frame: dict[str, Any]) -> dict[str, Any]:
        try:
            event = json.loads(socket.recv())
        except KeyboardInterrupt:
            if frame["type"] != "subscribe":
                raise
            socket.send(json.dumps({"type": "stop", "run_id": frame["run_id"]}))
            event = json.loads(socket.recv())
        match event["type"]:
            case "conversation_created":
                self.conversation_id = event["conversation_id"]
            case "ai_chunk":
                print(event["data"], end="", flush=True)
            case "resync":
                print(f"\n[from the beginning]\n{event['data']}", end="", flush=True)
            case "ai_complete":
                status = event["data"]["status"]
                print("" if status == "complete" else f"\n[{status}]")
            case "error":
                print(f"\n[{event['data']['code']}] {event['data']['message']}", file=sys.stderr)
        return event


def main() -> None:
    parser = argparse.ArgumentParser(description="Chat over the websocket.")
    parser.add_argument("--url", default="ws://127.0.0.1:8000/ws/chat")
    parser.add_argument("--key", default=os.environ.get("CHAT_API_KEY", ""))
    parser.add_argument("question", nargs="*")
    options = parser.parse_args()
    chat = Chat(options.url, options.key)
    if options.question:
        chat.ask(" ".join(options.question))
        return
    try:
        while question := input("> ").strip():
            chat.ask(question)
    except (EOFError, KeyboardInterrupt):
        print()


if __name__ == "__main__":
    main()
