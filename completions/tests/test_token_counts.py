"""Token counts are integers, whatever a model's server sends as usage."""

from __future__ import annotations

from typing import Any

from django.test import SimpleTestCase

from completions.models import Run
from completions.token_counts import PATHS, token_counts

TOLD = {
    "prompt_tokens": 7,
    "completion_tokens": 0,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


class TokenCountsTest(SimpleTestCase):
    def test_all_are_read(self) -> None:
        counts = {"input_tokens": 7, "cached_tokens": 3, "output_tokens": 0, "reasoning_tokens": 2}
        self.assertEqual(token_counts(TOLD), counts)

    def test_what_is_no_count_is_unknown(self) -> None:
        unknown = dict.fromkeys(PATHS)
        odd: list[Any] = [None, [], "7", {}, {"prompt_tokens_details": None}]
        values: list[Any] = [True, "7", 7.0, -1, 2**53, None, {}]
        odd += [{"prompt_tokens": value, "completion_tokens": value} for value in values]
        for usage in odd:
            with self.subTest(usage):
                self.assertEqual(token_counts(usage), unknown)

    def test_every_count_has_a_column(self) -> None:
        self.assertLessEqual(set(PATHS), {field.name for field in Run._meta.concrete_fields})
