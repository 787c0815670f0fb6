"""The connection to an upstream: a private certificate authority, a proxy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import IsolatedAsyncioTestCase

from completions import exceptions as x
from completions.providers.openai_compatible import OpenAICompatible
from completions.tests.certificates import self_signed
from completions.tests.provider_case import KEY, asking
from completions.tests.upstream import FaultyUpstream
from completions.tests.upstream_wire import TEXT


async def ask(base_url: str, **options: Any) -> str:
    provider = OpenAICompatible("test", base_url=base_url, api_key=KEY, retries=0, connect=2, **options)
    try:
        answer = await provider.complete(asking("ok", stream=False))
    finally:
        await provider.close()
    return str(answer.response["choices"][0]["message"]["content"])


class NetworkTests(IsolatedAsyncioTestCase):
    async def test_a_private_authority_is_trusted_when_it_is_named_and_only_then(self) -> None:
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        ca_file, tls = self_signed(directory)
        with FaultyUpstream(tls=tls) as up:
            with self.assertRaises(x.UpstreamUnreachable):
                await ask(up.base_url)
            self.assertEqual(len(up.posts), 0)
            self.assertEqual(await ask(up.base_url, ca_file=ca_file), TEXT)
            with self.assertRaises(x.UpstreamUnreachable):  # the host name is checked, too
                await ask(up.base_url.replace("127.0.0.1", "localhost"), ca_file=ca_file)

    async def test_a_proxy_is_used_when_it_is_named_and_the_environment_is_not_asked(self) -> None:
        nowhere = "http://models.invalid/v1"
        with FaultyUpstream() as proxy:
            self.assertEqual(await ask(nowhere, proxy=f"http://127.0.0.1:{proxy.port}"), TEXT)
            self.assertEqual(proxy.posts[0].path, f"{nowhere}/chat/completions")
            with self.subTest("nothing listens there"), self.assertRaises(x.UpstreamUnreachable):
                await ask(proxy.base_url, proxy="http://127.0.0.1:1")
            self.assertEqual(len(proxy.posts), 1)
