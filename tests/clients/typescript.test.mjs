// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';

import {Controller, ControllerError, Sandbox} from './typescript.mjs';

const tag = process.env.FORKD_TAG;
const memoryLimits = process.env.FORKD_MEMORY_LIMITS === 'yes';
const controller = new Controller({baseUrl: `${process.env.FORKD_URL}//`});
const refused = status => error => {
    assert.ok(error instanceof ControllerError, error);
    assert.equal(error.status, status);
    assert.equal(typeof error.body.error, 'string');
    return true;
};
let sandbox;

before(async () => {
    sandbox = await Sandbox.create({snapshotTag: tag, prewarm: false});
});
after(() => sandbox.kill());

test('create: what the types say is there', () => {
    for (const field of ['id', 'snapshot_tag', 'guest_addr']) assert.equal(typeof sandbox.info[field], 'string');
    for (const field of ['netns', 'pid', 'memory_limit_mib']) assert.ok(field in sandbox.info, field);
});

test('spawn with booleans that are false', async () => {
    const options = {snapshotTag: tag, n: 3, perChildNetns: false, prewarm: false, liveFork: false, hugepages: false};
    const limited = {...options, memoryLimitMib: 256};
    if (!memoryLimits) await assert.rejects(controller.spawnSandboxes(limited), refused(500));
    const made = await controller.spawnSandboxes(memoryLimits ? limited : options);
    assert.equal(made.length, 3);
    const ids = (await controller.listSandboxes()).map(({id}) => id);
    for (const {id} of made) {
        assert.ok(ids.includes(id));
        assert.equal(await controller.killSandbox(id), null);
        await assert.rejects(controller.getSandbox(id), refused(404));
    }
});

test('ping, exec, eval', async () => {
    assert.equal((await sandbox.ping()).pong, true);
    const done = await sandbox.exec(['sh', '-c', 'echo hi; exit 3'], {timeoutSecs: 10});
    assert.deepEqual(done, {stdout: 'hi\n', stderr: '', exit_code: 3});
    assert.equal(await sandbox.eval('6 * 7'), '42');
    await assert.rejects(sandbox.eval("raise ValueError('because')"), /because/);
});

test('branch, fan out, delete', async () => {
    await sandbox.exec(['sh', '-c', 'echo half way > work']);
    for (const options of [{}, {diff: true}, {measure_diff: true}, {mode: 'live'}, {tag: 'ts-late', mode: 'live', wait: false}]) {
        const branch = await sandbox.branch(options);
        assert.equal(branch.branched_from, sandbox.id);
        assert.ok((await controller.listSnapshots()).some(snapshot => snapshot.tag === branch.tag));
        const [child] = await controller.spawnSandboxes({snapshotTag: branch.tag});
        assert.equal((await controller.execCommand(child.id, ['cat', 'work'])).stdout, 'half way\n');
        assert.equal((await controller.getSandbox(child.id)).snapshot_tag, branch.tag);
        await controller.killSandbox(child.id);
        assert.equal(await controller.deleteSnapshot(branch.tag), null);
    }
});

test('ids and tags are escaped, and lead nowhere else', async () => {
    for (const id of ['../snapshots', 'sb-1/exec', 'a b', '%2e%2e', '?x', '#x', 'ä']) {
        await assert.rejects(controller.getSandbox(id), refused(404), id);
    }
    await assert.rejects(controller.deleteSnapshot(`../snapshots/${tag}`), refused(400));
    await assert.rejects(controller.deleteSnapshot(`${tag}?force=true`), refused(400));
    assert.ok((await controller.listSnapshots()).some(snapshot => snapshot.tag === tag));
});

test('kill twice is one request', async () => {
    const short = await Sandbox.create({snapshotTag: tag});
    await short.kill();
    await short.kill();
    await assert.rejects(controller.killSandbox(short.id), refused(404));
});

if (process.env.FORKD_TOKEN) {
    test('without the token', () => assert.rejects(new Controller({token: ''}).listSnapshots(), refused(401)));
}
