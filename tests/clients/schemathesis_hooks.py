"""Leads requests to what is there: made up tags and ids alone would find nothing but 404."""

import json
import os
import random
import re
import urllib.request

import schemathesis

TAG = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
SNAPSHOT = "py"
KERNEL = os.environ["XDG_DATA_HOME"] + "/agent.elf"
ROOTFS = os.environ["XDG_DATA_HOME"] + "/disk.ext4"
KEPT = 2
MOST = 2
chance = random.Random(1)


def ask(method, path, body=None):
    request = urllib.request.Request(
        os.environ["FORKD_URL"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + os.environ["FORKD_TOKEN"], "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def sandbox():
    """One that lives; there are never many."""
    ids = [each["id"] for each in ask("GET", "/v1/sandboxes")]
    for _ in range(len(ids) - 10 * KEPT):
        ask("DELETE", "/v1/sandboxes/" + ids.pop())
    if len(ids) < KEPT:
        ids += [each["id"] for each in ask("POST", "/v1/sandboxes", {"snapshot_tag": SNAPSHOT, "n": KEPT})]
    return chance.choice(ids)


def is_tag(value):
    return isinstance(value, str) and TAG.fullmatch(value) is not None


def needed(tag):
    """By what the others are asked for, and by workspaces that sleep."""
    return tag == SNAPSHOT or re.fullmatch("ws-.*-state", str(tag)) is not None


@schemathesis.hook
def before_call(context, case, **kwargs):
    path, parameters, body = case.operation.path, case.path_parameters, case.body
    if "id" in parameters and chance.random() < 0.8:
        parameters["id"] = sandbox()
    if case.method == "DELETE" and needed(parameters.get("tag")):
        parameters["tag"] = "none"
    if path.endswith(("/compact", "/info")) and is_tag(parameters.get("tag")) and chance.random() < 0.5:
        parameters["tag"] = SNAPSHOT
    if "name" in parameters and chance.random() < 0.5:
        names = [each["name"] for each in ask("GET", "/v1/workspaces")]
        parameters["name"] = chance.choice(names or ["none"])
    if isinstance(body, dict):
        if path == "/v1/snapshots" and is_tag(body.get("tag")) and isinstance(body.get("tap"), str | None):
            body.update(tap=None, kernel=KERNEL, rootfs=ROOTFS)
            if type(body.get("boot_wait_secs")) is int and 0 <= body["boot_wait_secs"] <= 60:
                body["boot_wait_secs"] = 60
        if is_tag(body.get("snapshot_tag")) and chance.random() < 0.8:
            body["snapshot_tag"] = SNAPSHOT
            # What this machine may not have is a failure: network namespaces, memory for a limit that is small.
            if body.get("per_child_netns") is True:
                body["per_child_netns"] = False
            if type(body.get("memory_limit_mib")) is int and body["memory_limit_mib"] > 0:
                body["memory_limit_mib"] = None
            if type(body.get("n")) is int and 0 < body["n"] <= 1000:
                body["n"] = min(body["n"], MOST)
