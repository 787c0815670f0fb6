"""One upstream with the Responses API. Its answers are read as those of chat completions: one vocabulary for all."""

from __future__ import annotations

from typing import Any

import httpx2

from completions.exceptions import UpstreamRejected
from completions.providers.http_provider import HTTPProvider
from completions.providers.responses_parser import ResponseParser
from completions.providers.responses_refusals import explained
from completions.providers.responses_request import body_of_request
from completions.providers.sanitize import encode_json
from completions.providers.whole_answers import body_of
from completions.types import CompletionRequest
from completions.upstream_bodies import Body


class ResponsesAPI(HTTPProvider):
    """A `Provider`."""

    path = "/responses"
    parser = ResponseParser
    speaks_responses = True

    def _body(self, request: CompletionRequest, *, stream: bool) -> bytes:
        return encode_json(body_of_request(request, stream=stream))

    def _read(self, raw: bytes) -> dict[str, Any]:
        parser = self._parser()
        events = parser.whole(raw)
        if parser.error:
            raise parser.error
        return body_of(events)

    async def _send(self, path: str, body: Body | None, *, within: float, retry: bool) -> httpx2.Response:
        try:
            return await super()._send(path, body, within=within, retry=retry)
        except UpstreamRejected as error:
            raise (explained(error) if path == self.path else error) from None
