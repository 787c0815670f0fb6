"""The ASGI application: routes HTTP to Django and websockets to the consumers; starts and stops the process's work."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatservice.settings")

import django

from chatservice import startup

startup.prepare_first_run()  # for servers that import this module without chatservice.server
django.setup()

from asgiref.sync import ThreadSensitiveContext  # noqa: E402
from channels.routing import URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from accounts.websocket_auth import OriginCheck  # noqa: E402
from chatservice import lifespan as lifespan  # noqa: E402  # for the server, too
from chatservice import url_prefix  # noqa: E402
from chatservice.bodies import Receive, Send  # noqa: E402
from chatservice.dialects import DIALECTS  # noqa: E402
from chatservice.dialects.sockets import nowhere  # noqa: E402
from chatservice.handler import ChatHandler  # noqa: E402
from chatservice.request_log import begin_request, log_request  # noqa: E402
from completions.reaper import start_reaper  # noqa: E402
from foundation.internals import interpreter  # noqa: E402
from foundation.logs.context import current  # noqa: E402

http = ChatHandler()
# A dialect with a websocket.py is served at its own mount, or at the `PATH` below it, with and without a closing slash.
dialect_sockets = [
    path((mount + getattr(module, "PATH", "")).rstrip("/") + slash, module.application)
    for name, mount in DIALECTS.items()
    if find_spec(f"chatservice.dialects.{name}.websocket")
    for module in [import_module(f"chatservice.dialects.{name}.websocket")]
    for slash in ("", "/")
]
socket_paths = {f"/{each.pattern}" for each in dialect_sockets}
websocket = OriginCheck(URLRouter([*dialect_sockets, re_path(r"", nowhere)]))  # type: ignore[arg-type]  # an application

interpreter.shorten_switch_interval()
interpreter.freeze_loaded_objects()  # the whole application is loaded at this point

# Started here and not in the lifespan: not every server supports it, and orphaned runs must not wait for a request.
start_reaper()


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "lifespan":
        begin_request(scope)
        if settings.REQUEST_LOG:
            await log_request(serve, scope, receive, send)
            return
    await serve(scope, receive, send)


async def serve(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer what is not logged here."""
    if scope["type"] == "http":
        await http(scope, receive, send)
    elif scope["type"] == "websocket":
        # Without its own context, every socket of the process would share one database thread.
        url_prefix.cut(scope)
        if scope["path"] in socket_paths:
            current().route = scope["path"]
        async with ThreadSensitiveContext():
            await websocket(scope, receive, send)
    elif scope["type"] == "lifespan":
        await lifespan.run(receive, send)
