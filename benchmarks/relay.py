"""The plain relay a competitor would write: FastAPI and AsyncOpenAI forward chunks as they arrive and store nothing.

OPENAI_BASE_URL=... OPENAI_API_KEY=... uvicorn benchmarks.relay:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response  # installed only in .venv-bench
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI()


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/chat/completions")
async def complete(request: Request) -> Response:
    asked: dict[str, Any] = await request.json()
    if not asked.get("stream"):
        answer = await client.chat.completions.create(**asked)
        return Response(answer.model_dump_json(), media_type="application/json")

    async def events() -> AsyncIterator[str]:
        async for chunk in await client.chat.completions.create(**asked):
            yield f"data: {chunk.model_dump_json()}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
