"""A service before a model's server of each API, to which an official client sends pictures and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import openai

from chatservice.testing import ApiUser, Service, ServiceTestCase, running_service
from completions.tests.upstream import FaultyUpstream


class FilesCase(ServiceTestCase):
    limits: ClassVar[Mapping[str, str]]
    up: FaultyUpstream
    running: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.up = cls.enterClassContext(FaultyUpstream())
        one = {"base_url": cls.up.base_url, "strip_prefix": True}
        upstreams = {"native": {**one, "models": ["native/*"], "api": "responses"}, "chat": {**one, "models": ["ok"]}}
        cls.running = cls.enterClassContext(running_service(UPSTREAMS=json.dumps(upstreams), **cls.limits))

    def setUp(self) -> None:
        super().setUp()
        self.up.requests.clear()
        self.openai: Any = self.client_of(self.alice)

    def client_of(self, user: ApiUser) -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{self.running.url}/v1", api_key=user.secret, max_retries=0)
        self.addCleanup(client.close)
        return client
