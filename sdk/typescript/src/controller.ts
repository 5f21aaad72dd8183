// SPDX-License-Identifier: Apache-2.0
import {ConnectionError, controllerError} from './errors.js';
import {events} from './events.js';
import {Connection, type CallOptions, type ClientOptions, type Request, type Stream} from './http.js';
import {Sandbox} from './sandbox.js';
import type {
    BranchOptions,
    Deleted,
    EvalResponse,
    ExecOptions,
    ExecResponse,
    ForkdEvent,
    Health,
    NamingOptions,
    Pool,
    PoolOptions,
    SandboxInfo,
    SnapshotInfo,
    SnapshotInfoDetail,
    SnapshotLine,
    SnapshotOptions,
    SpawnOptions,
    Version,
    WorkspaceInfo,
    WorkspaceOptions,
} from './types.js';
import {at, command, objects, wire} from './wire.js';

/** How much longer than the guest is given an answer may take. */
const MARGIN_MS = 10_000;
const DEFAULT_SECS = 30;
/** What an image may take that is pulled and made a disk. */
const PULL_SECS = 3600;

/** The daemon: snapshots, sandboxes, pools, workspaces, and what happens. Answers are as they come over the wire. */
export class Controller {
    /** @internal */
    readonly connection: Connection;

    constructor(options: ClientOptions = {}) {
        this.connection = new Connection(options);
    }

    // --- snapshots ---

    listSnapshots(options: CallOptions = {}): Promise<SnapshotInfo[]> {
        return this.connection.json('GET', '/v1/snapshots', options);
    }

    /** Boots a guest, of files of the host or of a container image, waits until it is ready, and writes it down. */
    createSnapshot(options: SnapshotOptions & CallOptions): Promise<SnapshotInfo> {
        const {image, bootWaitSecs, signal, timeoutMs} = options;
        const timeoutSecs = image === undefined ? bootWaitSecs : PULL_SECS;
        return this.#post('/v1/snapshots', this.#patient({signal, timeoutMs, timeoutSecs}), wire(options));
    }

    /** The same, and tells how it goes on; the last line has the snapshot. Who stops before it gives the snapshot up. */
    createSnapshotStream(options: SnapshotOptions & CallOptions): Promise<Stream<SnapshotLine>> {
        const {signal, timeoutMs} = options;
        const path = '/v1/snapshots';
        const call = {signal, timeoutMs, query: {progress: true}, json: wire(options)};
        return this.connection.stream('POST', path, call, lines => told(lines, this.connection.name + path));
    }

    snapshotInfo(tag: string, options: CallOptions = {}): Promise<SnapshotInfoDetail> {
        return this.connection.json('GET', of(tag, '/info'), options);
    }

    /** Makes another that restores to the same and depends on nothing. */
    compactSnapshot(tag: string, to: string, options: CallOptions = {}): Promise<SnapshotInfo> {
        return this.#post(of(tag, '/compact'), options, {to});
    }

    /** With cascade, and all that depend on it; with force, although others depend on it. */
    deleteSnapshot(tag: string, options: {cascade?: boolean; force?: boolean} & CallOptions = {}): Promise<null> {
        const {cascade, force, ...call} = options;
        return this.connection.json('DELETE', of(tag), {...call, query: {cascade, force}});
    }

    // --- sandboxes ---

    /** Forks sandboxes of a snapshot: all of them, or none. */
    async spawn(options: SpawnOptions & CallOptions): Promise<Sandbox[]> {
        return (await this.spawnSandboxes(options)).map(info => new Sandbox(this, info));
    }

    /** One that is there, by its id or name. */
    async sandbox(idOrName: string, options: CallOptions = {}): Promise<Sandbox> {
        return new Sandbox(this, await this.getSandbox(idOrName, options));
    }

    spawnSandboxes(options: SpawnOptions & CallOptions): Promise<SandboxInfo[]> {
        return this.#post('/v1/sandboxes', options, {n: 1, ...wire(options)});
    }

    /** With labels, those that have all of them: KEY or KEY=VALUE. */
    listSandboxes(options: {labels?: string[]; ask?: boolean} & CallOptions = {}): Promise<SandboxInfo[]> {
        const {labels, ask, ...call} = options;
        return this.connection.json('GET', '/v1/sandboxes', {...call, query: {label: labels, ask}});
    }

    getSandbox(id: string, options: CallOptions = {}): Promise<SandboxInfo> {
        return this.connection.json('GET', at(id), options);
    }

    killSandbox(id: string, options: CallOptions = {}): Promise<null> {
        return this.connection.json('DELETE', at(id), options);
    }

    /** Ends those that are named, and those that have all of the labels; what became of each. */
    killSandboxes(options: {ids?: string[]; labels?: string[]} & CallOptions): Promise<Deleted[]> {
        const {ids, labels, ...call} = options;
        return this.connection.json('DELETE', '/v1/sandboxes', {...call, query: {id: ids, label: labels}});
    }

    branchSandbox(id: string, options: BranchOptions & CallOptions = {}): Promise<SnapshotInfo> {
        return this.#post(at(id, '/branch'), options, wire(options, ...(options.mode === undefined ? [] : ['diff'])));
    }

