"""Bad input: a clear 4xx in OpenAI's shape, nothing stored, nothing leaked."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from chatservice.testing import ServiceTestCase, tried_once
from completions.models import Run
from completions.tests.streaming import URL, body_of

LIMIT = 4_194_304
JSON = {"Content-Type": "application/json"}


def nested(depth: int, leaf: str = "1") -> str:
    """A body that nests `depth` containers, with `leaf` in the innermost."""
    inner = "[" * (depth - 1) + leaf + "]" * (depth - 1)
    body = body_of("echo")
    return json.dumps(body)[:-1] + f', "x": {inner}}}'


@tried_once
class BadInputTest(ServiceTestCase):
    def post(self, content: bytes | str, **headers: str) -> httpx2.Response:
        data = content if isinstance(content, bytes) else content.encode()
        return self.alice.http.post(URL, content=data, headers={**JSON, **headers})

    def assert_refused(self, response: httpx2.Response, status: int = 400, what: object = "") -> None:
        self.assertEqual(response.status_code, status, what)
        error = response.json()["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"}, what)
        self.assertEqual(error["type"], "invalid_request_error", what)
        self.assertTrue(error["message"] and error["code"], what)
        self.assertFalse(Run.objects.filter(user=self.alice.user).exists(), what)

    def test_what_is_not_json_is_refused(self):
        for content in (
            *(b"", b"null", b"[]", b'"x"', b"1", b"{", b"{}x", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"{'a': 1}"),
            *(b'{"model": NaN}', b'{"temperature": 1e999}', b'{"temperature": Infinity}', b"[" * 100_000),
            *(b'{"messages": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", b'{"a": "\xff"}', b'{"a":' * 20_000),
        ):
            self.assert_refused(self.post(content), what=content[:40])

    def test_text_that_no_database_takes_is_refused(self):
        for text in ("a\\u0000b", "\\ud83d", "\\udc00\\ud800"):
            for field in ("content", "x"):
                content = f'{{"model":"echo","messages":[{{"role":"user","content":"Hi","{field}":"{text}"}}]}}'
                self.assert_refused(self.post(content), what=(text, field))
            self.assert_refused(
                self.post(f'{{"model":"echo","messages":[{{"role":"user","content":"x"}}],"{text}":1}}')
            )

    def test_the_body_may_be_as_large_as_the_limit_and_not_a_byte_more(self):
        def body(size: int) -> bytes:
            start = json.dumps(body_of("echo"))[:-1] + ', "x": "'
            return (start + "y" * (size - len(start) - 2) + '"}').encode()

        self.assertEqual(len(body(LIMIT)), LIMIT)
        self.assert_refused(self.post(body(LIMIT + 1)), 413)
        chunked = self.alice.http.post(URL, content=iter([body(LIMIT), b" "]), headers=JSON)
        self.assert_refused(chunked, 413)
        self.assertEqual(self.post(body(LIMIT)).status_code, 200)

    def test_the_body_may_be_as_deep_as_the_limit_and_not_deeper(self):
        self.assert_refused(self.post(nested(33)), what=33)
        self.assert_refused(self.post(nested(33, "")), what="33, empty")
        self.assertEqual(self.post(nested(32)).status_code, 200)

    def test_an_object_may_be_as_wide_as_the_limit_and_not_wider(self):
        wide = {f"k{n}": n for n in range(1001)}
        self.assert_refused(self.post(json.dumps(body_of("echo", x=wide))))
        wide.popitem()
        self.assertEqual(self.post(json.dumps(body_of("echo", x=wide))).status_code, 200)

    def test_the_type_of_the_body_must_be_json(self):
        body = json.dumps(body_of("echo"))
        for kind in (
            *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
            *(
                "application/json; charset=utf-16",
                "application/json; charset=bz2_codec",
                "application/json; charset=utf-7",
            ),
        ):
            self.assert_refused(self.post(body, **{"Content-Type": kind}), 415, kind)
        self.assertEqual(self.post(body, **{"Content-Type": "application/json; charset=UTF-8"}).status_code, 200)

    def test_every_field_we_know_must_be_of_its_type_and_is_named(self):
        wrong: dict[str, list[Any]] = {
            "model": [1, None, "", [], {}, True, "x" * 201],
            "messages": [None, "Hi", {}, [], [1], [None], ["Hi"], [[]]],
            **{name: ["1", [], {}, True] for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty")},
            **{name: ["1", 1.5, [], True] for name in ("max_tokens", "max_completion_tokens", "seed", "top_logprobs")},
            "n": ["1", 1.5, 0, -1, 129, True],
            **{name: ["true", 1, [], {}] for name in ("stream", "store", "logprobs", "parallel_tool_calls")},
            **{name: ["x", 1, [], True] for name in ("metadata", "stream_options", "logit_bias")},
            **{name: ["x", 1, {}, True] for name in ("tools", "functions")},
        }
        for name, values in wrong.items():
            for value in values:
                response = self.post(json.dumps({**body_of("echo"), name: value}))
                self.assert_refused(response, what=(name, value))
                self.assertTrue(response.json()["error"]["param"].startswith(name), (name, value))

    def test_every_message_must_be_one(self):
        for message in (
            *({}, {"role": "user"}, {"role": "user", "content": None}, {"content": "Hi"}, {"role": 1, "content": "Hi"}),
            *({"role": "", "content": "x"}, {"role": "x" * 65, "content": "x"}, {"role": "user", "content": 5}),
            *({"role": "user", "content": {}}, {"role": "user", "content": ["x"]}, {"role": "user", "content": True}),
        ):
            body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}, message]}
            response = self.post(json.dumps(body))
            self.assert_refused(response, what=message)
            self.assertTrue(response.json()["error"]["param"].startswith("messages[1]"), message)

    def test_null_is_as_good_as_not_there(self):
        names = ("temperature", "n", "stream", "store", "tools", "metadata", "stream_options", "max_tokens", "stop")
        body = {**body_of("echo"), **dict.fromkeys(names)}
        self.assertEqual(self.post(json.dumps(body)).status_code, 200)

    def test_odd_but_lawful_requests_are_answered(self):
        for content in (
            '{"model":"echo","model":"echo","messages":[{"role":"user","content":"a","content":"b"}]}',
            '{"model":"echo","messages":[{"role":"user","content":"' + "e\u0301\u202e🙂" * 500 + '"}]}',
            '{"model":"echo","messages":[{"role":"user","content":""}],"x":' + "9" * 300 + "}",
            '{"model":"echo","messages":[{"role":"user","content":"\\\\u0000"}]}',
            '{"model":"echo","messages":[{"role":"user","content":"Hi","name":7}],"user":[1]}',
            '{"messages":[{"role":"user","content":[]}],"__proto__":{"a":1}}',
        ):
            response = self.post(content)
            self.assertEqual(response.status_code, 200, (content[:80], response.text[:200]))

    def test_nothing_of_the_request_is_in_the_log(self):
        self.post(b'{"model": "log-canary-1')
        self.post(json.dumps(body_of("echo", "log-canary-2", n="log-canary-3")))
        self.assertNotIn("log-canary", self.service.log())
        self.assertNotIn("Traceback", self.service.log())
