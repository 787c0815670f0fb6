"""The dialect's document is OpenAI's own, and whatever is not is said with a reason."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

from django.core.management import CommandError, call_command
from django.test import SimpleTestCase

from chatservice.dialects.openai_v1.reference.additions import ADDRESSES
from chatservice.dialects.openai_v1.reference.discriminators import with_mappings
from chatservice.dialects.openai_v1.reference.source import (
    as_3_1,
    changes,
    document,
    properties_at,
    schemas,
    with_names,
)
from chatservice.docs import schema_of
from chatservice.openapi_coverage import Coverage, Difference, compare, not_served, score

GOAL = 98


def report() -> dict[str, Any]:
    out = io.StringIO()
    call_command("openai_coverage", "--json", stdout=out)
    read: dict[str, Any] = json.loads(out.getvalue())
    return read


class CoverageTest(SimpleTestCase):
    def test_the_document_has_nearly_all_that_openai_documents(self) -> None:
        self.assertGreaterEqual(report()["score"], GOAL)

    def test_every_difference_has_a_reason_and_every_reason_a_difference(self) -> None:
        differences = [each for operation in report()["operations"] for each in operation["differences"]]
        self.assertEqual([each for each in differences if not each["reason"]], [])
        self.assertLessEqual({each.reason for each in changes()}, {each["reason"] for each in differences})

    def test_the_command_prints_the_score_and_the_differences_and_fails_below_the_minimum(self) -> None:
        out = io.StringIO()
        call_command("openai_coverage", f"--min={GOAL}", stdout=out)
        self.assertIn("POST /v1/chat/completions", out.getvalue())
        self.assertIn("request.store: default true instead of false (on purpose: ", out.getvalue())
        with self.assertRaises(CommandError) as raised:
            call_command("openai_coverage", "--min=100", stdout=io.StringIO())
        self.assertEqual(raised.exception.returncode, 1)

    def test_openais_document_is_as_good_as_itself(self) -> None:
        itself = list(compare(document(), document(), prefix=""))
        self.assertEqual((len(itself), score(itself)), (30, 100.0))
        self.assertGreater(sum(each.properties for each in itself), 7_000)

    def test_no_reference_leads_nowhere(self) -> None:
        text = json.dumps(schema_of("openai_v1"))
        self.assertNotIn("nullable", text)
        for name in set(text.split("#/components/schemas/")[1:]):
            self.assertIn(name.partition('"')[0], schema_of("openai_v1")["components"]["schemas"])

    def test_a_schema_becomes_one_of_openapi_3_1(self) -> None:
        for theirs, ours in (
            ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
            ({"type": "string", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
            ({"$ref": "#/x", "nullable": True}, {"anyOf": [{"$ref": "#/x"}, {"type": "null"}]}),
            ({"oneOf": [{"type": "string"}], "nullable": True}, {"oneOf": [{"type": "string"}, {"type": "null"}]}),
            ({"properties": {"nullable": {"type": "boolean"}}}, {"properties": {"nullable": {"type": "boolean"}}}),
            ({"default": {"nullable": True}}, {"default": {"nullable": True}}),
        ):
            self.assertEqual(as_3_1(theirs), ours)

    def test_a_schema_that_refers_to_itself_is_named(self) -> None:
        recursive = {"$recursiveAnchor": True, "properties": {"a": {"items": {"$recursiveRef": "#"}}}}
        named = {"properties": {"a": {"items": {"$ref": "#/components/schemas/Me"}}}}
        self.assertEqual(with_names(recursive, "Me"), named)
        self.assertNotIn("$recursive", json.dumps(document()))

    def test_a_discriminator_names_the_alternative_of_each_value_or_is_left_out(self) -> None:
        a = {"properties": {"type": {"enum": ["a"]}}}
        components = {"A": a, "AllOfA": {"allOf": [{"$ref": "#/x/A"}]}, "B": {"properties": {"type": {"enum": ["b"]}}}}
        told, null = {"propertyName": "type"}, {"type": "null"}
        union = [{"$ref": "#/x/AllOfA"}, {"$ref": "#/x/B"}, null]
        made = with_mappings({"items": {"oneOf": union, "discriminator": told}}, components)
        self.assertEqual(made["items"]["discriminator"]["mapping"], {"a": "#/x/AllOfA", "b": "#/x/B"})
        for unclear in ([*union, a], [*union, {"$ref": "#/x/A"}], [{"$ref": "#/x/A"}, {"properties": {}}], [null]):
            self.assertNotIn("discriminator", with_mappings({"anyOf": unclear, "discriminator": told}, components))
        named = {"properties": {"discriminator": {"type": "string"}}}
        self.assertEqual(with_mappings(named, components), named)

    def test_a_change_is_found_in_parts_and_lists_and_ours_has_it(self) -> None:
        inner = {"type": "string"}
        shape = {"allOf": [{"properties": {"a": {"anyOf": [{"items": {"properties": {"b": inner}}}]}}}]}
        self.assertEqual(list(properties_at(shape, "a.b")), [inner])
        self.assertEqual(list(properties_at(shape, "b")), [])
        request = schemas()["CreateChatCompletionRequest"]
        self.assertEqual([each["default"] for each in properties_at(request, "store")], [True])
        self.assertIn("recall", request["allOf"][1]["properties"])
        self.assertNotIn("recall", json.dumps(document()))
        for name, address in ADDRESSES.items():
            self.assertNotIn("format", json.dumps(schemas()[name]["properties"][address]))


class ComparisonTest(SimpleTestCase):
    """Each way in which a document can differ from another one is found, and counted once."""

    def compared(self, theirs: Any, ours: Any) -> Coverage:
        [coverage] = compare(self.document_of(theirs), self.document_of(ours), prefix="")
        return coverage

    def document_of(self, schema: Any) -> dict[str, Any]:
        content = {"application/json": {"schema": schema}}
        component = {"type": "object", "properties": {"x": {"type": "string"}}}
        parameter = {"in": "query", "name": "limit", "schema": {"type": "integer"}}
        operation = {"parameters": [parameter], "requestBody": {"content": content}, "responses": {}}
        return {"paths": {"/a/{id}": {"post": operation}}, "components": {"schemas": {"X": component}}}

    def assert_differs(self, theirs: Any, ours: Any, what: str, where: str = "request.a") -> None:
        coverage = self.compared({"properties": {"a": theirs}}, {"properties": {"a": ours}} if ours else {})
        self.assertEqual([each.where for each in coverage.differences], [where])
        self.assertIn(what, coverage.differences[0].what)

    def test_what_differs_is_found(self) -> None:
        text, number, ref = {"type": "string"}, {"type": "number"}, {"$ref": "#/components/schemas/X"}
        self.assert_differs(text, None, "missing")
        self.assert_differs(text, number, 'without {"type": ["string"]}; with {"type": ["number"]}')
        self.assert_differs({"enum": ["a", "b"]}, {"enum": ["a"]}, 'without {"enum": ["a", "b"]}')
        self.assert_differs({"const": "a"}, {"const": "b"}, 'with {"enum": ["b"]}')
        self.assert_differs({**text, "default": "a"}, text, 'default null instead of "a"')
        self.assert_differs(text, {"anyOf": [text, {"type": "null"}]}, "may be null")
        self.assert_differs({**text, "nullable": True}, text, "may not be null")
        self.assert_differs({"anyOf": [text, number]}, text, 'without {"type": ["number"]}')
        self.assert_differs(text, {"oneOf": [text, number]}, 'with {"type": ["number"]}')
        self.assert_differs({"type": "array", "items": text}, {"type": "array", "items": number}, "items")
        nested = {"type": "object", "properties": {"b": text}}
        self.assert_differs(nested, {"type": "object", "properties": {"b": number}}, "number", "request.a.b")
        self.assert_differs(
            {"type": "array", "items": ref}, {"type": "array", "items": nested}, "missing", "request.a.x"
        )

    def test_what_is_only_written_differently_is_the_same(self) -> None:
        text, ref = {"type": "string"}, {"$ref": "#/components/schemas/X"}
        inline = {"properties": {"x": text}, "type": "object"}
        for theirs, ours in (
            ({**text, "nullable": True}, {"type": ["string", "null"]}),
            ({"anyOf": [text, {"type": "null"}]}, {"type": ["null", "string"]}),
            ({"enum": ["a"], "type": "string"}, {"const": "a", "type": "string"}),
            (ref, inline),
            ({"allOf": [ref]}, {"$ref": "#/components/schemas/X"}),
            ({"oneOf": [ref, text]}, {"anyOf": [text, inline]}),
            (text, {**text, "description": "said", "maxLength": 5}),
        ):
            coverage = self.compared({"properties": {"a": theirs}}, {"properties": {"a": ours, "b": text}})
            self.assertEqual(coverage.differences, [], theirs)
            self.assertEqual(coverage.score, 100.0)

    def test_what_is_inside_a_missing_property_is_missing_too(self) -> None:
        coverage = self.compared({"properties": {"a": {"$ref": "#/components/schemas/X"}}}, {})
        self.assertEqual(
            coverage.differences,
            [
                Difference("request.a", "missing", "", "a"),
                Difference("request.a.x", "missing", "X", "x"),
            ],
        )
        self.assertEqual((coverage.properties, round(coverage.score, 1)), (3, 33.3))

    def test_parameters_are_compared_and_operations_that_are_not_served_are_named(self) -> None:
        theirs, ours = self.document_of({}), self.document_of({})
        ours["paths"] = {"/v1/a/{its_id}": copy.deepcopy(ours["paths"]["/a/{id}"])}
        ours["paths"]["/v1/a/{its_id}"]["post"]["parameters"][0]["schema"] = {"type": "string"}
        [coverage] = compare(theirs, ours, prefix="/v1")
        self.assertEqual([each.where for each in coverage.differences], ["parameter limit"])
        ours["paths"]["/v1/a/{its_id}"]["post"]["parameters"] = []
        [coverage] = compare(theirs, ours, prefix="/v1")
        self.assertEqual([each.what for each in coverage.differences], ["missing"])
        self.assertEqual(not_served(theirs, ours, prefix="/v1"), [])
        self.assertEqual(not_served(theirs, {"paths": {}}, prefix="/v1"), ["POST /v1/a/{id}"])
