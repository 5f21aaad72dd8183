// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import {createServer} from 'node:http';
import {createServer as createTcpServer, type AddressInfo, type Server} from 'node:net';
import {after, before, describe, test} from 'node:test';
import {promisify} from 'node:util';

import {
    BadRequestError,
    BusyError,
    ConflictError,
    ConnectionError,
    Controller,
    ControllerError,
    EvalError,
    ForkdError,
    GuestLostError,
    NotFoundError,
    Sandbox,
    TimeoutError,
    UnauthorizedError,
    type ForkdEvent,
    type Output,
} from 'forkd';

const snapshotTag = process.env['FORKD_TAG']!;
const controller = new Controller();
const unix = `unix:${process.env['XDG_RUNTIME_DIR']}/forkd/daemon.sock`;
let sandbox: Sandbox;

before(async () => {
    sandbox = await Sandbox.create({snapshotTag});
});
after(() => sandbox.kill());

async function all<T>(from: AsyncIterable<T>): Promise<T[]> {
    const found = [];
    for await (const one of from) {
        found.push(one);
    }
    return found;
}

const snapshot = async (wanted: string) => (await controller.listSnapshots()).find(({tag}) => tag === wanted);

const text = ({data}: Output) => Buffer.from(data).toString();

/** Reads until the program has written that. */
async function until(process: AsyncIterable<Output>, end: string): Promise<string> {
    const output = process[Symbol.asyncIterator]();
    let said = '';
    while (!said.endsWith(end)) {
        const next = await output.next();
        assert.ok(!next.done, said);
        said += text(next.value);
    }
    return said;
}

/** What it has written by now, and how it goes on, is not lost to who reads a part of it. */
async function first(from: AsyncIterable<Output>): Promise<Output> {
    const next = await from[Symbol.asyncIterator]().next();
    assert.ok(!next.done);
    return next.value;
}

describe('the daemon', () => {
    test('says how it is', async () => {
        assert.deepEqual(await controller.health(), {ok: true});
        assert.equal((await controller.version()).api, 'v1');
        assert.match(await controller.metrics(), /^forkd_sandboxes_active \d+$/m);
        assert.equal(typeof (await controller.openapi())['openapi'], 'string');
    });

    test('is reached at its Unix socket, too', async () => {
        const beside = await new Controller({baseUrl: unix, token: ''}).sandbox(sandbox.id);
        assert.equal((await beside.exec(['echo', 'hi'])).stdout, 'hi\n');
        const talk = await beside.talk(['cat'], {stdin: true});
        await talk.write('said');
        assert.equal(text(await first(talk)), 'said');
        await talk.end();
        assert.deepEqual(await talk.wait(), {exit_code: 0});
        assert.equal(await (await beside.fetchPort(80, '/x')).text(), 'hello from the guest: GET /x HTTP/1.1');
        assert.throws(() => beside.portUrl(80), ForkdError);
    });

    test('is reached over TLS, too', async () => {
        const baseUrl = process.env['FORKD_TLS_URL']!;
        assert.match(baseUrl, /^https:/);
        await using beside = await Sandbox.create({snapshotTag, controller: new Controller({baseUrl})});
        assert.equal((await beside.exec(['echo', 'hi'])).stdout, 'hi\n');
        assert.equal((await (await beside.start(['write', '3000000'])).collect()).stdout.length, 3_000_000);
        const talk = await beside.talk(['cat'], {stdin: true});
        const said = randomBytes(300_000).toString('hex');
        const written = talk.write(said).then(() => talk.end());
        assert.equal((await talk.collect()).stdout, said);
        await written;
        const size = 8 << 20;
        assert.equal((await beside.files.write('/sink', new Blob([new Uint8Array(size)]).stream())).size, size);
        assert.equal((await beside.files.readBytes('/pattern', {end: size - 1})).length, size);
        assert.equal(await (await beside.fetchPort(80, '/x')).text(), 'hello from the guest: GET /x HTTP/1.1');
        const {host} = new URL(baseUrl);
        assert.equal(beside.portUrl(80), `https://${host}/v1/sandboxes/${beside.id}/ports/80/`);
        assert.equal(beside.hostUrl(80), `https://80-${beside.id}.localhost:${new URL(baseUrl).port}/`);
        await assert.rejects(new Controller({baseUrl, token: 'wrong'}).listSandboxes(), UnauthorizedError);
        await assert.rejects(
            new Controller({baseUrl: baseUrl.replace('https', 'http')}).listSandboxes(),
            ConnectionError,
        );
    });

    test('is not believed without a certificate that is trusted', async () => {
        const asking = `import {Controller, ConnectionError} from 'forkd';
            const error = await new Controller().listSandboxes().catch(error => error);
            console.log(error instanceof ConnectionError, error.message);`;
        const env: NodeJS.ProcessEnv = {...process.env, FORKD_URL: process.env['FORKD_TLS_URL']};
        delete env['NODE_EXTRA_CA_CERTS'];
        const {stdout} = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', asking], {env});
        assert.match(stdout, /^true https:.* self-signed certificate/);
    });

    test('is not what a URL does not name', () => {
        for (const baseUrl of ['', 'ftp://x', 'http://user@x', 'http://x?y', '127.0.0.1:8889']) {
            assert.throws(() => new Controller({baseUrl}), TypeError, baseUrl);
        }
    });
});

