"""What an answer cost is told by every API, and a budget refuses in the shape of each."""

from __future__ import annotations

import datetime as dt
import json
from functools import partial
from io import StringIO
from typing import Any

import httpx2
from django.core.management import call_command
from django.utils import timezone

from chatservice.testing import ServiceTestCase, needs_dialect, sse_data, tried_on, wait_until
from chatservice.testing.sockets import Socket
from completions.ledger_check import Difference, differences
from completions.models import Run
from usage.models import Budget, DailyUsage, ModelPrice
from usage.tests.prices import add_price

COMPLETIONS = "/v1/chat/completions"
USAGE = "/v1/chat/me/usage"


def setUpModule() -> None:
    needs_dialect("chat_v1", "graphql", "openai_v1", "resources", "websocket")


def body(**more: Any) -> dict[str, Any]:
    return {"model": "fake/ok", "messages": [{"role": "user", "content": "Hi"}], **more}


class CostTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        price = add_price("fake/ok", input="2", output="8", valid_from=timezone.now() - dt.timedelta(days=1))
        self.addCleanup(ModelPrice.objects.filter(pk=price.pk).delete)
        # The service reads prices, and the budgets that other tests may have left, every few seconds.
        ask = partial(self.alice.http.post, COMPLETIONS, json=body())
        wait_until(lambda: ask().headers.get("x-response-cost"), timeout=15)

    def ask(self, **more: Any) -> httpx2.Response:
        response = self.alice.http.post(COMPLETIONS, json=body(**more))
        self.assertEqual(response.status_code, 200, response.text)
        return response

    def test_a_header_tells_what_an_answer_cost_and_its_run_and_day_agree(self) -> None:
        before = self.cost_of_today()
        response = self.ask()
        usage = response.json()["usage"]
        millionths = 2 * usage["prompt_tokens"] + 8 * usage["completion_tokens"]
        amount, currency = response.headers["x-response-cost"].split()
        self.assertEqual((round(float(amount) * 1_000_000), currency), (millionths, "USD"))
        self.assertNotIn("cost", usage)
        run = Run.objects.get(pk=response.headers["x-run-id"])
        self.assertEqual((run.cost, run.is_estimate), (millionths, False))
        self.assertEqual(self.cost_of_today() - before, millionths)

    def cost_of_today(self) -> int:
        return sum(DailyUsage.objects.filter(user=self.alice.user).values_list("cost", flat=True))

    def test_the_usage_object_has_the_cost_on_request(self) -> None:
        asked = {"usage": {"include": True}}
        whole = self.ask(**asked).json()["usage"]
        self.assertGreater(whole["cost"], 0)
        frames = [json.loads(data) for data in sse_data(self.ask(stream=True, **asked).text) if data != "[DONE]"]
        told = [frame["usage"] for frame in frames if frame.get("usage")]
        self.assertEqual([each["cost"] for each in told], [whole["cost"]])

    def test_answers_of_other_apis_tell_their_cost_at_the_end(self) -> None:
        said = {"content": "Hi", "model": "fake/ok"}
        whole = self.alice.http.post("/v1/chat/conversations", json={}).json()["data"]["id"]
        sent = self.alice.http.post(f"/v1/chat/conversations/{whole}/messages", json=said).json()
        self.assertIn('"currency": "USD"', json.dumps(sent))
        answered = self.alice.http.post(f"/conversations/{whole}/message", json={"message": "Hi", "model": "fake/ok"})
        self.assertGreater(float(answered.headers["x-response-cost"].removesuffix(" USD")), 0)
        streamed = self.alice.http.post("/v1/chat/conversations/stream", json=said)
        [end] = [json.loads(data) for data in sse_data(streamed.text) if "ai_complete" in data]
        with Socket(self.service.websocket_url, additional_headers=self.alice.headers) as socket:
            frame = socket.ask("Hi", model="fake/ok")[-1]
        for data in (end["data"], frame["data"]):
            self.assertGreater(float(data["cost"]), 0)
            self.assertEqual(data["currency"], "USD")

    def test_an_answer_that_was_cut_off_is_charged_by_estimate(self) -> None:
        self.alice.http.post(COMPLETIONS, json=body(model="fake/truncated"))
        run = Run.objects.filter(user=self.alice.user).latest("created_at")
        self.assertTrue(run.is_estimate)
        self.assertGreater(run.input_tokens or 0, 0)

    def test_what_an_upstream_refused_costs_nothing(self) -> None:
        self.alice.http.post(COMPLETIONS, json=body(model="fake/http-400"))
        run = Run.objects.filter(user=self.alice.user).latest("created_at")
        self.assertEqual((run.input_tokens, run.output_tokens, run.cost or 0), (0, 0, 0))

    def test_the_usage_by_day_has_costs_in_v1_and_graphql(self) -> None:
        [row] = [each for each in self.alice.http.get(USAGE).json()["data"] if each["model"] == "fake/ok"]
        query = "{ usage(days: 7) { day model requests inputTokens cost currency unpriced } }"
        told = self.alice.http.post("/graphql", json={"query": query}).json()["data"]["usage"]
        [graph] = [each for each in told if each["model"] == "fake/ok"]
        self.assertEqual((graph["cost"], graph["currency"], graph["requests"]), (row["cost"], "USD", row["runs"]))
        self.assertGreater(float(row["cost"]), 0)
        refused = self.alice.http.post("/graphql", json={"query": "{ usage(days: 0) { day } }"}).json()
        self.assertIn("days", refused["errors"][0]["message"])

    def test_the_ledger_made_anew_is_the_same_and_what_it_lacks_is_mended(self) -> None:
        self.ask()
        mine = DailyUsage.objects.filter(user=self.alice.user)
        before = list(mine.order_by("id").values())
        self.assertEqual(self.wrong(), [])
        mine.filter(model="fake/ok").update(requests=0, cost=0)
        [difference] = self.wrong()
        self.assertFalse(difference.is_more)
        out = StringIO()
        call_command("rebuild_usage", "--since", self.today(), "--apply", stdout=out)
        self.assertRegex(out.getvalue(), r"Compared \d+ days: \d+ rows have less than the runs")
        self.assertEqual(self.wrong(), [])
        self.assertEqual(list(mine.order_by("id").values()), before)

    def wrong(self) -> list[Difference]:
        """Return where the ledger of Alice differs from her runs: other tests have deleted theirs."""
        days = differences(since=dt.date.fromisoformat(self.today()))
        return [each for _, found in days for each in found if each.key[1] == self.alice.user.pk]

    def today(self) -> str:
        return timezone.now().date().isoformat()


