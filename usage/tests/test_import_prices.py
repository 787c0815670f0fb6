"""`manage.py import_prices`: all or nothing, exact, again without effect, and the past stays as it was."""

from __future__ import annotations

import datetime as dt
import io
import json
import tempfile
from decimal import Decimal
from pathlib import Path

from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings
from django.utils import timezone

from usage.models import ModelPrice
from usage.prices import price_of
from usage.tests.prices import DECEMBER, JUNE, add_price

GOOD = """\
model,upstream,input,cached_input,output,max_output_tokens
gpt-4o,openai,2.5,1.25,10,16384
llama*,,0,,0,
"""
LITELLM = """
{
  "sample_spec": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "max_output_tokens": "max output tokens"},
  "gpt-4o-mini": {"input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07, "litellm_provider": "openai",
    "cache_read_input_token_cost": 7.5e-08, "max_output_tokens": 16384, "mode": "chat"},
  "openrouter/qwen/qwq": {"input_cost_per_token": 1.6666666666666667e-07, "output_cost_per_token": 1E-6,
    "output_cost_per_reasoning_token": 2e-6, "litellm_provider": "openrouter"},
  "openrouter/qwen/long": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6,
    "input_cost_per_token_above_128k_tokens": 2e-6, "litellm_provider": "openrouter"},
  "flux": {"input_cost_per_token": 0, "output_cost_per_token": 0.0, "output_cost_per_image": 0.04},
  "free": {"input_cost_per_token": 0, "output_cost_per_token": 0.0, "litellm_provider": "ollama"},
  "text-embedding-3-small": {"input_cost_per_token": 2e-08, "litellm_provider": "openai", "mode": "embedding"},
  "dall-e-3": {"input_cost_per_pixel": 4e-8, "litellm_provider": "openai"},
  "openai/gpt-4o-mini": {"input_cost_per_token": 9e-07, "output_cost_per_token": 9e-07, "litellm_provider": "openai"}
}
"""


