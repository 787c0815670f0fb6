"""Reads files of prices: CSV with the names of ModelPrice's fields, and the JSON that LiteLLM publishes."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_date, parse_datetime

from usage.models import ModelPrice
from usage.price_values import MILLION

REQUIRED = ("model", "input", "output")
OPTIONAL = (
    *("upstream", "currency", "cached_input", "reasoning", "per_image", "per_request"),
    *("max_output_tokens", "valid_from"),
)
# The fields of LiteLLM's file that are prices per token, by ours.
LITELLM = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "reasoning": "output_cost_per_reasoning_token",
}
LITELLM_CURRENCY = "USD"
PLACES = Decimal("0.000001")


class UnreadablePrices(Exception):
    """The file is none of prices; the text says why."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one value. `place` is a row (the header is row 1) or LiteLLM's name of the model."""

    place: str
    column: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}, {self.column}: {self.reason}"


@dataclass(slots=True)
class PriceFile:
    """What a file contains: prices that are not saved, each with its place, and the problems of the other rows."""

    prices: list[tuple[str, ModelPrice]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    without_token_price: int = 0
    with_more_prices: int = 0


@dataclass(frozen=True, slots=True)
class Defaults:
    """What applies where a file does not say it. `upstreams`: the name of each LiteLLM provider in UPSTREAMS."""

    currency: str
    valid_from: dt.datetime
    upstreams: Mapping[str, str] = field(default_factory=dict)


def read_prices(content: bytes, defaults: Defaults) -> PriceFile:
    """Return the prices in a file, whose form is told from its content; raises UnreadablePrices."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadablePrices("The file is not text in UTF-8.") from None
    found = _read_litellm(text, defaults) if is_litellm(content) else _read_csv(text, defaults)
    _report_repeated(found)
    return found


def is_litellm(content: bytes) -> bool:
    return content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def moment_of(text: str) -> dt.datetime:
    """Return the moment that a date (from midnight) or a time means, in UTC unless it says otherwise; or ValueError."""
    day = parse_date(text)
    moment = dt.datetime.combine(day, dt.time()) if day else parse_datetime(text)
    if moment is None:
        raise ValueError("must be a date or a time, for example 2026-12-01 or 2026-12-01T08:00:00Z")
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _read_csv(text: str, defaults: Defaults) -> PriceFile:
    first = text.partition("\n")[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found = PriceFile()
    try:
        columns = _columns(next(reader, []))
        for number, cells in enumerate(reader, 2):
            if any(cell.strip() for cell in cells):
                _add_row(found, f"row {number}", columns, cells, defaults)
    except csv.Error as error:
        raise UnreadablePrices(f"This is not CSV: line {reader.line_num}: {error}.") from None
    return found


def _columns(header: Sequence[str]) -> list[str]:
    columns = [name.strip().lower() for name in header]
    for problem, names in (
        ("Missing columns", [name for name in REQUIRED if name not in columns]),
        ("Unknown columns", [name or "(without a name)" for name in columns if name not in (*REQUIRED, *OPTIONAL)]),
        ("Repeated columns", sorted({name for name in columns if columns.count(name) > 1})),
    ):
        if names:
            known = f"Known are {', '.join((*REQUIRED, *OPTIONAL))}."
            raise UnreadablePrices(f"{problem} in the header row: {', '.join(names)}. {known}")
    return columns


def _add_row(found: PriceFile, place: str, columns: Sequence[str], cells: Sequence[str], defaults: Defaults) -> None:
    if len(cells) != len(columns):
        found.problems.append(Problem(place, "all columns", f"{len(cells)} values for {len(columns)} columns"))
        return
    values: dict[str, Any] = {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if cell.strip()}
    missing = [Problem(place, name, "has no value") for name in REQUIRED if name not in values]
    try:
        values["valid_from"] = moment_of(values["valid_from"]) if "valid_from" in values else defaults.valid_from
    except ValueError as error:
        missing.append(Problem(place, "valid_from", str(error)))
    found.problems += missing
    if not missing:
        values["currency"] = values.get("currency", defaults.currency).upper()
        _add(found, place, values, {})


def _read_litellm(text: str, defaults: Defaults) -> PriceFile:
    try:
        models = json.loads(text, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError) as error:
        raise UnreadablePrices(f"This is not JSON: {error}.") from None
    found = PriceFile()
    for name, config in models.items():
        if name == "sample_spec":
            continue
        if not isinstance(config, dict):
            found.problems.append(Problem(name, "all fields", "is not an object"))
        elif not _is_billed_by_tokens(config):
            found.without_token_price += 1
        else:
            _add_litellm(found, name, config, defaults)
    _leave_out_second_names(found)
    return found


def _is_billed_by_tokens(config: Mapping[str, Any]) -> bool:
    """Tell whether a model has a price for tokens; 0 is one unless it costs something by image, second or page."""
    prices = [config[name] for name in LITELLM.values() if config.get(name) is not None]
    return any(prices) or (bool(prices) and not any(price for name, price in config.items() if "cost_per_" in name))


def _add_litellm(found: PriceFile, name: str, config: Mapping[str, Any], defaults: Defaults) -> None:
    provider = config.get("litellm_provider")
    upstream = defaults.upstreams.get(provider, "") if isinstance(provider, str) else ""
    model = name.removeprefix(f"{provider}/") if upstream else name
    values: dict[str, Any] = {"model": model, "upstream": upstream, "currency": defaults.currency}
    values |= {"valid_from": defaults.valid_from, "input": Decimal(0), "output": Decimal(0)}
    problems = []
    for ours, theirs in LITELLM.items():
        if config.get(theirs) is not None:
            try:
                values[ours] = _per_million(config[theirs])
            except ValueError as error:
                problems.append(Problem(name, theirs, str(error)))
    values["max_output_tokens"] = config.get("max_output_tokens")
    found.with_more_prices += any("_above_" in key for key in config)
    found.problems += problems
    if not problems:
        _add(found, name, values, LITELLM)


def _per_million(price: Any) -> Decimal:
    """Return the price of a million tokens from that of one, to six places: the file's numbers were binary once."""
    if isinstance(price, bool) or not isinstance(price, (int, Decimal, str)):
        raise ValueError("must be a number")
    try:
        return (Decimal(price) * MILLION).quantize(PLACES, ROUND_HALF_UP)
    except ArithmeticError:
        raise ValueError("must be a number that is not too large") from None


def _add(found: PriceFile, place: str, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Add a price, or what is wrong with it; `names` are the file's names of its columns."""
    price = ModelPrice(**values)
    problems = [Problem(place, names.get(column, column), reason) for column, reason in _wrong_values(price)]
    found.problems += problems
    if not problems:
        found.prices.append((place, price))


def _wrong_values(price: ModelPrice) -> Iterator[tuple[str, str]]:
    for name in ("model", "upstream"):
        if not getattr(price, name).isprintable():
            yield name, "contains characters that cannot be shown"
    try:
        price.clean_fields()
    except ValidationError as error:
        for column, reasons in error.message_dict.items():
            yield column, " ".join(reasons)


def _leave_out_second_names(found: PriceFile) -> None:
    """Keep one price of a model that the file has with its provider's prefix and without: the latter."""
    prices: dict[tuple[str, str], tuple[str, ModelPrice]] = {}
    for place, price in found.prices:
        key = (price.model, price.upstream)
        if key not in prices or place == price.model:
            prices[key] = place, price
    found.prices = list(prices.values())


def _report_repeated(found: PriceFile) -> None:
    seen: dict[tuple[str, str, dt.datetime], str] = {}
    for place, price in found.prices:
        first = seen.setdefault((price.model, price.upstream, price.valid_from), place)
        if first != place:
            reason = f"has the same model, upstream and valid_from as {first}"
            found.problems.append(Problem(place, "model", reason))
