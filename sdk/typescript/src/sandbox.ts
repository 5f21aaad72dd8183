// SPDX-License-Identifier: Apache-2.0
import {Controller} from './controller.js';
import {EvalError, ForkdError, NotFoundError} from './errors.js';
import {Files} from './files.js';
import type {CallOptions, ClientOptions, Query, Request} from './http.js';
import {ListenedProcess, TalkingProcess, type Line} from './process.js';
import type {
    BranchOptions,
    EvalResponse,
    ExecOptions,
    ExecResponse,
    ForkOptions,
    ForkdEvent,
    LifetimeOptions,
    NetworkPolicy,
    Process,
    SandboxInfo,
    SandboxMetrics,
    SnapshotInfo,
    SpawnOptions,
    StartOptions,
    Started,
    TalkOptions,
} from './types.js';
import {WebSocketConnection} from './websocket.js';
import {at, command, objects, wire} from './wire.js';

/** A microVM that lives, or is paused. `await using` ends it. */
export class Sandbox implements AsyncDisposable {
    readonly id: string;
    readonly files: Files;
    readonly #controller: Controller;
    #killed = false;

    constructor(
        controller: Controller,
        /** As the daemon told it last; `refresh` asks anew. */
        public info: SandboxInfo,
    ) {
        this.#controller = controller;
        this.id = info.id;
        this.files = new Files(controller.connection, at(info.id));
    }

    /** Forks one of a snapshot. */
    static async create(options: Omit<SpawnOptions, 'n'> & CallOptions & {controller?: Controller}): Promise<Sandbox> {
        const {controller = new Controller(), ...others} = options;
        const [info] = await controller.spawnSandboxes({...others, n: 1});
        return new Sandbox(controller, info!);
    }

    /** One that is there, by its id or name. */
    static async get(idOrName: string, options: ClientOptions = {}): Promise<Sandbox> {
        return new Controller(options).sandbox(idOrName);
    }

    // --- commands ---

    /** Runs a command to its end, which is also when nobody waits for it any more. */
    exec(args: string[], options: ExecOptions & CallOptions = {}): Promise<ExecResponse> {
        return this.#controller.execCommand(this.id, args, options);
    }

    /** The value of an expression, for the guest's warm interpreter. */
    async eval(code: string, options: {timeoutSecs?: number} & CallOptions = {}): Promise<unknown> {
        const answer: EvalResponse = await this.#controller.evalCode(this.id, code, options);
        if (answer.error) {
            throw new EvalError(`eval error: ${answer.error}`, answer.traceback);
        }
        return answer.result;
    }

    ping(options: CallOptions = {}): Promise<Record<string, unknown>> {
        return this.#controller.pingSandbox(this.id, options);
    }

    /** Runs a command that is listened to. It does not end with who listens: see `attach` and `signal`. */
    async start(args: string[], options: StartOptions & CallOptions = {}): Promise<ListenedProcess> {
        return this.#listen('/exec', options, {args, ...command(options), stream: true});
    }

    /** Runs a command that nobody listens to: `attach` hears it later. */
    startDetached(args: string[], options: Omit<StartOptions, 'detach'> & CallOptions = {}): Promise<Started> {
        return this.#json('POST', '/exec', options, {args, ...command(options), detach: true});
    }

    /** Listens to what was started, by its number or tag: from the bytes that are given, else from what is kept. */
    async attach(
        process: number | string,
        options: {stdout?: number; stderr?: number} & CallOptions = {},
    ): Promise<ListenedProcess> {
        const {stdout, stderr, ...call} = options;
        return this.#listen(`/processes/${encodeURIComponent(process)}/attach`, {...call, query: {stdout, stderr}});
    }

    /** Runs a program and talks to it: it has a terminal, or gets input. */
    talk(args: string[], options: TalkOptions & CallOptions = {}): Promise<TalkingProcess> {
        const {terminal, env, ...others} = options;
        const variables = env && Object.entries(env).map(([name, value]) => `${name}=${value}`);
        return this.#talk({...(wire(others) as Query), ...terminal, arg: args, env: variables}, options);
    }

