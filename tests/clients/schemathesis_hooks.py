"""Leads requests to what is there: made up tags and ids alone would find nothing but 404."""

import json
import os
import random
import re
import urllib.error
import urllib.request

import schemathesis

TAG = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
SNAPSHOT = "py"
KERNEL = os.environ["XDG_DATA_HOME"] + "/agent.elf"
ROOTFS = os.environ["XDG_DATA_HOME"] + "/disk.ext4"
METHODS = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE".split()  # of OpenAPI 3.1
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
        try:
            ask("DELETE", "/v1/sandboxes/" + ids.pop())
        except urllib.error.HTTPError as e:
            if e.code != 404:  # its time was over
                raise
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
    if "/ports/" in path and case.method not in METHODS:
        case.method = "TRACE"  # a relay takes methods that OpenAPI 3.1 has no word for; this one is none's
    if "id" in parameters and chance.random() < 0.8:
        parameters["id"] = sandbox()
    if path.endswith("/logs") and case.query and str(case.query.get("follow")).lower() == "true":
        del case.query["follow"]  # it does not end
    if case.method == "DELETE" and needed(parameters.get("tag")):
        parameters["tag"] = "none"
    if path.endswith(("/compact", "/info")) and is_tag(parameters.get("tag")) and chance.random() < 0.5:
        parameters["tag"] = SNAPSHOT
    if "name" in parameters and chance.random() < 0.5:
        names = [each["name"] for each in ask("GET", "/v1/workspaces")]
        parameters["name"] = chance.choice(names or ["none"])
    if isinstance(body, dict):
        # What this machine may not have is a failure: network namespaces, cgroups, memory for a limit that is small.
        if is_tag(body.get("snapshot_tag")) or is_tag(body.get("tag")):
            for limit in ("memory_limit_mib", "cpus", "pids_limit", "io_bps", "io_iops"):
                if type(body.get(limit)) in (int, float) and body[limit] > 0:
                    del body[limit]
        if path == "/v1/snapshots" and is_tag(body.get("tag")) and isinstance(body.get("tap"), str | None):
            body.update(tap=None, kernel=KERNEL, rootfs=ROOTFS)
            body.pop("image", None)  # which would be looked up in the internet
            if type(body.get("memory_mib")) is int and 64 <= body["memory_mib"] <= 16 << 20:
                body["memory_mib"] = 64
            if type(body.get("boot_wait_secs")) is int and 0 <= body["boot_wait_secs"] <= 86400:
                body["boot_wait_secs"] = 60
        if is_tag(body.get("snapshot_tag")) and chance.random() < 0.8:
            body["snapshot_tag"] = SNAPSHOT
            if body.get("per_child_netns") is True:
                body["per_child_netns"] = False
            if type(body.get("n")) is int and 0 < body["n"] <= 1000:
                body["n"] = min(body["n"], MOST)