describe('snapshots', () => {
    test('are booted, looked at, compacted and removed', async () => {
        const made = await controller.createSnapshot({
            tag: 'booted',
            kernel: process.env['FORKD_KERNEL']!,
            rootfs: process.env['FORKD_ROOTFS']!,
            bootWaitSecs: 60,
        });
        assert.equal(made.status, 'ready');
        assert.equal((await controller.compactSnapshot('booted', 'flat')).branched_from, 'compact:booted');
        const detail = await controller.snapshotInfo('flat');
        assert.equal(detail.chain_depth, 0);
        assert.ok((await controller.listSnapshots()).some(({tag}) => tag === 'flat'));
        for (const tag of ['booted', 'flat']) {
            assert.equal(await controller.deleteSnapshot(tag), null);
        }
    });

    test('are made of images, and tell how that goes on', async () => {
        const image = process.env['FORKD_IMAGE']!;
        const guest = {kernel: process.env['FORKD_KERNEL']!, memoryMib: 64, vcpus: 1, sizeMib: 32};
        const made = await controller.createSnapshot({tag: 'image', image, warm: '1', ...guest});
        assert.equal(made.status, 'ready');
        await using child = await Sandbox.create({snapshotTag: 'image'});
        assert.equal((await child.exec(['echo', 'hi'])).stdout, 'hi\n');
        const again = {tag: 'image', image, ...guest};
        await assert.rejects(controller.createSnapshotStream(again), ConflictError);
        await child.kill();
        const told = await all(await controller.createSnapshotStream({...again, force: true}));
        assert.ok(told.some(({step}) => step !== undefined));
        assert.deepEqual(told.at(-1)?.snapshot, await snapshot('image'));
        await controller.deleteSnapshot('image');
    });

    test('are not made of images that are none', async () => {
        const wrong = controller.createSnapshot({tag: 'none', image: 'UPPER/case', packages: ['a'], volumes: []});
        await assert.rejects(wrong, BadRequestError);
        const none = {tag: 'none', image: 'oci:/nosuch:1', kernel: process.env['FORKD_KERNEL']!};
        const stream = await controller.createSnapshotStream(none);
        await assert.rejects(all(stream), (error: NotFoundError) => {
            assert.match(error.message, /nosuch.*\/v1\/snapshots: HTTP 404\)$/);
            return error instanceof NotFoundError;
        });
        await assert.rejects(controller.createSnapshot(none), NotFoundError);
        assert.equal(await snapshot('none'), undefined);
    });

    test('that others depend on are removed with cascade', async () => {
        await sandbox.branch({tag: 'lower', mode: 'full'});
        await using child = await Sandbox.create({snapshotTag: 'lower'});
        await child.branch({tag: 'upper', mode: 'diff', parentTag: 'lower'});
        assert.deepEqual((await controller.snapshotInfo('lower')).dependents, ['upper']);
        await assert.rejects(controller.deleteSnapshot('lower'), ConflictError);
        await controller.deleteSnapshot('lower', {cascade: true});
        await assert.rejects(controller.snapshotInfo('upper'), NotFoundError);
    });
});

