# langchain-e2b==0.0.6
# SPDX-License-Identifier: Apache-2.0
"""A deep agent whose model is a script: its files are in a sandbox, and its commands run there."""

from deepagents import create_deep_agent
from e2b import Sandbox
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_e2b import E2BSandbox

FILE = "/home/user/work/sum.py"
CALLS = [
    ("write_file", {"file_path": FILE, "content": "import sys\nprint(sum(map(int, sys.argv[1:])))\n"}),
    ("execute", {"command": f"python3 {FILE} 40 1; id -un"}),
    ("edit_file", {"file_path": FILE, "old_string": "sum(map", "new_string": "1 + sum(map"}),
    ("execute", {"command": f"python3 {FILE} 40 1; exit 3"}),
    ("read_file", {"file_path": FILE}),
    ("ls", {"path": "/home/user/work"}),
    ("grep", {"pattern": "argv", "path": "/home/user"}),
    ("glob", {"pattern": "**/*.py", "path": "/home/user"}),
]
SEEN = [FILE, "41\nuser", FILE, "42", "print(1 + sum(map", FILE, FILE, "work/sum.py"]


class Script(GenericFakeChatModel):
    def bind_tools(self, tools, **options):
        return self


calls = [{"name": name, "args": arguments, "id": str(n)} for n, (name, arguments) in enumerate(CALLS)]
said = [AIMessage(content="", tool_calls=[call]) for call in calls]
sandbox = Sandbox.create(timeout=1800, request_timeout=300)
try:
    backend = E2BSandbox(sandbox=sandbox)
    agent = create_deep_agent(model=Script(messages=iter([*said, AIMessage(content="done")])), backend=backend)
    answer = agent.invoke({"messages": [("user", "Add.")]}, {"recursion_limit": 100})
    heard = [str(message.content) for message in answer["messages"] if message.type == "tool"]
    assert len(heard) == len(SEEN), heard
    for (name, _), expected, result in zip(CALLS, SEEN, heard):
        assert expected in result, (name, result)
    assert "3" in heard[3].replace("42", ""), heard[3]  # the exit status
    assert answer["messages"][-1].content == "done"
    [upload] = backend.upload_files([("/home/user/bytes", bytes(range(256)))])
    [download] = backend.download_files(["/home/user/bytes"])
    assert (upload.error, download.content) == (None, bytes(range(256))), (upload, download)
finally:
    sandbox.kill()
