# SPDX-License-Identifier: Apache-2.0
"""The SDK, the daemon's OpenAPI document, and the published SDK. Runs last: it holds what all tests have asked."""

import importlib.util
import inspect
import json
import os
import pathlib
import re
import sys
import unittest

import forkd
import recorder

DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "java/io/forkd/daemon/openapi.json"
NOT_OF_A_DAEMON = {"/elsewhere", "/v1/version"}  # what tests ask for all the same
LEFT_OUT = {
    ("GET", "/healthz/"),  # the same as without the slash
    ("GET", "/v1/sandboxes/{id}/guest"),  # the command line's, for what other routes do for everybody
}
OLDER = {("POST", "/v1/sandboxes/{id}/branch"): {"live"}}  # than mode


def pattern(template):
    """What a path of it looks like; the last part of a port's path has slashes."""
    escaped = re.escape(template).replace(r"\{path\}", ".*")
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", escaped))


class DocumentTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        document = json.loads(DOCUMENT.read_text())
        schemas = document["components"]["schemas"]
        cls.routes = {}
        for template, item in document["paths"].items():
            for method, operation in item.items():
                body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
                body = schemas[body["$ref"].rpartition("/")[2]] if "$ref" in body else body
                parameters = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}
                cls.routes[method.upper(), template] = (pattern(template), parameters, set(body.get("properties", {})))

    def matching(self, asked):
        return [
            route
            for route, (path, _, _) in self.routes.items()
            if route[0] == asked.method and path.fullmatch(asked.path) is not None
        ]

    def test_every_route_is_asked_with_all_that_it_takes(self):
        for route, (path, parameters, fields) in self.routes.items():
            if route in LEFT_OUT:
                continue
            with self.subTest(route):
                calls = [one for one in recorder.asked if one.method == route[0] and path.fullmatch(one.path)]
                self.assertTrue(calls, "the SDK does not ask for it")
                if "{path}" in route[1]:
                    continue  # The guest's.
                self.assertEqual(set().union(*(one.parameters for one in calls)), parameters)
                self.assertEqual(set().union(*(one.fields for one in calls)), fields - OLDER.get(route, set()))

    def test_nothing_is_asked_that_the_document_lacks(self):
        lacking = {(one.method, one.path) for one in recorder.asked if not self.matching(one)}
        self.assertEqual({path for _, path in lacking} - NOT_OF_A_DAEMON, set())


class PublishedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        where = pathlib.Path(os.environ["FORKD_PUBLISHED"], "forkd/__init__.py")
        spec = importlib.util.spec_from_file_location(
            "published", where, submodule_search_locations=[str(where.parent)]
        )
        cls.published = importlib.util.module_from_spec(spec)
        sys.modules["published"] = cls.published
        spec.loader.exec_module(cls.published)

    def test_every_name_is_there(self):
        self.assertLessEqual(set(self.published.__all__), set(forkd.__all__))
        self.assertTrue(issubclass(forkd.ControllerError, RuntimeError))

    def test_every_method_takes_what_it_took(self):
        for kind in ("Controller", "ControllerError", "Sandbox", "CommandResult"):
            theirs, ours = getattr(self.published, kind), getattr(forkd, kind)
            for name, method in inspect.getmembers(theirs, callable):
                if name not in vars(theirs) or (name.startswith("_") and name != "__init__"):
                    continue
                with self.subTest(f"{kind}.{name}"):
                    before = list(inspect.signature(method).parameters.values())
                    after = list(inspect.signature(getattr(ours, name)).parameters.values())
                    self.assertEqual(
                        [(one.name, one.default, one.kind) for one in before],
                        [(one.name, one.default, one.kind) for one in after[: len(before)]],
                    )

    def test_both_clients_have_the_same_methods(self):
        def public(kind):
            return {
                name: list(inspect.signature(method).parameters.values())
                for name, method in inspect.getmembers(kind, callable)
                if not name.startswith("_")
            }

        ours, others = public(forkd.Controller), public(forkd.AsyncController)
        self.assertEqual(set(ours), set(others))