describe('sandboxes', () => {
    test('have names and labels, and end together', async () => {
        const [a, b] = await controller.spawn({snapshotTag, n: 2, labels: {job: 'x'}});
        assert.ok(a && b);
        assert.equal((await a.rename('one')).name, 'one');
        assert.equal((await controller.sandbox('one')).id, a.id);
        assert.deepEqual((await b.label({job: null, left: 'y'})).labels, {left: 'y'});
        assert.deepEqual(
            (await controller.listSandboxes({labels: ['job=x'], ask: true})).map(({id}) => id),
            [a.id],
        );
        await assert.rejects(b.rename('one'), ConflictError);
        assert.equal((await a.rename(null)).name, null);
        const ended = await controller.killSandboxes({ids: [a.id, 'nobody'], labels: ['left']});
        assert.deepEqual(new Map(ended.map(({id, success}) => [id, success])).get(a.id), true);
    });

    test('forget what their guests did when they are reset', async () => {
        const [one] = await controller.spawn({snapshotTag});
        assert.ok(one);
        await one.exec(['sh', '-c', 'echo half way > work']);
        assert.equal((await one.reset()).state, 'running');
        assert.notEqual((await one.exec(['cat', 'work'])).stdout, 'half way\n');
        await one.kill();
    });

    test('are taken of a pool and given back', async () => {
        assert.equal((await controller.putPool('clients', {snapshotTag, size: 3})).size, 3);
        const one = await controller.take('clients', {name: 'taken'});
        assert.deepEqual(one.info.pool, {name: 'clients', state: 'taken'});
        await one.exec(['sh', '-c', 'echo half way > work']);
        await one.giveBack();
        await assert.rejects(
            controller.sandbox(one.id).then(same => same.giveBack()),
            ConflictError,
        );
        const other = await controller.take('clients');
        assert.notEqual((await other.exec(['cat', 'work'])).stdout, 'half way\n');
        await other.giveBack();
        assert.deepEqual(
            (await controller.listPools()).map(({name}) => name),
            ['clients'],
        );
        assert.equal((await controller.getPool('clients')).taken, 0);
        await controller.deletePool('clients');
        await assert.rejects(controller.take('clients'), NotFoundError);
    });

    test('are forked live, paused, resumed and waited for', async () => {
        await sandbox.exec(['sh', '-c', 'echo half way > work']);
        const [child] = await sandbox.fork({n: 1, labels: {of: 'live'}});
        assert.ok(child);
        assert.deepEqual(child.info.labels, {of: 'live'});
        assert.equal((await child.exec(['cat', 'work'])).stdout, 'half way\n');
        assert.equal((await child.pause()).state, 'paused');
        await assert.rejects(child.exec(['true']), ConflictError);
        assert.equal((await child.resume()).state, 'running');
        assert.equal((await child.exec(['cat', 'work'])).stdout, 'half way\n');
        const metrics = await child.metrics();
        assert.ok(metrics.threads! > 0);
        assert.equal(metrics.guest, null);
        assert.ok((await child.metrics({guest: true})).guest!.cpus > 0);
        const ended = child.wait();
        await child.kill();
        const event = await ended;
        assert.ok(event === undefined || event.event === 'ended');
        assert.equal(await child.wait(), undefined);
    });

    test('have the log of a console, which is read and followed', async () => {
        await using child = await Sandbox.create({snapshotTag});
        assert.equal(await child.readLog(), '');
        for (const word of ['one', 'tw\u00f6']) {
            await child.exec(['console', word]);
        }
        assert.equal(await child.readLog(), 'one\ntw\u00f6\n');
        assert.equal(await child.readLog({tail: 1}), 'tw\u00f6\n');
        let heard = '';
        for await (const piece of await child.followLog({tail: 1})) {
            heard += piece;
            if (heard === 'tw\u00f6\n') {
                await child.exec(['console', 'three']);
                await child.kill();
            }
        }
        assert.equal(heard, 'tw\u00f6\nthree\n');
        await assert.rejects(child.readLog(), NotFoundError);
        await assert.rejects(child.followLog(), NotFoundError);
    });

    test('end by themselves when they were told to', async () => {
        const [short] = await controller.spawn({snapshotTag, ttlSecs: 600, onTimeout: 'pause', wake: true});
        assert.ok(short);
        assert.equal(short.info.on_timeout, 'pause');
        assert.equal((await short.setTimeout({idleSecs: 600})).ttl_secs, null);
        assert.equal(short.info.idle_secs, 600);
        const ended = short.wait();
        await short.setTimeout({ttlSecs: 1});
        assert.equal((await ended)?.reason, 'timeout');
    });

    test('say what they may reach', async () => {
        // A guest without a network device has no network to set a policy for.
        await assert.rejects(sandbox.setNetwork({allow: ['example.com:443'], deny: ['all:25']}), ConflictError);
        await assert.rejects(sandbox.setNetwork('no such rule'), BadRequestError);
    });

    test('end with their scope, and only once', async () => {
        let id;
        {
            await using short = await Sandbox.create({snapshotTag});
            await using ended = await Sandbox.create({snapshotTag});
            await controller.killSandbox(ended.id);
            ({id} = short);
            assert.equal((await short.refresh()).state, 'running');
        }
        await assert.rejects(controller.getSandbox(id), NotFoundError);
    });
});

