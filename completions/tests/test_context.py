"""Which part of a long conversation is sent: the newest turns, the instructions, and only complete tool calls."""

from __future__ import annotations

import random

from django.test import SimpleTestCase

from completions.context import MAX_FILE_TOKENS, PICTURE_TOKENS, budget_for, estimate_tokens, fit
from completions.tests.asking import assistant_says, user_says
from completions.types import Wire

SYSTEM = {"role": "system", "content": "Be brief"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}


def cost(*messages: Wire) -> int:
    return sum(map(estimate_tokens, messages))


class FitTest(SimpleTestCase):
    def test_what_fits_is_sent_whole(self):
        messages = [SYSTEM, user_says("one"), assistant_says("ONE"), user_says("two")]
        self.assertEqual(fit(messages, tokens=cost(*messages)), tuple(messages))

    def test_one_token_less_drops_the_oldest_turn(self):
        messages = [SYSTEM, user_says("one"), assistant_says("ONE"), user_says("two")]
        self.assertEqual(fit(messages, tokens=cost(*messages) - 1), (SYSTEM, *messages[2:]))

    def test_instructions_stay_wherever_they_stand(self):
        developer = {"role": "developer", "content": "In French"}
        messages = [SYSTEM, user_says("x" * 400), developer, user_says("two")]
        self.assertEqual(fit(messages, tokens=cost(SYSTEM, developer, messages[-1])), (SYSTEM, developer, messages[-1]))

    def test_the_question_is_sent_whatever_it_costs(self):
        messages = [SYSTEM, user_says("one"), user_says("x" * 10_000)]
        self.assertEqual(fit(messages, tokens=10), (SYSTEM, messages[-1]))
        self.assertEqual(fit([user_says("x")], tokens=0), (user_says("x"),))

    def test_nothing_said_is_nothing_sent(self):
        self.assertEqual(fit([], tokens=100), ())

    def test_a_turn_is_never_left_out_of_the_middle(self):
        big, small = user_says("x" * 4000), user_says("small")
        messages = [small, big, assistant_says("ok"), user_says("now")]
        self.assertEqual(fit(messages, tokens=100), tuple(messages[2:]))

    def test_a_tools_answer_never_comes_without_its_call(self):
        messages = [user_says("weather?"), CALL, RESULT, RESULT, assistant_says("It is sunny"), user_says("thanks")]
        for tokens in range(cost(*messages) + 1):
            sent = fit(messages, tokens=tokens)
            self.assertTrue(RESULT not in sent or CALL in sent, tokens)
            self.assertEqual(sent, tuple(messages[len(messages) - len(sent) :]), tokens)

    def test_random_histories_keep_their_order_and_their_budget(self):
        for _ in range(300):
            messages: list[Wire] = [
                {"role": random.choice(["system", "user", "assistant"]), "content": "x" * random.randrange(200)}
                for _ in range(random.randrange(1, 12))
            ]
            tokens = random.randrange(400)
            sent = fit(messages, tokens=tokens)
            rest = iter(messages)
            self.assertTrue(all(any(wire is other for other in rest) for wire in sent))
            self.assertIs(sent[-1] if messages[-1]["role"] != "system" else messages[-1], messages[-1])
            spare = [wire for wire in sent if wire["role"] != "system" and wire is not messages[-1]]
            if spare:
                self.assertLessEqual(cost(*sent), tokens)


class FilesTest(SimpleTestCase):
    def tokens(self, *parts: object) -> int:
        """Return what the parts of a message are counted as, less what surrounds them."""
        return estimate_tokens(user_says("", content=list(parts))) - estimate_tokens(user_says("", content=[]))

    def test_a_picture_counts_the_same_whatever_its_bytes(self):
        url = "data:image/png;base64," + "A" * 4_000_000
        for part in (
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "image_url", "image_url": {"file_id": "file-1"}},
            {"type": "input_image", "image_url": url},
            {"type": "input_image", "file_id": "file-1"},
            {"type": "image_url", "image_url": "https://example.org/a.png"},
        ):
            self.assertAlmostEqual(self.tokens(part), PICTURE_TOKENS, delta=2, msg=str(part)[:60])

    def test_a_file_counts_by_its_size_and_never_much(self):
        def file(length: int) -> dict[str, object]:
            return {"type": "file", "file": {"file_data": "A" * length}}

        self.assertAlmostEqual(self.tokens(file(4_000)), 750, delta=2)
        for part in (
            file(4_000_000),
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "input_file", "file_url": "https://example.org"},
            {"type": "input_audio", "input_audio": {"data": "A" * 4_000_000, "format": "wav"}},
            {"type": "file", "file": None},
        ):
            self.assertAlmostEqual(self.tokens(part), MAX_FILE_TOKENS, delta=2, msg=str(part)[:60])

    def test_a_screenshot_in_an_item_counts_as_a_picture(self):
        output = {"type": "computer_screenshot", "image_url": "data:image/png;base64," + "A" * 4_000_000}
        item = {"type": "computer_call_output", "call_id": "c", "output": output}
        self.assertLess(estimate_tokens({"role": "assistant", "content": None, "response_items": [item]}), 1_100)

    def test_text_counts_whole_whatever_it_looks_like(self):
        text = "data:image/png;base64," + "A" * 40_000
        self.assertGreater(estimate_tokens(user_says(text)), 10_000)
        self.assertGreater(self.tokens({"type": "text", "text": text}), 10_000)
        self.assertGreater(self.tokens({"type": ["file"], "file": text}), 10_000)

    def test_a_picture_leaves_room_for_the_history(self):
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4_000_000}}
        messages = [user_says("", content=[picture]), assistant_says("A whale"), user_says("Sure?")]
        self.assertEqual(fit(messages, tokens=2_000), tuple(messages))


class BudgetTest(SimpleTestCase):
    def test_the_models_own_pattern_comes_before_the_star(self):
        budgets = {"*": 10, "gpt-4*": 20, "meta/*": 30}
        told = [budget_for(model, budgets) for model in ("gpt-4o", "meta/llama", "GPT-4o", "other")]
        self.assertEqual(told, [20, 30, 10, 10])

    def test_there_is_always_a_budget(self):
        self.assertEqual(budget_for("other", {}), 16_000)
