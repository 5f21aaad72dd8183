# smolagents[e2b]==1.26.0
# SPDX-License-Identifier: Apache-2.0
"""An agent whose model is a script: its code runs in a sandbox, with a tool and what an earlier step left."""

from smolagents import CodeAgent, tool
from smolagents.models import ChatMessage, MessageRole, Model

STEPS = [
    "import pandas, platform\nkept = pandas.DataFrame({'a': [twice(20)]})\nprint(platform.system(), kept.a[0])",
    "nothing_of_that_name",
    "final_answer({'sum': int(kept.a[0]) + offset})",
]


@tool
def twice(number: int) -> int:
    """Doubles.

    Args:
        number: what is doubled
    """
    return 2 * number


class Script(Model):
    def __init__(self):
        super().__init__(model_id="script")
        self.heard = []

    def generate(self, messages, **options):
        self.heard.append(str(messages[-1].content))
        code = STEPS[len(self.heard) - 1]
        return ChatMessage(role=MessageRole.ASSISTANT, content=f"Thought: so.\n<code>\n{code}\n</code>")


model = Script()
with CodeAgent(tools=[twice], model=model, executor_type="e2b", additional_authorized_imports=[]) as agent:
    answer = agent.run("What is it?", additional_args={"offset": 2})
assert answer == {"sum": 42}, answer
assert "Linux 40" in model.heard[1], model.heard[1]
assert "NameError" in model.heard[2], model.heard[2]
