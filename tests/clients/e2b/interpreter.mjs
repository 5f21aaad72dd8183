// SPDX-License-Identifier: Apache-2.0
// What E2B's SDK for JavaScript asks of a code interpreter, on one that listens at port 49999.
import assert from 'node:assert/strict';
import { NotFoundError, Sandbox, TimeoutError } from '@e2b/code-interpreter';

const sandbox = await Sandbox.create();
const kernel = process.env.INTERPRETER_KERNEL;
let failed = false;

async function test(name, body) {
  try {
    await body();
    console.log(`ok: JavaScript SDK, ${name}, ${kernel}`);
  } catch (error) {
    console.log(error);
    console.log(`FAILED: JavaScript SDK, ${name}, ${kernel}`);
    failed = true;
  }
}

await test('results, outputs and state', async () => {
  await sandbox.runCode('x = 41');
  const heard = [];
  const execution = await sandbox.runCode("print('out')\nx + 1", { onStdout: (message) => heard.push(message.line) });
  assert.equal(execution.text, '42');
  assert.equal(heard.join(''), 'out\n');
  assert.equal(execution.results[0].isMainResult, true);
  assert.ok(execution.executionCount > 0);
});

await test('charts and frames', async () => {
  const plot = await sandbox.runCode("import matplotlib.pyplot as plt\nplt.bar(['a'], [1])\nplt.show()");
  assert.equal(plot.results[0].chart.type, 'bar');
  assert.ok(plot.results[0].png.length > 1000);
  const frame = await sandbox.runCode("import pandas\npandas.DataFrame({'a': [1]})");
  assert.deepEqual(frame.results[0].data, { a: [1] });
});

await test('errors', async () => {
  const { error } = await sandbox.runCode('1 / 0', { envs: { A: 'b' } });
  assert.equal(error.name, 'ZeroDivisionError');
  assert.match(error.traceback, /1 \/ 0/);
});

await test('contexts and languages', async () => {
  const context = await sandbox.createCodeContext({ cwd: '/usr', language: 'bash' });
  assert.equal((await sandbox.runCode('pwd', { context })).logs.stdout.join(''), '/usr\n');
  assert.ok((await sandbox.listCodeContexts()).some((one) => one.id === context.id));
  await sandbox.restartCodeContext(context);
  await sandbox.removeCodeContext(context);
  await assert.rejects(sandbox.runCode('pwd', { context }), NotFoundError);
  assert.equal((await sandbox.runCode('1 + 1', { language: 'javascript' })).text, '2');
});

await test('an interrupt', async () => {
  await sandbox.runCode('x = 41');
  await assert.rejects(sandbox.runCode('import time; time.sleep(100)', { timeoutMs: 1000 }), TimeoutError);
  assert.equal((await sandbox.runCode('x')).text, '41');
});

process.exit(failed ? 1 : 0);
