"""One upstream with OpenAI's chat completions API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from completions.exceptions import UpstreamInvalid
from completions.given_back import for_upstream
from completions.histories import alternating
from completions.providers.http_provider import HTTPProvider
from completions.providers.sanitize import encode_json
from completions.providers.several_values import event_stream_of
from completions.providers.whole_answers import body_of, read_answer
from completions.providers.wire_parser import AnswerParser
from completions.types import CompletionRequest


class OpenAICompatible(HTTPProvider):
    """A `Provider`."""

    path = "/chat/completions"
    parser = AnswerParser
    speaks_responses = False

    def __init__(
        self,
        name: str,
        *,
        usage_in_stream: bool = True,
        alternate_roles: bool = False,
        reasoning_back: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(name, **common)
        self._usage_in_stream, self._alternate_roles = usage_in_stream, alternate_roles
        self._reasons_for = name if reasoning_back else ""

    def _body(self, request: CompletionRequest, *, stream: bool) -> bytes:
        messages = for_upstream(request.messages, self._reasons_for)
        messages = alternating(messages) if self._alternate_roles else messages
        body = {**request.parameters, "model": request.model, "messages": messages, "stream": stream}
        options = body.pop("stream_options", None)
        if stream and self._usage_in_stream:
            body["stream_options"] = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}
        return encode_json(body)

    def _read(self, raw: bytes) -> dict[str, Any]:
        try:
            return read_answer(raw, *self._secrets)
        except UpstreamInvalid:
            if (stream := event_stream_of(raw)) is None:
                raise
        parser = self._parser()
        events = [*parser.feed(stream), *parser.end()]
        if parser.error:
            raise parser.error
        return body_of(events)
