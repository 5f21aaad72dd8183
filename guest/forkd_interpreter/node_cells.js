// SPDX-License-Identifier: Apache-2.0
// JavaScript's kernel: node node_cells.js CONTROL, a socket with a JSON object a line in both directions: a cell in;
// results, errors and the end out. A cell is evaluated as at node's prompt, so await is allowed, and its last
// expression is its result.
'use strict';
const fs = require('fs');
const { createRequire } = require('module');
const net = require('net');
const { PassThrough } = require('stream');
const { inspect } = require('util');
const repl = require('repl');

const control = new net.Socket({ fd: Number(process.argv[2]) });
const say = (message) => control.write(JSON.stringify(message) + '\n');
const types = { html: 'text/html', markdown: 'text/markdown', svg: 'image/svg+xml', png: 'image/png', json: 'application/json' };

const prompt = repl.start({
  prompt: '', input: new PassThrough(), output: new PassThrough(), useGlobal: true, breakEvalOnSigint: true,
  ignoreUndefined: true,
});
globalThis.require = createRequire(process.cwd() + '/');
// { html: '...' } and the like, with nothing else in it, is shown as that; everything else as its text.
globalThis.display = (value) => say({ type: 'result', is_main_result: false, bundle: bundle(value) });

// What nobody catches is the running cell's. It comes here or by the prompt's domain, whichever node has.
let fail = console.error;
const interrupt = () => fail !== console.error && fail(new Error('interrupted'));
process.on('uncaughtException', (error) => fail(error));
process.on('unhandledRejection', (error) => fail(error));
prompt._domain?.removeAllListeners('error').on('error', (error) => fail(error));

function bundle(value) {
  const kinds = value !== null && typeof value === 'object' ? Object.keys(value) : [];
  const found = { 'text/plain': typeof value === 'string' ? value : inspect(value) };
  if (kinds.length > 0 && kinds.every((kind) => types[kind])) {
    for (const kind of kinds) found[types[kind]] = value[kind];
  }
  return found;
}

function evaluate(code) {
  return new Promise((resolve, reject) => {
    fail = reject;
    // Code that does not return is interrupted by the prompt, which gives the signal back to nobody.
    process.off('SIGINT', interrupt);
    prompt.eval(code + '\n', prompt.context, 'cell', (error, value) => (error ? reject(error.err ?? error) : resolve(value)));
    process.on('SIGINT', interrupt);
  });
}

// Math.random cannot be seeded: in a child of a snapshot it would go on as in every other child. So it is another one
// from then on (xorshift32).
function reseed() {
  const device = fs.openSync('/dev/urandom');
  const state = new Uint32Array(2);
  fs.readSync(device, state);
  fs.closeSync(device);
  const next = (at) => {
    let one = state[at] || 1;
    one ^= one << 13;
    one ^= one >>> 17;
    return (state[at] = one ^ (one << 5));
  };
  Math.random = () => ((next(0), state[0] >>> 5) * 2 ** 26 + (next(1), state[1] >>> 6)) / 2 ** 53;
}

function put(name, value) {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

async function run(cell) {
  if (cell.reseed) reseed();
  for (const [name, value] of Object.entries(cell.changes ?? {})) put(name, value ?? undefined);
  const before = {};
  for (const [name, value] of Object.entries(cell.env_vars ?? {})) {
    before[name] = process.env[name];
    process.env[name] = value;
  }
  try {
    const value = await evaluate(cell.code);
    if (value !== undefined) say({ type: 'result', is_main_result: true, bundle: bundle(value) });
  } catch (error) {
    const named = typeof error?.stack === 'string';
    // The frames below those of the cell are ours.
    const stack = named ? error.stack.split('\n') : [inspect(error)];
    const ours = stack.findIndex((line) => /^ +at .*(REPLServer|node:vm|node:internal.vm|node_cells)/.test(line));
    say({
      type: 'error', name: named ? String(error.name) : 'Error', value: named ? String(error.message) : inspect(error),
      traceback: stack.slice(0, ours < 0 ? undefined : ours).join('\n'),
    });
  } finally {
    fail = console.error;
    for (const [name, value] of Object.entries(before)) put(name, value);
  }
  say({ type: 'end' });
}

let text = '';
control.setEncoding('utf8');
control.on('end', () => process.exit(1));
control.on('data', (part) => {
  text += part;
  for (let end; (end = text.indexOf('\n')) >= 0; text = text.slice(end + 1)) run(JSON.parse(text.slice(0, end)));
});
say({ type: 'end' }); // of the start
