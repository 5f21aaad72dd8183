// SPDX-License-Identifier: Apache-2.0
// What the TypeScript SDK does with a guest whose agent can all: the guest of its other tests cannot.
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';

import {Controller, ControllerError, Sandbox} from '../../sdk/typescript/dist/index.js';

const CHANGES = 1000;
const controller = new Controller({timeoutMs: 300_000});
const limits = {timeout: 900_000}; // in an emulated machine
let sandbox;

before(async () => {
    sandbox = await Sandbox.create({snapshotTag: 'py', controller});
});
after(() => sandbox.kill());

async function run(script) {
    const done = await sandbox.exec(['sh', '-c', script], {timeoutSecs: 300});
    assert.equal(done.exit_code, 0, done.stderr);
    return done.stdout;
}

test('files are moved', limits, async () => {
    await sandbox.files.write('/d/from', 'text', {parents: true, mode: '640'});
    await sandbox.files.move('/d/from', Buffer.from('/d/\xff', 'latin1'));
    assert.equal(await run('cat /d/*'), 'text');
    await sandbox.files.move(Buffer.from('/d/\xff', 'latin1'), '/d/to');
    assert.equal((await sandbox.files.stat('/d/to')).mode, '0640');
    const refused = error => error instanceof ControllerError && error.code === 'ENOENT';
    await assert.rejects(sandbox.files.move('/d/from', '/d/to'), refused);
});

test('each change is told, or said to be lost', limits, async () => {
    await sandbox.files.mkdir('/watched/below', {parents: true});
    const changes = await sandbox.files.watch('/watched', {recursive: true});
    await run(`i=0; while [ $i -lt ${CHANGES} ]; do : >/watched/below/$i; i=$((i + 1)); done; mkdir /watched/end`);
    const told = new Set();
    let lost = false;
    for await (const {change, path} of changes) {
        lost ||= change === 'lost';
        if (change === 'create') {
            told.add(path);
        }
        if (lost || path === '/watched/end') {
            break;
        }
    }
    assert.ok(lost || told.size === CHANGES + 1, `${told.size}`);
});

test('a program has a terminal', limits, async () => {
    const shell = await sandbox.talk(['sh'], {terminal: {rows: 24, columns: 80}, env: {PS1: ''}});
    const output = shell[Symbol.asyncIterator]();
    const expect = async text => {
        for (let seen = ''; !seen.includes(text); ) {
            const {done, value} = await output.next();
            assert.ok(!done, seen);
            seen += Buffer.from(value.data);
        }
    };
    await shell.write('stty size\n');
    await expect('24 80');
    await shell.resize(50, 132);
    await shell.write('stty size\n');
    await expect('50 132');
    await shell.write("sh -c 'echo now; exec sleep 1000'\n");
    await expect('\nnow');
    await shell.write('\x03');
    await shell.write('echo after=$?\n');
    await expect('after=130');
    await shell.write('exit 7\n');
    assert.deepEqual(await shell.wait(), {exit_code: 7});
});

test('the log of its console is followed', limits, async () => {
    await run('echo first line >/dev/console');
    let heard = '';
    for await (const piece of await sandbox.followLog()) {
        const before = heard;
        heard += piece;
        if (heard.includes('first line') && !before.includes('first line')) {
            await run('echo second line >/dev/console');
        }
        if (heard.includes('second line')) {
            break;
        }
    }
    assert.equal((await sandbox.readLog({tail: 1})).trim(), 'second line');
});
