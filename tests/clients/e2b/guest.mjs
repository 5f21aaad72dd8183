// SPDX-License-Identifier: Apache-2.0
// What E2B's SDK for JavaScript asks of a code interpreter in a real guest: tests/clients/e2b/guest.
import assert from 'node:assert/strict';
import { NotFoundError, Sandbox } from '@e2b/code-interpreter';

const slow = { requestTimeoutMs: 300_000, timeoutMs: 300_000 };
const sandbox = await Sandbox.create({ timeoutMs: 1_800_000, requestTimeoutMs: 300_000, envs: { OF_SANDBOX: 'one' } });
try {
  const heard = [];
  const onStdout = (message) => heard.push(message.line);
  const first = await sandbox.runCode("import os\nprint(os.environ['OF_SANDBOX'])\nx = 41\nx + 1", { ...slow, onStdout });
  assert.deepEqual([first.text, heard.join('')], ['42', 'one\n']);

  const plot = await sandbox.runCode("import matplotlib.pyplot as plt\nplt.bar(['a'], [1])\nplt.show()", slow);
  assert.equal(plot.results[0].chart.type, 'bar');
  assert.ok(plot.results[0].png.length > 1000);

  const { error } = await sandbox.runCode('1 / 0', slow);
  assert.equal(error.name, 'ZeroDivisionError');

  const context = await sandbox.createCodeContext({ cwd: '/usr', language: 'bash', requestTimeoutMs: 300_000 });
  assert.equal((await sandbox.runCode('pwd; echo $OF_SANDBOX', { ...slow, context })).logs.stdout.join(''), '/usr\none\n');
  await sandbox.removeCodeContext(context);
  await assert.rejects(sandbox.runCode('pwd', { context }), NotFoundError);

  const [child] = await sandbox.fork({ count: 1, timeoutMs: 1_800_000, requestTimeoutMs: 300_000 });
  assert.equal((await child.runCode('x', slow)).text, '41');
  await child.kill();
} finally {
  await sandbox.kill();
}
process.exit(); // The SDK leaves timers of its calls.