describe('commands', () => {
    test('get variables, a folder, a user and input', async () => {
        const options = {env: {A: 'b'}, cwd: '/tmp', user: 'nobody'};
        const done = await sandbox.exec(['sh', '-c', 'echo $A; pwd; whoami'], options);
        assert.equal(done.stdout, 'b\n/tmp\nnobody\n');
        assert.equal((await sandbox.exec(['cat'], {stdin: 'text'})).stdout, 'text');
        assert.equal((await sandbox.exec(['cat'], {stdin: Buffer.from('bytes')})).stdout, 'bytes');
        assert.equal((await sandbox.exec(['sleep', '60'], {timeoutSecs: 1})).exit_code, 124);
        assert.equal((await sandbox.exec(['nonsense'])).exit_code, 127);
    });

    test('are given the time that they were asked to take', async () => {
        const hurried = await new Controller({timeoutMs: 500}).sandbox(sandbox.id);
        assert.equal((await hurried.exec(['sleep', '1'])).exit_code, 0);
        await assert.rejects(hurried.exec(['sleep', '1'], {timeoutMs: 500}), TimeoutError);
        const asked = AbortSignal.timeout(500);
        await assert.rejects(sandbox.exec(['sleep', '60'], {signal: asked}), {name: 'TimeoutError'});
        await assert.rejects(sandbox.exec(['true'], {signal: asked}), {name: 'TimeoutError'});
    });

    test('tell what they write while they run', async () => {
        const process = await sandbox.start(['sh', '-c', 'echo out; stderr err; exit 3']);
        assert.ok(process.pid > 0);
        const outputs = await all(process);
        assert.deepEqual(outputs.map(one => `${one.stream} ${text(one)}`).sort(), ['stderr err\n', 'stdout out\n']);
        assert.deepEqual(process.exit, {exit_code: 3});
        assert.deepEqual(process.offsets, {stdout: 4, stderr: 4});
        const much = await (await sandbox.start(['write', '3000000'])).collect();
        assert.equal(much.stdout.length, 3_000_000);
        const slow = await sandbox.start(['sleep', '60'], {timeoutSecs: 1});
        assert.equal((await slow.wait()).timed_out, true);
        await assert.rejects(sandbox.start(['nonsense']), (error: ControllerError) => error.code === 'ENOENT');
    });

    test('go on when nobody listens, and are heard again', async () => {
        await using process = await sandbox.start(['slow', '30'], {tag: 'slow'});
        const {data} = await first(process);
        const {stdout} = process.offsets;
        assert.equal(stdout, data.length);
        process.close();
        await assert.rejects(process.wait(), ConnectionError);
        assert.ok((await sandbox.processes()).some(({tag, exit_code}) => tag === 'slow' && exit_code === null));
        const again = await sandbox.attach('slow', {stdout});
        assert.equal(again.pid, process.pid);
        assert.equal((await again.collect()).stdout.length, 30 - stdout);
    });

    test('are signalled', async () => {
        const {pid} = await sandbox.startDetached(['trap']);
        const process = await sandbox.attach(pid);
        await sandbox.signal(pid, 1);
        assert.match(await until(process, 'signal 1\n'), /signal 1/);
        await process.signal(9, {group: true});
        assert.deepEqual(await process.wait(), {exit_code: -9});
        await assert.rejects(sandbox.signal(4242, 9), NotFoundError);
    });

    test('are talked to at a terminal', async () => {
        const process = await sandbox.talk(['winch'], {terminal: {rows: 24, columns: 80}, tag: 'mine'});
        await until(process, '24 80\r\n');
        await process.resize(50, 132);
        await until(process, '50 132\r\n');
        process.close();
        const again = await sandbox.talkTo('mine');
        assert.equal(again.pid, process.pid);
        await until(again, '50 132\r\n');
        await again.write('\u0003');
        assert.deepEqual(await again.wait(), {exit_code: -2});
    });

    test('get input, with what they write on the way', async () => {
        const process = await sandbox.talk(['sh', '-c', 'cat; stderr $A; exit 3'], {stdin: true, env: {A: 'b=c'}});
        const input = randomBytes(300_000).toString('hex');
        const written = process.write(input).then(() => process.end());
        const done = await process.collect();
        await written;
        assert.deepEqual(done, {stdout: input, stderr: 'b=c\n', exit_code: 3});
        await assert.rejects(process.write('more'), ConnectionError);
        const trap = await sandbox.talk(['trap']);
        await trap.signal(9);
        assert.deepEqual(await trap.wait(), {exit_code: -9});
        await assert.rejects(sandbox.talk(['nonsense'], {}), (error: ControllerError) => error.code === 'ENOENT');
        await assert.rejects(
            (await sandbox.talk(['trap'])).resize(0, 1).then(() => sandbox.talkTo(4242)),
            NotFoundError,
        );
    });

    test('that fail in an interpreter say how', async () => {
        assert.equal(await sandbox.eval('6 * 7', {timeoutSecs: 10}), '42');
        await assert.rejects(sandbox.eval("raise ValueError('because')"), (error: EvalError) => {
            assert.match(error.message, /because/);
            return error instanceof EvalError;
        });
    });

    test('of a guest that is lost are an error', async () => {
        const short = await Sandbox.create({snapshotTag});
        const process = await short.start(['sleep', '600']);
        await short.kill();
        await assert.rejects(process.wait(), (error: Error) => {
            return error instanceof GuestLostError || error instanceof ConnectionError;
        });
    });
});