@tried_on("postgresql")
class RefusalTest(ServiceTestCase):
    def test_every_api_refuses_in_its_shape_before_anything_is_stored(self) -> None:
        Budget.objects.create(name="Pocket money", user=self.alice.user, max_tokens=3)
        self.addCleanup(Budget.objects.filter(name="Pocket money").delete)

        def refused() -> httpx2.Response | None:
            response = self.alice.http.post(COMPLETIONS, json=body())
            return response if response.status_code == 429 else None

        openai = wait_until(refused, timeout=15)
        assert openai is not None
        before = Run.objects.filter(user=self.alice.user).count()
        error = openai.json()["error"]
        self.assertEqual((error["code"], error["type"]), ("insufficient_quota", "insufficient_quota"))
        self.assertEqual(openai.headers["x-should-retry"], "false")
        message = error["message"]
        self.assertRegex(message, r"'Pocket money' has \d+ of 3 tokens left, .* It is renewed at")
        http = self.alice.http
        said = {"content": "Hi", "model": "fake/ok"}
        v1 = http.post("/v1/chat/conversations/stream", json=said)
        self.assertEqual((v1.status_code, v1.json()["error"]["code"]), (429, "insufficient_quota"))
        resources = http.post("/conversations/start", json={"message": "Hi", "model": "fake/ok"})
        self.assertEqual(resources.status_code, 429)
        responses = http.post("/v1/responses", json={"model": "fake/ok", "input": "Hi"})
        self.assertEqual((responses.status_code, responses.json()["error"]["code"]), (429, "insufficient_quota"))
        query = 'mutation { sendMessage(content: "Hi", model: "fake/ok") { runId } }'
        graph = http.post("/graphql", json={"query": query}).json()["errors"][0]
        self.assertEqual(graph["extensions"]["code"], "insufficient_quota")
        with Socket(self.service.websocket_url, additional_headers=self.alice.headers) as socket:
            socket.say(type="send", content="Hi", model="fake/ok")
            frame = socket.until("error")[-1]
        self.assertEqual((frame["type"], frame["data"]["code"]), ("error", "insufficient_quota"))
        for response in (v1, resources, responses):
            self.assertIn("'Pocket money'", response.text)
        self.assertEqual(Run.objects.filter(user=self.alice.user).count(), before)