    execCommand(id: string, args: string[], options: ExecOptions & CallOptions = {}): Promise<ExecResponse> {
        const body = {args, timeout_secs: DEFAULT_SECS, ...command(options)};
        return this.#post(at(id, '/exec'), this.#patient(options), body);
    }

    evalCode(id: string, code: string, options: {timeoutSecs?: number} & CallOptions = {}): Promise<EvalResponse> {
        return this.#post(at(id, '/eval'), this.#patient(options), {code, ...wire(options)});
    }

    pingSandbox(id: string, options: CallOptions = {}): Promise<Record<string, unknown>> {
        return this.connection.json('POST', at(id, '/ping'), options);
    }

    // --- pools ---

    /** Keeps sandboxes of a snapshot ready. Answered before they are there; ready tells how many are. */
    putPool(name: string, options: PoolOptions & CallOptions): Promise<Pool> {
        const {signal, timeoutMs} = options;
        return this.connection.json('PUT', pool(name), {signal, timeoutMs, json: wire(options)});
    }

    listPools(options: CallOptions = {}): Promise<Pool[]> {
        return this.connection.json('GET', '/v1/pools', options);
    }

    getPool(name: string, options: CallOptions = {}): Promise<Pool> {
        return this.connection.json('GET', pool(name), options);
    }

    /** Those that are ready end; those that have been taken go on. */
    deletePool(name: string, options: CallOptions = {}): Promise<null> {
        return this.connection.json('DELETE', pool(name), options);
    }

    /** One that is ready, at once; when there is none, one that is forked now. */
    async take(name: string, options: NamingOptions & CallOptions = {}): Promise<Sandbox> {
        return new Sandbox(this, await this.#post<SandboxInfo>(pool(name, '/take'), options, wire(options)));
    }

    // --- workspaces ---

    listWorkspaces(options: CallOptions = {}): Promise<WorkspaceInfo[]> {
        return this.connection.json('GET', '/v1/workspaces', options);
    }

    createWorkspace(options: WorkspaceOptions & CallOptions): Promise<WorkspaceInfo> {
        return this.#post('/v1/workspaces', options, wire(options));
    }

    getWorkspace(name: string, options: CallOptions = {}): Promise<WorkspaceInfo> {
        return this.connection.json('GET', workspace(name), options);
    }

    /** Writes its sandbox down and ends it. */
    suspendWorkspace(name: string, options: CallOptions = {}): Promise<WorkspaceInfo> {
        return this.#post(workspace(name, '/suspend'), options, {});
    }

    resumeWorkspace(name: string, options: CallOptions = {}): Promise<WorkspaceInfo> {
        return this.connection.json('POST', workspace(name, '/resume'), options);
    }

    deleteWorkspace(name: string, options: CallOptions = {}): Promise<null> {
        return this.connection.json('DELETE', workspace(name), options);
    }

    // --- the daemon ---

    /**
     * What happens to sandboxes and snapshots, from when this is done, or after the event of that id, on. Ends when who
     * listens stops; without follow, when all that is known was told.
     */
    events(options: {after?: string; follow?: boolean} & CallOptions = {}): Promise<Stream<ForkdEvent>> {
        const {after, follow, ...call} = options;
        return this.connection.stream('GET', '/v1/events', {...call, query: {after, follow}}, events);
    }

    health(options: CallOptions = {}): Promise<Health> {
        return this.connection.json('GET', '/healthz', options);
    }

    version(options: CallOptions = {}): Promise<Version> {
        return this.connection.json('GET', '/version', options);
    }

    /** In Prometheus' text format. */
    async metrics(options: CallOptions = {}): Promise<string> {
        return (await this.connection.open('GET', '/metrics', options)).text();
    }

    /** The OpenAPI document of all of this. */
    openapi(options: CallOptions = {}): Promise<Record<string, unknown>> {
        return this.connection.json('GET', '/openapi.json', options);
    }

    #post<T>(path: string, {signal, timeoutMs}: CallOptions, json: object): Promise<T> {
        return this.connection.json('POST', path, {signal, timeoutMs, json});
    }

    /** As long as the guest is given, if that is longer than answers may take. */
    #patient({signal, timeoutMs, timeoutSecs = DEFAULT_SECS}: {timeoutSecs?: number} & CallOptions): Request {
        return {signal, timeoutMs: timeoutMs ?? Math.max(this.connection.timeoutMs, timeoutSecs * 1000 + MARGIN_MS)};
    }
}

async function* told(lines: AsyncGenerator<string>, url: string): AsyncGenerator<SnapshotLine> {
    for await (const line of objects<SnapshotLine>(lines)) {
        if (line.error !== undefined) {
            throw controllerError(line.status ?? 500, JSON.stringify(line), url, null);
        }
        yield line;
        if (line.snapshot !== undefined) {
            return;
        }
    }
    throw new ConnectionError('the answer was cut: whether the snapshot is made is not known');
}

function of(tag: string, action = ''): string {
    return `/v1/snapshots/${encodeURIComponent(tag)}${action}`;
}

function pool(name: string, action = ''): string {
    return `/v1/pools/${encodeURIComponent(name)}${action}`;
}

function workspace(name: string, action = ''): string {
    return `/v1/workspaces/${encodeURIComponent(name)}${action}`;
}
