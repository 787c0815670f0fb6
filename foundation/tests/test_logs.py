"""Lines hold what is known of their request, and never a value: of nobody's logger, whatever was raised."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import StringIO
from typing import Any
from unittest import mock

import uvicorn
from django.http import HttpResponse
from django.test import RequestFactory, SimpleTestCase
from django.utils.log import log_response

from chatservice.testing import free_port, tried_on
from foundation.logs.context import LogContext, background_context, log_context
from foundation.logs.formatters import JsonFormatter, PlainFormatter
from foundation.logs.tracebacks import log_uncaught_errors, unexpected

SECRET = "what-somebody-wrote"
ours = logging.getLogger("completions.tests")


def fail(said: str = SECRET) -> None:
    local = said.upper()
    try:
        raise ValueError(f"cannot read {local.lower()}")
    except ValueError as cause:
        raise KeyError(said) from cause


def caught(said: str = SECRET) -> Exception:
    try:
        fail(said)
    except KeyError as error:
        return error
    raise AssertionError("never reached")


@contextmanager
def written(formatter: logging.Formatter | None = None) -> Iterator[StringIO]:
    """Yield what is written to the log within the block, and let nothing else of it appear."""
    stream, root = StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter or JsonFormatter())
    with mock.patch.object(root, "handlers", [handler]):
        yield stream


def lines_of(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@tried_on("sqlite")
class LineTest(SimpleTestCase):
    def test_a_line_tells_whose_request_it_belongs_to_and_only_known_fields(self) -> None:
        user, run = uuid.uuid4(), uuid.uuid4()
        context = LogContext("req_1", method="GET", route="/v1/models", user_id=user)
        with written() as stream:
            work = background_context(context)
            work.run(ours.warning, "a %s", "line\nof two", extra={"run_id": run, "status": 0, "prompt": SECRET})
            ours.warning("another")
        first, second = lines_of(stream)
        self.assertRegex(first.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        known = {"request_id": "req_1", "method": "GET", "route": "/v1/models", "user_id": str(user)}
        named = {"level": "WARNING", "logger": "completions.tests", "message": "a line\nof two"}
        self.assertEqual(first, {**named, **known, "run_id": str(run), "status": 0})
        self.assertNotIn("request_id", second)

    def test_on_a_terminal_a_line_is_as_it_was_and_shows_its_own_fields_on_one_line(self) -> None:
        context = contextvars.copy_context()
        context.run(log_context.set, LogContext("req_1"))
        with written(PlainFormatter()) as stream:
            context.run(ours.warning, "as it %s", "was")
            context.run(ours.warning, "run ended", extra={"model": "a\nb c", "cost": 0.5})
            ours.error("broken", extra=unexpected(caught()))
        first, second, *rest = stream.getvalue().splitlines()
        self.assertRegex(first, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING completions\.tests as it was$")
        self.assertTrue(second.endswith(r'run ended request_id=req_1 model="a\nb c" cost=0.5'), second)
        self.assertEqual((rest[1], rest[-1]), ("Traceback (most recent call last):", "KeyError"))


@tried_on("sqlite")
class NoValueTest(SimpleTestCase):
    def told(self, stream: StringIO, count: int = 1) -> list[dict[str, Any]]:
        self.assertNotIn(SECRET, stream.getvalue())
        self.assertNotIn(SECRET.upper(), stream.getvalue())
        lines = lines_of(stream)
        self.assertEqual(len(lines), count, lines)
        return lines

    def test_a_traceback_has_every_place_and_no_value(self) -> None:
        group = ExceptionGroup(SECRET, [caught(), OSError(SECRET)])
        with written() as stream:
            ours.error("broken", extra=unexpected(group))
            ours.error("broken", exc_info=caught())
        for line in self.told(stream, 2):
            for part in ("Traceback (most recent", "test_logs.py", "in fail", "raise KeyError(said) from cause"):
                self.assertIn(part, line["traceback"])
            self.assertIn("ValueError", line["traceback"])

    def test_django_tells_neither_path_nor_header_nor_error(self) -> None:
        request = RequestFactory().get(f"/{SECRET}?q={SECRET}", headers={"X-Test": SECRET})
        broken = HttpResponse(status=500)
        with written() as stream:
            log_response(
                "%s: %s", "Internal Server Error", request.path, response=broken, request=request, exception=caught()
            )
            logging.getLogger("django.security.DisallowedHost").error(
                "Invalid HTTP_HOST header: %r", SECRET, exc_info=caught()
            )
            logging.getLogger("django.channels.server").info("HTTP GET /%s", SECRET)
        self.assertEqual(
            [each["message"] for each in self.told(stream, 2)], ["Internal Server Error", "unexpected KeyError"]
        )

    def test_asyncio_tells_neither_error_nor_arguments(self) -> None:
        async def broken(said: str) -> None:
            fail(said)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.call_soon(fail, SECRET)
            task = loop.create_task(broken(SECRET), name=SECRET)
            while not task.done():
                await asyncio.sleep(0)
            del task
            loop.call_exception_handler({"message": "Unclosed client session", "client_session": SECRET})

        with written() as stream:
            asyncio.run(main())
        messages = {each["message"] for each in self.told(stream, 3)}
        self.assertEqual(messages, {"unexpected KeyError", "Unclosed client session"})

    def test_uvicorn_tells_only_where_the_application_failed(self) -> None:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            fail()

        options: dict[str, Any] = {"log_config": None, "log_level": "warning", "access_log": False, "lifespan": "off"}
        server = uvicorn.Server(uvicorn.Config(application, port=(port := free_port()), **options))

        async def main() -> None:
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /{SECRET} HTTP/1.1\r\nHost: {SECRET}\r\n\r\n".encode())
            self.assertIn(b" 500 ", await reader.readline())
            writer.close()
            server.should_exit = True
            await serving

        with written() as stream, mock.patch.object(server, "capture_signals", nullcontext):
            asyncio.run(main())
        [line] = self.told(stream)
        self.assertIn("raise KeyError(said) from cause", line["traceback"])

    def test_daphne_channels_and_other_libraries_tell_only_what_is_constant(self) -> None:
        daphne = logging.getLogger("daphne.server")
        with written() as stream:
            daphne.error("Exception inside application: %s", caught(), exc_info=caught())
            daphne.error("Application %r took %d s", SECRET, 3)
            daphne.error(caught())
            daphne.error("Traceback (most recent call last):\n  %s", SECRET)
            daphne.error("too %s %s", SECRET)
            logging.getLogger("channels").info("seen: %s", SECRET)
        messages = [each["message"] for each in self.told(stream, 5)]
        self.assertEqual(messages[:3], ["unexpected KeyError", "Application … took 3 s", "a KeyError"])

    def test_what_ends_a_thread_or_the_process_is_logged_without_values(self) -> None:
        hooks = {(sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"), (logging, "raiseExceptions")}
        with written() as stream:
            for module, name in hooks:
                self.enterContext(mock.patch.object(module, name, getattr(module, name)))
            log_uncaught_errors()
            thread = threading.Thread(target=fail)
            thread.start()
            thread.join()
            error = caught()
            sys.excepthook(type(error), error, error.__traceback__)
        messages = [each["message"] for each in self.told(stream, 2)]
        self.assertEqual(messages, ["a thread ended: KeyError", "the process ends: KeyError"])
