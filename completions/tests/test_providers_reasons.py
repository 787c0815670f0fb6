"""Errors in every shape that servers give them: what of them a client is told, and as what."""

from __future__ import annotations

import json
from typing import Any
from unittest import TestCase

from completions import exceptions as x
from completions.providers.failures import refusal, reported
from completions.providers.reasons import Reason, error_in, event_error

LONG = "This model's maximum context length is 4096 tokens"
INNER = json.dumps({"error": {"message": LONG, "code": "context_length_exceeded"}}, indent=1)
# Shape, status inside a 200, code, param.
SHAPES: tuple[tuple[Any, int, str, str | None], ...] = (
    (
        {"error": {"message": LONG, "code": "context_length_exceeded", "param": "messages"}},
        400,
        "context_length_exceeded",
        "messages",
    ),
    ({"error": {"message": LONG, "type": "invalid_request_error", "code": None}}, 400, "upstream_rejected", None),
    ({"error": {"message": LONG, "type": "BadRequestError", "code": 400}}, 400, "400", None),
    ({"error": {"message": LONG, "type": None, "param": None, "code": "400"}}, 400, "400", None),
    ({"error": {"code": 500, "message": LONG, "type": "exceed_context_size_error"}}, 502, "upstream_error", None),
    ({"error": LONG}, 502, "upstream_error", None),
    ({"error": LONG, "error_type": "validation"}, 422, "validation", None),
    (
        {"error": LONG, "code": "context_length_exceeded", "param": "messages"},
        400,
        "context_length_exceeded",
        "messages",
    ),
    ({"error": [{"message": LONG, "code": "model_not_found"}]}, 404, "model_not_found", None),
    ({"error": [LONG]}, 502, "upstream_error", None),
    ({"error": True, "message": LONG, "status": 404}, 404, "upstream_rejected", None),
    ([{"error": {"code": 404, "message": LONG, "status": "NOT_FOUND"}}], 404, "404", None),
    ({"object": "error", "message": LONG, "type": "NotFoundError", "param": None, "code": 404}, 404, "404", None),
    ({"object": "error", "message": LONG, "type": "NotFoundError"}, 404, "NotFoundError", None),
    ({"type": "error", "error": {"type": "invalid_request_error", "message": LONG}}, 400, "upstream_rejected", None),
    ({"type": "error", "error": {"type": "overloaded_error", "message": LONG}}, 502, "upstream_error", None),
    ({"detail": LONG}, 502, "upstream_error", None),
    ({"detail": {"error": {"message": LONG, "code": "model_not_found"}}}, 404, "model_not_found", None),
    ({"detail": {"message": LONG}}, 502, "upstream_error", None),
    (
        {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": LONG, "type": "x"}]},
        422,
        "upstream_rejected",
        "messages.0.role",
    ),
    ({"detail": [LONG, LONG]}, 502, "upstream_error", None),
    ({"status": 413, "title": "Too large", "detail": LONG}, 413, "upstream_rejected", None),
    ({"error": {"detail": [{"loc": ["body", "n"], "msg": LONG}]}}, 422, "upstream_rejected", "n"),
    ({"success": False, "errors": [{"code": 7009, "message": LONG}]}, 502, "upstream_error", None),
    ({"msg": LONG, "code": 500}, 502, "upstream_error", None),
    ({"error_msg": LONG, "error_code": "model_not_found"}, 404, "model_not_found", None),
    ({"message": LONG}, 502, "upstream_error", None),
    ({"code": "InvalidParameter", "message": LONG, "request_id": "x"}, 400, "InvalidParameter", None),
    # The text of an error is an error as JSON.
    ({"error": {"message": INNER, "code": 400, "param": "n"}}, 400, "context_length_exceeded", "n"),
    ({"error": INNER}, 400, "context_length_exceeded", None),
    ({"message": json.dumps({"message": INNER}), "code": 500}, 400, "context_length_exceeded", None),
    ({"detail": f"OpenAIException - {INNER}"}, 400, "context_length_exceeded", None),
    (
        {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": INNER}}},
        400,
        "context_length_exceeded",
        None,
    ),
    ({"error": {"message": json.dumps([{"error": {"message": LONG, "code": 404}}])}}, 404, "404", None),
    ({"error": {"message": f'{{"input": "{LONG}"', "code": "model_not_found"}}, 404, "model_not_found", None),
    ({"choices": None, "base_resp": {"status_code": 1008, "status_msg": LONG}}, 502, "upstream_error", None),
    ({"base_resp": {"status_code": 1008, "status_msg": LONG}}, 502, "upstream_error", None),
    (
        {"fault": {"faultstring": LONG, "detail": {"errorcode": "policies.ratelimit.QuotaViolation"}}},
        502,
        "policies.ratelimit.QuotaViolation",
        None,
    ),
    ({"fault": {"faultstring": LONG}}, 502, "upstream_error", None),
)
KEYS = ("sk-proj-0123456789abcdef", "Bearer abcdefgh", "hf_0123456789", 'api_key="abc"', "password: hunter2")
TRACES = (
    'Traceback (most recent call last):\n  File "/app/secret.py", line 3, in run\n    raise ValueError',
    "\n    at com.acme.secret.Model.run(Model.java:55)\n    at x.y(Z.java:1)",
    "\n    at Object.run (/srv/secret/index.js:10:5)",
    "\n    at async /srv/secret/index.js:10:5",
    "\n   at Acme.Secret.Run(String x) in C:\\secret\\Run.cs:line 5",
    "\ngoroutine 17 [running]:\nmain.secret()",
    "\nstack backtrace:\n   0: secret::run",
)


class ReasonTest(TestCase):
    def test_every_shape_inside_a_200(self) -> None:
        for body, status, code, param in SHAPES:
            reason = error_in(body)
            assert reason is not None, body
            error = reported(reason)
            self.assertEqual(
                (error.status, error.upstream_code or error.code, error.param), (status, code, param), body
            )
            self.assertIn(LONG, error.message, body)
            self.assertFalse(error.retryable)

    def test_every_shape_with_a_status_of_its_own(self) -> None:
        for body, _, code, param in SHAPES:
            error = refusal(418, {}, json.dumps(body).encode())
            self.assertIn(LONG, error.message, body)
            self.assertEqual((error.status, error.param), (418, param), body)
            if code not in ("upstream_error", "upstream_rejected"):
                self.assertEqual(error.upstream_code, code, body)

    def test_nothing_inside_a_200_is_asked_again(self) -> None:
        for status in (401, 402, 403, 408, 409, 429, 500, 502, 503, 529):
            self.assertFalse(reported(Reason(LONG, status=status)).retryable, status)

    def test_what_is_no_error(self) -> None:
        beside: list[Any] = [{"choices": []}, {"choices": [], "error": {"code": ""}}, {"choices": [], "message": "x"}]
        beside += [{"choices": [], "base_resp": {"status_code": 0, "status_msg": "success"}}]
        for body in (*beside, {}, [], None, 5, "x", {"message": {}}, {"id": "x"}):
            self.assertIsNone(error_in(body), body)

    def test_plain_text_is_told_and_pages_are_not(self) -> None:
        for body, message in (
            (b"Model not found\n", "Model not found"),
            (b'"Model not found"', "Model not found"),
            ("Größe".encode(), "Größe"),
            (("ü" * 4000).encode()[:4097], "ü" * 499 + "…"),
            (b"", ""),
            (b"<html>secret</html>", ""),
            (b"\xef\xbb\xbf  <!DOCTYPE html>secret", ""),
            (b'{"error": {"message": "cut o', ""),
            (b"\xff\xfe\x00secret", ""),
            (b"null", ""),
            (json.dumps(INNER).encode(), LONG),
            (f"Error: {INNER}".encode(), LONG),
        ):
            self.assertEqual(refusal(404, {}, body).message, message or x.UpstreamRejected.default_message, body)

    def test_a_page_in_a_message_is_not_told_and_an_event_with_a_status_is(self) -> None:
        for page in ("<!DOCTYPE html><p>inner", "<html><body>inner", "\n<HTML lang=en>inner"):
            failure = reported(error_in({"error": {"message": f"Bad gateway {page}"}}) or Reason())
            self.assertTrue(failure.message.endswith("Bad gateway"), failure.message)
        for before in (b"", b"event: error\n", b"id: 1\r\nevent:error\r\n"):
            body = before + b"data: " + json.dumps({"error": {"message": LONG, "code": "too_long"}}).encode() + b"\n\n"
            failure = refusal(400, {}, body)
            self.assertEqual((failure.message, failure.upstream_code), (LONG, "too_long"))

    def test_keys_and_stack_traces_are_not_told(self) -> None:
        for secret in KEYS:
            for body in ({"error": f"No {secret}!"}, {"detail": [{"loc": ["body", secret], "msg": secret}]}):
                reason = error_in(body)
                assert reason is not None
                error = reported(reason)
                self.assertNotIn(secret, f"{error.message} {error.param} {error.upstream_code}")
        error = refusal(400, {}, b"No answer from http://user:hunter2@gpu:8000/v1")
        self.assertEqual(error.message, "No answer from http://[redacted]@gpu:8000/v1")
        for trace in TRACES:
            error = refusal(400, {}, json.dumps({"error": {"message": f"It broke {trace}"}}).encode())
            self.assertEqual(error.message, "It broke", trace)
            self.assertEqual(refusal(400, {}, f"It broke {trace}".encode()).message, "It broke", trace)

    def test_words_that_look_like_a_trace_are_told(self) -> None:
        for text in ("Invalid value at messages (role)", "Look at https://x.example/a:1", "at most 5 (five) items"):
            self.assertEqual(refusal(400, {}, text.encode()).message, text)

    def test_the_data_of_an_error_event_may_be_anything(self) -> None:
        for data, message in (
            ({"message": "a"}, "a"),
            ("a", "a"),
            (None, ""),
            ([1], ""),
            ({"x": 1}, ""),
            ({"detail": "a"}, "a"),
            (json.dumps({"error": "a"}), "a"),
        ):
            self.assertEqual(event_error(data).message or "", message, data)

    def test_nothing_breaks_on_nonsense(self) -> None:
        odd: list[Any] = [1, "x", None, [1], {}, [{}], {"a": 1}, True, 1.5, [[]], {"error": [[]]}]
        for name in ("error", "errors", "detail", "message", "code", "status", "type", "param"):
            for one in odd:
                for two in odd:
                    for body in ({name: one, "message": two}, {"error": {name: one, "message": two, "type": one}}):
                        if reason := error_in(body):
                            self.assertIsInstance(reported(reason), x.ProviderError)
                        refusal(400, {}, json.dumps(body).encode())
                    event_error({name: one})