describe('files', () => {
    test('are written and read', async () => {
        const entry = await sandbox.files.write('/greeting', 'hello', {mode: '600', uid: 7, gid: 7, mtimeMs: 1000});
        assert.deepEqual([entry.size, entry.mode, entry.uid, entry.mtime_ms], [5, '0600', 7, 1000]);
        assert.equal(await sandbox.files.readText('/greeting'), 'hello');
        assert.equal(await sandbox.files.readText('/greeting', {start: 1, end: 2}), 'el');
        assert.equal(await sandbox.files.readText('/greeting', {start: 4}), 'o');
        assert.deepEqual(await sandbox.files.readBytes('/greeting'), new Uint8Array(Buffer.from('hello')));
        await sandbox.files.write('/greeting', new Blob(['from a blob']));
        assert.equal(await sandbox.files.readText('/greeting'), 'from a blob');
        await sandbox.files.remove('/greeting');
        await assert.rejects(sandbox.files.read('/greeting'), (error: ControllerError) => {
            return error instanceof NotFoundError && error.code === 'ENOENT';
        });
    });

    test('are listed, looked at and removed', async () => {
        assert.equal(await sandbox.files.mkdir('/a/b', {parents: true}), true);
        assert.equal(await sandbox.files.mkdir('/a/b', {parents: true}), false);
        await assert.rejects(sandbox.files.mkdir('/a/b'), ConflictError);
        await sandbox.files.write('/a/b/c', new Uint8Array(3));
        await sandbox.files.write(Buffer.from('/a/b/\xff', 'latin1'), 'not UTF-8');
        const found = await all(await sandbox.files.list('/a', {depth: 2}));
        assert.deepEqual(found.map(({path, type}) => `${path} ${type}`).sort(), [
            '/a/b directory',
            '/a/b/c file',
            '/a/b/\ufffd file',
        ]);
        const odd = found.find(({path_base64}) => path_base64 !== undefined)!;
        assert.equal(await sandbox.files.readText(Buffer.from(odd.path_base64!, 'base64')), 'not UTF-8');
        assert.equal((await sandbox.files.stat('/a/b/c', {follow: false})).size, 3);
        await assert.rejects(sandbox.files.remove('/a'), ConflictError);
        await sandbox.files.remove('/a', {recursive: true});
        await assert.rejects(sandbox.files.list('/a'), NotFoundError);
    });

    test('of any size go through', async () => {
        const size = 64 << 20;
        const chunk = new Uint8Array(1 << 16);
        let left = size / chunk.length;
        const source = new ReadableStream<Uint8Array>({
            pull(to) {
                if (left-- > 0) {
                    to.enqueue(chunk);
                } else {
                    to.close();
                }
            },
        });
        assert.equal((await sandbox.files.write('/sink', source)).size, size);
        let got = 0;
        for await (const part of await sandbox.files.read('/pattern', {end: size - 1})) {
            got += part.length;
        }
        assert.equal(got, size);
        const given = await sandbox.files.read('/pattern');
        await given.cancel();
    });

    test('that are not written whole stay as they were', async () => {
        await sandbox.files.write('/kept', 'before');
        async function* broken() {
            yield Buffer.from('after');
            throw new Error('no more');
        }
        await assert.rejects(sandbox.files.write('/kept', broken()), /no more/);
        assert.equal(await sandbox.files.readText('/kept'), 'before');
        async function* endless() {
            while (true) {
                yield new Uint8Array(1 << 16);
            }
        }
        await assert.rejects(sandbox.files.write('/no/such/folder', endless()), (error: ControllerError) => {
            return error.code === 'ENOENT';
        });
    });

    test('are moved and watched, where the agent can', async () => {
        // The guest here has an agent that cannot.
        const unknown = (error: ControllerError) => error.status === 501;
        await assert.rejects(sandbox.files.move('/from', '/to'), unknown);
        await assert.rejects(sandbox.files.watch('/', {recursive: true}), unknown);
    });
});

