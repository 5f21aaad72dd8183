# openai-agents[e2b]==0.24.0
# SPDX-License-Identifier: Apache-2.0
"""A sandbox agent whose model is a script: its workspace is in a sandbox, where its commands run."""

import asyncio
import json

from agents import Model, ModelResponse, RunConfig, Runner, set_tracing_disabled
from agents.extensions.sandbox.e2b import E2BSandboxClient, E2BSandboxClientOptions, E2BSandboxTimeouts
from agents.sandbox import Manifest, SandboxAgent, SandboxRunConfig
from agents.sandbox.entries import File
from agents.usage import Usage
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

WAIT = 60_000  # milliseconds, in an emulated guest
COMMANDS = [
    "cat given.txt; pwd; echo made >made.txt; echo $OF_SANDBOX",
    "cat made.txt; python3 -c 'print(6 * 7)'; exit 3",
]
SEEN = [["given\n", "/workspace", "one"], ["made", "42", "exited with code 3"]]


class Script(Model):
    def __init__(self):
        self.heard = []
        self.step = 0

    async def get_response(self, system_instructions, input, *others, **more):
        self.heard = [item["output"] for item in input if item.get("type") == "function_call_output"]
        if self.step < len(COMMANDS):
            arguments = json.dumps({"cmd": COMMANDS[self.step], "yield_time_ms": WAIT})
            call = {"name": "exec_command", "arguments": arguments, "call_id": f"call-{self.step}"}
            output = ResponseFunctionToolCall(type="function_call", **call)
        else:
            text = ResponseOutputText(type="output_text", text="done", annotations=[])
            output = ResponseOutputMessage(
                id="message", type="message", role="assistant", status="completed", content=[text]
            )
        self.step += 1
        return ModelResponse(output=[output], usage=Usage(), response_id=None)

    def stream_response(self, *arguments, **more):
        raise NotImplementedError


async def main():
    set_tracing_disabled(True)
    client = E2BSandboxClient()
    slow = E2BSandboxTimeouts(fast_op_s=120, keepalive_s=60, cleanup_s=120, file_upload_s=120, snapshot_tar_s=300)
    options = E2BSandboxClientOptions(sandbox_type="e2b", timeout=1800, envs={"OF_SANDBOX": "one"}, timeouts=slow)
    model = Script()
    agent = SandboxAgent(name="worker", model=model, instructions="Work.")
    session = await client.create(manifest=Manifest(entries={"given.txt": File(content=b"given\n")}), options=options)
    async with session:
        done = await Runner.run(agent, "Work.", run_config=RunConfig(sandbox=SandboxRunConfig(session=session)))
        assert done.final_output == "done"
        for expected, result in zip(SEEN, model.heard, strict=True):
            for each in expected:
                assert each in result, (each, result)
        left = await session.read("made.txt")
        assert left.read() == b"made\n"


asyncio.run(main())
