# SPDX-License-Identifier: Apache-2.0
"""Every tool of forkd-mcp, as published, over stdio, against the daemon at FORKD_URL."""

import os
import sys
import unittest

import forkd
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

TAG = os.environ["FORKD_TAG"]
MEMORY_LIMITS = os.environ["FORKD_MEMORY_LIMITS"] == "yes"
OWN = f"mcp-{os.getpid()}-"  # no tool removes a snapshot
TOOLS = {
    "list_snapshots", "create_snapshot", "spawn_sandboxes", "branch_sandbox", "list_sandboxes", "get_sandbox",
    "exec_command", "eval_code", "ping_sandbox", "kill_sandbox", "wait_for_text",
}


class McpTest(unittest.IsolatedAsyncioTestCase):
    async def test_every_tool(self):
        server = StdioServerParameters(
            command=os.path.join(os.path.dirname(sys.executable), "forkd-mcp"), env=dict(os.environ))
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            self.session = session
            listed = await session.list_tools()
            self.assertEqual({tool.name for tool in listed.tools}, TOOLS)
            await self.sandboxes()
            await self.branches()
            await self.snapshots()
            await self.failures()

    async def call(self, tool, **arguments):
        """Its result; a list comes in an object."""
        answer = await self.session.call_tool(tool, arguments)
        texts = [content.text for content in answer.content]
        self.assertFalse(answer.isError, texts)
        structured = answer.structuredContent
        return structured["result"] if structured.keys() == {"result"} else structured

    async def refused(self, status, tool, **arguments):
        answer = await self.session.call_tool(tool, arguments)
        self.assertTrue(answer.isError)
        self.assertIn(str(status), answer.content[0].text)

    async def spawn(self, **arguments):
        """The tool asks for a memory limit each time, which is refused where the host has none to give."""
        if MEMORY_LIMITS:
            return await self.call("spawn_sandboxes", **arguments)
        await self.refused(500, "spawn_sandboxes", **arguments)
        return forkd.Controller().spawn_sandboxes(**arguments)

    async def sandboxes(self):
        made = await self.spawn(snapshot_tag=TAG, n=2, prewarm=True, live_fork=True)
        self.assertEqual(len(made), 2)
        self.assertEqual(made[0]["memory_limit_mib"], 256 if MEMORY_LIMITS else None)
        sandbox = made[0]["id"]
        ids = [one["id"] for one in await self.call("list_sandboxes")]
        self.assertLessEqual({one["id"] for one in made}, set(ids))
        self.assertEqual((await self.call("get_sandbox", sandbox_id=sandbox))["id"], sandbox)
        self.assertIs((await self.call("ping_sandbox", sandbox_id=sandbox))["pong"], True)
        self.assertEqual(
            await self.call("exec_command", sandbox_id=sandbox, args=["sh", "-c", "echo hi; exit 3"]),
            {"stdout": "hi\n", "stderr": "", "exit_code": 3})
        self.assertEqual((await self.call("eval_code", sandbox_id=sandbox, code="6 * 7"))["result"], "42")

        await self.call("exec_command", sandbox_id=sandbox, args=["sh", "-c", "echo READY_TO_BRANCH > log"])
        found = await self.call("wait_for_text", sandbox_id=sandbox, path="log", marker="READY_TO_BRANCH")
        self.assertIs(found["found"], True)
        self.assertIn("READY_TO_BRANCH", found["last_excerpt"])
        found = await self.call("wait_for_text", sandbox_id=sandbox, path="nosuch", marker="x", timeout_secs=1)
        self.assertIs(found["found"], False)

        for one in made:
            self.assertEqual(
                await self.call("kill_sandbox", sandbox_id=one["id"]), {"id": one["id"], "killed": True})

    async def branches(self):
        [source] = await self.spawn(snapshot_tag=TAG, live_fork=True)
        for options in ({}, {"tag": OWN + "diff", "diff": True}, {"measure_diff": True}, {"mode": "full"}, {"mode": "live"},
                        {"tag": OWN + "late", "mode": "live", "wait": False}):
            branch = await self.call("branch_sandbox", sandbox_id=source["id"], **options)
            self.assertEqual(branch["branched_from"], source["id"])
            self.assertEqual(branch["status"], "writing" if options.get("wait") is False else "ready")
            [child] = await self.spawn(snapshot_tag=branch["tag"])
            await self.call("kill_sandbox", sandbox_id=child["id"])
        tags = [snapshot["tag"] for snapshot in await self.call("list_snapshots")]
        self.assertLessEqual({TAG, OWN + "diff", OWN + "late"}, set(tags))
        await self.call("kill_sandbox", sandbox_id=source["id"])

    async def snapshots(self):
        made = await self.call(
            "create_snapshot", tag=OWN + "made", kernel=os.environ["FORKD_KERNEL"], rootfs=os.environ["FORKD_ROOTFS"],
            boot_wait_secs=30)
        self.assertEqual((made["tag"], made["status"], made["bootable"]), (OWN + "made", "ready", True))
        [child] = await self.spawn(snapshot_tag=OWN + "made")
        self.assertIs((await self.call("ping_sandbox", sandbox_id=child["id"]))["pong"], True)
        await self.call("kill_sandbox", sandbox_id=child["id"])

    async def failures(self):
        await self.refused(404, "kill_sandbox", sandbox_id="sb-0-0000")
        await self.refused(404, "spawn_sandboxes", snapshot_tag="nosuch")
        await self.refused(400, "create_snapshot", tag=OWN + "made", kernel="/nosuch", rootfs="/nosuch")


if __name__ == "__main__":
    unittest.main()