describe('ports', () => {
    test('are reached by path and by host', async () => {
        const url = sandbox.portUrl(80, '/a?b=c');
        assert.equal(url, `${process.env['FORKD_URL']}/v1/sandboxes/${sandbox.id}/ports/80/a?b=c`);
        const headers = {authorization: `Bearer ${process.env['FORKD_TOKEN']}`};
        assert.equal(await (await fetch(url, {headers})).text(), 'hello from the guest: GET /a?b=c HTTP/1.1');
        const {port} = new URL(process.env['FORKD_URL']!);
        assert.equal(sandbox.hostUrl(80, '/x'), `http://80-${sandbox.id}.localhost:${port}/x`);
        for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
            const answer = await sandbox.fetchPort(80, '/', {method});
            assert.equal(await answer.text(), `hello from the guest: ${method} / HTTP/1.1`);
        }
        assert.equal((await sandbox.fetchPort(9)).status, 502);
    });
});

describe('events', () => {
    test('are told as they happen, and after a cursor', async () => {
        const events = await controller.events();
        const child = await Sandbox.create({snapshotTag});
        await child.kill();
        const heard: ForkdEvent[] = [];
        for await (const event of events) {
            if (event.sandbox === child.id) {
                heard.push(event);
            }
            if (heard.length === 2) {
                break;
            }
        }
        assert.deepEqual(
            heard.map(({event}) => event),
            ['created', 'ended'],
        );
        const missed = await all(await controller.events({after: heard[0]!.id, follow: false}));
        assert.ok(missed.some(({id}) => id === heard[1]!.id));
        assert.ok(missed.every(({id}) => id !== heard[0]!.id));
        const [lost] = await all(await controller.events({after: 'another-1', follow: false}));
        assert.equal(lost?.event, 'lost');
    });
});