    /** Talks to what was started, by its number or tag. */
    talkTo(process: number | string, options: CallOptions = {}): Promise<TalkingProcess> {
        return this.#talk({attach: process}, options);
    }

    /** What was started and is kept. */
    processes(options: CallOptions = {}): Promise<Process[]> {
        return this.#json('GET', '/processes', options);
    }

    /** Sends what was started, by its number or tag, a signal; with group, all processes of its session. */
    async signal(
        process: number | string,
        signal: number,
        options: {group?: boolean} & CallOptions = {},
    ): Promise<void> {
        await this.#json('POST', `/processes/${encodeURIComponent(process)}/signal`, options, {
            signal,
            ...wire(options),
        });
    }

    // --- ports ---

    /** Where a program reaches what listens at a port in the guest. A token has to be sent along. */
    portUrl(port: number, path = '/'): string {
        return this.#url() + this.#portPath(port, path);
    }

    /** Where a browser does: an origin of its own, below the domain that the daemon was given, or localhost. */
    hostUrl(port: number, path = '/', domain = 'localhost'): string {
        const url = new URL(this.#url());
        url.hostname = `${port}-${this.id}.${domain}`;
        return url.origin + path;
    }

    /** Asks what listens at a port in the guest, whatever the status of its answer. */
    fetchPort(
        port: number,
        path = '/',
        options: {method?: string; body?: Request['bytes']; headers?: Record<string, string>} & CallOptions = {},
    ): Promise<Response> {
        const {method = 'GET', body, ...others} = options;
        return this.#controller.connection.any(method, this.#portPath(port, path), {...others, bytes: body});
    }

    // --- its life ---

    /** Asks the daemon; with ask, it asks the sandbox, too, which takes longer. */
    refresh({ask, ...call}: {ask?: boolean} & CallOptions = {}): Promise<SandboxInfo> {
        return this.#update('GET', '', {...call, query: {ask}});
    }

    /** What it takes of the host; with guest, its guest is asked, too, which uses it. */
    metrics({guest, ...call}: {guest?: boolean} & CallOptions = {}): Promise<SandboxMetrics> {
        return this.#controller.connection.json('GET', at(this.id, '/metrics'), {...call, query: {guest}});
    }

    /** What its guest has written to its console, or its last lines. The guest is not asked. */
    async readLog({tail, ...call}: {tail?: number} & CallOptions = {}): Promise<string> {
        return (await this.#log({...call, query: {tail}})).text();
    }

    /** The same, and what the guest goes on to write, until the sandbox ends or is paused. */
    async followLog({tail, ...call}: {tail?: number} & CallOptions = {}): Promise<ReadableStream<string>> {
        return (await this.#log({...call, query: {tail, follow: true}})).body!.pipeThrough(new TextDecoderStream());
    }

    /** It has no process until it is resumed. Done when all is on the disk. */
    pause(options: CallOptions = {}): Promise<SandboxInfo> {
        return this.#update('POST', '/pause', options);
    }

    resume(options: CallOptions = {}): Promise<SandboxInfo> {
        return this.#update('POST', '/resume', options);
    }

    /** Puts it back to its snapshot: what its guest did is gone, and what is open to it ends. */
    reset(options: CallOptions = {}): Promise<SandboxInfo> {
        return this.#update('POST', '/reset', options);
    }

    /** Gives it back to the pool that it was taken of, which resets it. Nothing is to be done with it any more. */
    async giveBack(options: CallOptions = {}): Promise<void> {
        await this.#json('POST', '/give-back', options);
        this.#killed = true;
    }

    /** Another name, or, with null, none. */
    rename(name: string | null, options: CallOptions = {}): Promise<SandboxInfo> {
        return this.#update('PUT', '/name', options, {name});
    }

    /** Those that are null it has no more, and others it keeps. */
    label(labels: Record<string, string | null>, options: CallOptions = {}): Promise<SandboxInfo> {
        return this.#update('PUT', '/labels', options, {labels});
    }

    /** How long it goes on by itself, from now on; what is not said it has no more. */
    setTimeout(lifetime: LifetimeOptions, options: CallOptions = {}): Promise<SandboxInfo> {
        return this.#update('PUT', '/timeout', options, wire(lifetime));
    }

    /** What it may reach from now on; open connections that this forbids end. */
    setNetwork(network: NetworkPolicy, options: CallOptions = {}): Promise<SandboxInfo> {
        return this.#update('PUT', '/network', options, {network});
    }

    /** Makes a snapshot of it. It goes on. */
    branch(options: BranchOptions & CallOptions = {}): Promise<SnapshotInfo> {
        return this.#controller.branchSandbox(this.id, options);
    }

    /** Forks sandboxes of it as it is now, without a snapshot. It goes on. */
    async fork(options: ForkOptions & CallOptions = {}): Promise<Sandbox[]> {
        const infos = await this.#json<SandboxInfo[]>('POST', '/fork', options, wire(options));
        return infos.map(info => new Sandbox(this.#controller, info));
    }

    /** Waits until it has ended; the event that told so, if it was seen. One that is paused has not ended. */
    async wait(options: CallOptions = {}): Promise<ForkdEvent | undefined> {
        const events = await this.#controller.events(options);
        if (await this.#hasEnded(options)) {
            events.close();
            return undefined;
        }
        for await (const event of events) {
            if (event.event === 'ended' && event.sandbox === this.id) {
                return event;
            } else if (event.event === 'lost' && (await this.#hasEnded(options))) {
                return undefined;
            }
        }
        throw new ForkdError(`the daemon ends: whether sandbox ${this.id} does is not known`);
    }

    /** Ends it, once. */
    async kill(options: CallOptions = {}): Promise<void> {
        if (!this.#killed) {
            await this.#controller.killSandbox(this.id, options);
            this.#killed = true;
        }
    }

    /** Ends it, unless it has ended. */
    async [Symbol.asyncDispose](): Promise<void> {
        try {
            await this.kill();
        } catch (error) {
            if (!(error instanceof NotFoundError)) {
                throw error;
            }
        }
    }

    #log(call: Request): Promise<Response> {
        return this.#controller.connection.open('GET', at(this.id, '/logs'), call);
    }

    async #hasEnded(options: CallOptions): Promise<boolean> {
        try {
            await this.refresh(options);
            return false;
        } catch (error) {
            if (error instanceof NotFoundError) {
                return true;
            }
            throw error;
        }
    }

    #json<T>(method: string, action: string, {signal, timeoutMs}: CallOptions, json?: object): Promise<T> {
        return this.#controller.connection.json(method, at(this.id, action), {signal, timeoutMs, json});
    }

    async #update(method: string, action: string, call: Request, json?: object): Promise<SandboxInfo> {
        this.info = await this.#controller.connection.json<SandboxInfo>(method, at(this.id, action), {...call, json});
        return this.info;
    }

    async #listen(action: string, {signal, timeoutMs, query}: Request, json?: object): Promise<ListenedProcess> {
        const call = {signal, timeoutMs, query, json};
        const lines = await this.#controller.connection.stream('POST', at(this.id, action), call, objects<Line>);
        return ListenedProcess.of(lines, pid => (signal, options) => this.signal(pid, signal, options));
    }

    async #talk(query: Query, {signal, timeoutMs}: CallOptions): Promise<TalkingProcess> {
        const call = {signal, timeoutMs, query};
        const {socket, head} = await this.#controller.connection.upgrade(at(this.id, '/exec'), call);
        return TalkingProcess.of(new WebSocketConnection(socket, head));
    }

    #url(): string {
        const url = this.#controller.connection.url;
        if (url === undefined) {
            throw new ForkdError('a daemon at a Unix socket has no URLs: use fetchPort');
        }
        return url;
    }

    #portPath(port: number, path: string): string {
        return at(this.id, `/ports/${port}${path}`);
    }
}