class ImportCase(TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "prices"

    def imported(self, content: str | bytes, *options: str) -> str:
        """Import a file and return what the command says."""
        self.path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.said = io.StringIO()
        call_command("import_prices", str(self.path), *options, stdout=self.said)
        return self.said.getvalue()

    def refused(self, content: str | bytes, *options: str) -> list[str]:
        """Import a file that is refused; return the lines about its rows, or the error if there are none."""
        before = list(ModelPrice.objects.order_by("pk").values())
        with self.assertRaises(CommandError) as caught:
            self.imported(content, *options)
        self.assertEqual(list(ModelPrice.objects.order_by("pk").values()), before)
        lines = self.said.getvalue().splitlines()
        if lines:
            self.assertEqual(str(caught.exception), f"Nothing is imported. Wrong values, see above: {len(lines)}.")
        return lines or [str(caught.exception)]


class CsvTest(ImportCase):
    def test_a_file_is_imported(self) -> None:
        said = self.imported(GOOD)
        self.assertIn("New: gpt-4o at openai: currency USD, input 2.5, cached_input 1.25, output 10, max_output", said)
        self.assertIn("New: llama*: currency USD, input 0, output 0\n", said)
        self.assertTrue(said.endswith("Imported: 2 new, 0 changed, 0 unchanged.\n"))
        price = price_of("gpt-4o", "openai", timezone.now())
        assert price is not None
        self.assertEqual((price.source, price.max_output_tokens), ("own", 16_384))

    def test_again_it_changes_nothing(self) -> None:
        self.imported(GOOD)
        before = list(ModelPrice.objects.order_by("pk").values())
        self.assertEqual(self.imported(GOOD), "Imported: 0 new, 0 changed, 2 unchanged.\n")
        self.assertEqual(list(ModelPrice.objects.order_by("pk").values()), before)

    def test_a_changed_price_is_a_new_row_and_the_past_stays(self) -> None:
        self.imported(GOOD, "--valid-from", "2026-06-01")
        said = self.imported(GOOD.replace("2.5,1.25", "3,"), "--valid-from", "2026-09-01T08:00:00+02:00")
        self.assertIn("Changed: gpt-4o at openai: input 2.5 -> 3, cached_input 1.25 -> none\n", said)
        self.assertIn("0 new, 1 changed, 1 unchanged", said)
        rows = ModelPrice.objects.filter(model="gpt-4o").order_by("valid_from").values_list("input", "valid_from")
        september = dt.datetime(2026, 9, 1, 6, tzinfo=dt.UTC)
        self.assertEqual(list(rows), [(Decimal("2.5"), JUNE), (Decimal(3), september)])

    def test_a_price_that_has_begun_is_not_replaced(self) -> None:
        self.imported(GOOD, "--valid-from", "2026-06-01")
        lines = self.refused(GOOD.replace("2.5", "3"), "--valid-from", "2026-06-01")
        self.assertEqual(
            lines, ["row 2, valid_from: another price began at 2026-06-01 00:00:00: let this one begin later"]
        )

    def test_a_price_that_has_not_begun_is_replaced(self) -> None:
        self.imported(GOOD, "--valid-from", "2099-01-01")
        self.assertIn(
            "0 new, 1 changed, 1 unchanged", self.imported(GOOD.replace("2.5", "3"), "--valid-from", "2099-01-01")
        )
        [price] = ModelPrice.objects.filter(model="gpt-4o")
        self.assertEqual(price.input, 3)

    def test_a_dry_run_stores_nothing_and_reports_the_same(self) -> None:
        dry = self.imported(GOOD, "--dry-run")
        self.assertFalse(ModelPrice.objects.exists())
        self.assertEqual(dry.replace("Would be imported", "Imported"), self.imported(GOOD))

    def test_a_history_in_one_file(self) -> None:
        rows = "model,input,output,valid_from\nm,3,3,2026-09-01\nm,1,1,2026-01-01\nm,1,1,2026-06-01\nm,1,1,2026-10-01\n"
        self.assertIn("1 new, 2 changed, 1 unchanged", self.imported(rows))
        self.assertIn("0 new, 0 changed, 4 unchanged", self.imported(rows))

    def test_as_spreadsheets_write_it(self) -> None:
        self.imported('\ufeffModel; Input ;Output\r\n"gpt;4o";2.5;10\r\n;;\r\n'.encode())
        self.assertEqual(ModelPrice.objects.get().model, "gpt;4o")

    def test_each_bad_value_has_a_line_and_nothing_is_stored(self) -> None:
        rows = [
            "model,upstream,currency,input,output,max_output_tokens,valid_from",
            "good,,,1,1,,",
            "comma,,,2.5x,1,,",
            "negative,,,-1,1,,",
            "places,,,0.0000001,1,,",
            "large,,,1e300,1,,",
            "nan,,,NaN,Infinity,,",
            "missing,,,,1,,",
            ",,,1,1,,",
            "money,,dollars,1,1,,",
            "day,,,1,1,,2026-02-30",
            "tokens,,,1,1,many,",
            f"{'x' * 201},,,1,1,,",
            "bell\a,,,1,1,,",
            "short,,,1",
            "good,,,2,2,,",
        ]
        lines = self.refused("\n".join(rows))
        starts = [line.partition(": ")[0] for line in lines]
        self.assertEqual(
            starts,
            [
                *("row 3, input", "row 4, input", "row 5, input", "row 6, input", "row 7, input", "row 7, output"),
                *("row 8, input", "row 9, model", "row 10, currency", "row 11, valid_from"),
                *(
                    "row 12, max_output_tokens",
                    "row 13, model",
                    "row 14, model",
                    "row 15, all columns",
                    "row 16, model",
                ),
            ],
        )
        self.assertIn("row 15, all columns: 4 values for 7 columns", lines)
        self.assertIn("row 16, model: has the same model, upstream and valid_from as row 2", lines)

    def test_what_is_no_file_of_prices(self) -> None:
        for content, reason in (
            (b"", "Missing columns"),
            (b"\xff\xfe\x00", "UTF-8"),
            (b"model,input\nx,1\n", "Missing columns in the header row: output"),
            (b"model,input,output,prize\nx,1,1,1\n", "Unknown columns in the header row: prize"),
            (b"model,input,output,input\nx,1,1,1\n", "Repeated columns in the header row: input"),
            (b'model,input,output\n"x,1,1\n', "not CSV"),
            (b'{"a": ', "not JSON"),
            (b'{"a": ' * 100_000, "not JSON"),
        ):
            [line] = self.refused(content)
            self.assertIn(reason, line)

    def test_wrong_options_are_refused(self) -> None:
        for options in (("--valid-from", "soon"), ("--valid-from", "2026-13-01"), ("--currency", "€")):
            [line] = self.refused(GOOD, *options)
            self.assertTrue(line.startswith(options[0]), line)
        with self.assertRaisesMessage(CommandError, "cannot be read"):
            call_command("import_prices", "/nowhere/prices.csv")

    def test_prices_in_another_currency_say_that_they_do_not_apply(self) -> None:
        said = self.imported(GOOD, "--currency", "eur")
        self.assertIn("Prices in EUR do not apply, since CURRENCY is USD.", said)
        self.assertEqual(set(ModelPrice.objects.values_list("currency", flat=True)), {"EUR"})


@override_settings(UPSTREAMS={"openai": {}, "spare": {}})
class LiteLlmTest(ImportCase):
    def price(self, model: str, upstream: str) -> dict:
        names = ("input", "cached_input", "output", "reasoning", "max_output_tokens")
        return ModelPrice.objects.filter(model=model, upstream=upstream).values(*names).get()

    def test_prices_are_exact(self) -> None:
        said = self.imported(LITELLM, "--upstream", "openrouter=spare")
        self.assertEqual(
            self.price("gpt-4o-mini", "openai"),
            {
                "input": Decimal("0.15"),
                "cached_input": Decimal("0.075"),
                "output": Decimal("0.6"),
                "reasoning": None,
                "max_output_tokens": 16_384,
            },
        )
        qwen = self.price("qwen/qwq", "spare")
        self.assertEqual((qwen["input"], qwen["output"], qwen["reasoning"]), (Decimal("0.166667"), 1, 2))
        self.assertEqual(self.price("text-embedding-3-small", "openai")["output"], 0)
        self.assertEqual(self.price("free", "")["output"], 0)
        self.assertIn("Models without a price for tokens, left out: 2.", said)
        self.assertIn("Models that cost more beyond a number of tokens, without that price: 1.", said)
        self.assertIn("Imported: 5 new, 0 changed, 0 unchanged.", said)
        self.assertIn("0 new, 0 changed, 5 unchanged", self.imported(LITELLM, "--upstream", "openrouter=spare"))

    def test_a_provider_that_is_no_upstream_keeps_its_names(self) -> None:
        self.imported(LITELLM)
        self.assertEqual(self.price("openrouter/qwen/qwq", "")["output"], 1)

    @override_settings(CURRENCY="EUR")
    def test_it_is_in_dollars_whatever_the_currency(self) -> None:
        self.assertIn("Prices in USD do not apply, since CURRENCY is EUR.", self.imported(LITELLM))

    def test_each_bad_value_has_a_line(self) -> None:
        models = {
            "text": {"input_cost_per_token": "much", "output_cost_per_token": 1},
            "flag": {"input_cost_per_token": True},
            "huge": {"input_cost_per_token": 1, "output_cost_per_token": 10**30},
            "negative": {"input_cost_per_token": -1},
            "tokens": {"input_cost_per_token": 1, "max_output_tokens": "many"},
            "list": [],
        }
        content = (
            json.dumps(models)[:-1]
            + ', "over": {"input_cost_per_token": 1e999999999}, "nan": {"input_cost_per_token": NaN}}'
        )
        lines = self.refused(content)
        self.assertEqual(
            [line.partition(": ")[0] for line in lines],
            [
                *("text, input_cost_per_token", "flag, input_cost_per_token", "huge, output_cost_per_token"),
                *("negative, input_cost_per_token", "tokens, max_output_tokens", "list, all fields"),
                *("over, input_cost_per_token", "nan, input_cost_per_token"),
            ],
        )

    def test_an_unknown_upstream_is_refused(self) -> None:
        for pair in ("openrouter=nobody", "openrouter", "=openai"):
            [line] = self.refused(LITELLM, "--upstream", pair)
            self.assertIn("--upstream takes PROVIDER=NAME", line)

    def test_prices_by_hand_stay_beside_those_of_the_file(self) -> None:
        add_price("gpt-4o-mini", "7", upstream="openai", valid_from=DECEMBER)
        self.imported(LITELLM, "--valid-from", "2026-11-01")
        moments = [dt.datetime(2026, 11, 2, tzinfo=dt.UTC), DECEMBER]
        prices = [price_of("gpt-4o-mini", "openai", moment) for moment in moments]
        rows = [price and price.calculate.__self__.input for price in prices]
        self.assertEqual(rows, [Decimal("0.15"), Decimal(7)])
