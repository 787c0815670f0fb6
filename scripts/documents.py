"""The requests in the five API documents, as printed there except for host, port, ids and keys. Pure."""

from __future__ import annotations

BROWSER_CALLS = (
    # (the printed command, expected status, what the response must contain)
    ("curl -X GET http://localhost:5000/chat/conversation", 200, ("id", "createdAt")),
    ("curl -X GET http://localhost:5000/chat/conversation/12345", 200, ("id", "createdAt")),
    (
        """curl -X POST http://localhost:5000/chat/conversation/12345/message \\
-H "Content-Type: application/json" \\
-d '{"content": "Hello, how are you?"}'""",
        201,
        ("id", "conversationId", "role", "content", "createdAt"),
    ),
    ("curl -N http://localhost:5000/chat/conversation/12345/stream", 200, ()),
    (
        "curl -X GET http://localhost:5000/chat/conversation/12345/messages",
        200,
        ("id", "conversationId", "role", "content", "createdAt"),
    ),
    ("curl -X DELETE http://localhost:5000/chat/conversation/12345", 200, ("message",)),
)
V1_BASE = "/v1/chat"
V1_CREATE = """
  {
    "title": "My New Chat"
  }
"""
V1_MESSAGE = """
  {
    "content": "Hello, how are you?",
    "role": "user",
    "model": "openai/gpt-3.5-turbo",
    "temperature": 0.7
  }
"""
V1_START = """
  {
    "title": "Optional Title",
    "content": "First message content",
    "model": "openai/gpt-3.5-turbo",
    "temperature": 0.7
  }
"""
OPENAI_BODY = """
{
  "model": "string",
  "messages": [
    {
      "role": "string",
      "content": "string"
    }
  ],
  "max_tokens": 0,
  "temperature": 0.7,
  "top_p": 1,
  "n": 1,
  "stream": false
}
"""
OPENAI_PYTHON = """
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
OPENAI_JAVASCRIPT = """
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
OPENAI_QUERY = """
query {
  todos {
    id
    title
    completed
    createdAt
  }
}
"""
OPENAI_MUTATION = """
mutation {
  createTodo(title: "Test Todo") {
    id
    title
    completed
    createdAt
  }
}
"""
ASSISTANT_START = """
{
  "user_id": "123",
  "message": "Hello!"
}
"""
ASSISTANT_MESSAGE = """
{
  "message": "Tell me a joke"
}
"""
RESOURCES_USER = """POST http://localhost:3001/users
Content-Type: application/json

{
  "username": <nom de l'utilisateur>,
  "password": <mot de passe de l'utilisateur>
}"""
RESOURCES_GET_USER = "GET http://localhost:3001/users/:username"
RESOURCES_TALKS = "GET http://localhost:3001/users/:userId/conversations"
RESOURCES_CREATE = """POST http://localhost:3001/conversations
Content-Type: application/json

{
  "title": <titre de la conversation>,
  "user_id": <id de l'utilisateur qui crée la conversation>
}"""
RESOURCES_MESSAGES = "GET http://localhost:3001/conversations/:conversationId/messages"
RESOURCES_COMPLETE = """POST http://localhost:3001/conversations/:conversationId/messages:complete
Content-Type: application/json

{
  "stream": false
}"""
RESOURCES_STREAM = RESOURCES_COMPLETE.replace("false", "true")