describe('workspaces', () => {
    test('sleep and wake', async () => {
        const made = await controller.createWorkspace({name: 'mine', snapshotTag});
        assert.equal(made.status, 'running');
        await controller.execCommand(made.live_sandbox_id!, ['sh', '-c', 'echo kept > work']);
        assert.equal((await controller.suspendWorkspace('mine')).status, 'suspended');
        const awake = await controller.resumeWorkspace('mine');
        assert.equal((await controller.execCommand(awake.live_sandbox_id!, ['cat', 'work'])).stdout, 'kept\n');
        assert.deepEqual(await controller.getWorkspace('mine'), (await controller.listWorkspaces())[0]);
        await controller.deleteWorkspace('mine');
    });
});

describe('errors', () => {
    /** What answers everything with that, and is no daemon. */
    async function answering(bytes: string, question: (controller: Controller) => Promise<void>): Promise<void> {
        const server = createTcpServer(socket => socket.once('data', () => socket.end(bytes)));
        await listening(server, port =>
            question(new Controller({baseUrl: `http://127.0.0.1:${port}`, timeoutMs: 5000})),
        );
    }

    async function listening(server: Server, use: (port: number) => Promise<void>): Promise<void> {
        await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
        try {
            await use((server.address() as AddressInfo).port);
        } finally {
            server.close();
        }
    }

    test('have the status and the sentence of the daemon', async () => {
        await assert.rejects(controller.getSandbox('nobody'), (error: NotFoundError) => {
            assert.ok(error instanceof ControllerError && error instanceof ForkdError);
            assert.equal(error.name, 'NotFoundError');
            assert.equal(error.status, 404);
            assert.match(error.message, /^sandbox nobody not found \(http.*\/nobody: HTTP 404\)$/);
            return true;
        });
        await assert.rejects(new Controller({token: 'wrong'}).listSandboxes(), UnauthorizedError);
        await assert.rejects(controller.spawnSandboxes({snapshotTag, n: 0}), BadRequestError);
    });

    test('say that the daemon is not there, or no daemon', async () => {
        await assert.rejects(new Controller({baseUrl: 'http://127.0.0.1:1'}).listSandboxes(), ConnectionError);
        await assert.rejects(new Controller({baseUrl: 'unix:/nowhere'}).listSandboxes(), ConnectionError);
        const head = 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n';
        await answering(`${head}{"cut":`, asked => assert.rejects(asked.listSandboxes(), ConnectionError));
        await answering(`${head}no JSON..`, asked => assert.rejects(asked.listSandboxes(), ConnectionError));
        await answering(`${head}{"pid":7}`, async asked => {
            const other = new Sandbox(asked, sandbox.info);
            await assert.rejects(other.start(['true']), ConnectionError);
            await assert.rejects(other.talk(['true']), ControllerError);
        });
        await answering('HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n', asked =>
            assert.rejects(new Sandbox(asked, sandbox.info).talk(['true']), ConnectionError),
        );
    });

    test('say when to come back, and that nothing came', async () => {
        const busy = 'HTTP/1.1 503 X\r\nRetry-After: 2\r\nContent-Length: 4\r\n\r\nbusy';
        await answering(busy, asked =>
            assert.rejects(asked.listSandboxes(), (error: BusyError) => {
                return error instanceof BusyError && error.retryAfter === 2 && error.body === 'busy';
            }),
        );
        await listening(createServer(), port => {
            const silent = new Controller({baseUrl: `http://127.0.0.1:${port}`, timeoutMs: 100});
            return assert.rejects(silent.listSandboxes(), TimeoutError);
        });
    });
});
