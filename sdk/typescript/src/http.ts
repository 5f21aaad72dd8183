// SPDX-License-Identifier: Apache-2.0
import {createHash, randomBytes} from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import type {Socket} from 'node:net';
import {Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';

import {ConnectionError, ForkdError, TimeoutError, controllerError} from './errors.js';

export interface ClientOptions {
    /** `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`. Default: FORKD_URL, else http://127.0.0.1:8889. */
    baseUrl?: string;
    /** Default: FORKD_TOKEN, else none. */
    token?: string;
    /** How long an answer may take, in milliseconds; of one that goes on, its beginning. Default: 60000. */
    timeoutMs?: number;
}

export interface CallOptions {
    /** Gives the call up. */
    signal?: AbortSignal;
    /** Instead of the client's. */
    timeoutMs?: number;
}

export type QueryValue = string | number | boolean | readonly string[] | undefined;
export type Query = Record<string, QueryValue>;

export type Bytes = string | Uint8Array | Blob | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

export interface Request extends CallOptions {
    query?: Query;
    /** An object that is sent as JSON. */
    json?: object;
    bytes?: Bytes;
    headers?: Record<string, string>;
}

/** How long the daemon may take to say that it wants a body. */
const CONTINUE_MS = 1000;

const WEB_SOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** An answer that has begun, and its connection. */
interface Exchange {
    message: http.IncomingMessage;
    socket: Socket;
    head: Buffer;
    signal: AbortSignal;
}

/**
 * The daemon, over HTTP. This is node:http and not fetch, since fetch knows no Unix sockets and gives an answer up that
 * says nothing for five minutes, as that of a quiet program may. Each call has a connection of its own, so that none is
 * lost with one that the daemon closes at that moment.
 */
export class Connection {
    /** Without a slash at its end; undefined when it is a Unix socket, which has none. */
    readonly url: string | undefined;
    /** The same, or where the socket is, as errors call it. */
    readonly name: string;
    readonly timeoutMs: number;
    readonly #target: http.RequestOptions;
    readonly #prefix: string;
    readonly #tls: boolean;
    readonly #token: string | undefined;

    constructor(options: ClientOptions = {}) {
        const base = options.baseUrl ?? (process.env['FORKD_URL'] || 'http://127.0.0.1:8889');
        this.#token = options.token ?? process.env['FORKD_TOKEN'];
        this.timeoutMs = options.timeoutMs ?? 60_000;
        if (base.startsWith('unix:')) {
            this.name = base;
            this.#target = {socketPath: base.slice('unix:'.length), headers: {host: 'localhost'}};
            this.#prefix = '';
            this.#tls = false;
            return;
        }
        const url = URL.canParse(base) ? new URL(base) : undefined;
        if (
            url === undefined ||
            !['http:', 'https:'].includes(url.protocol) ||
            url.username ||
            url.search ||
            url.hash
        ) {
            throw new TypeError(`'${base}' is no daemon's URL: http://HOST:PORT, https://HOST:PORT or unix:PATH`);
        }
        this.#prefix = url.pathname.replace(/\/+$/, '');
        this.name = this.url = url.origin + this.#prefix;
        this.#target = {hostname: url.hostname.replace(/^\[|\]$/g, ''), port: url.port};
        this.#tls = url.protocol === 'https:';
    }

    /** Answers that are no success are errors; an empty one is null. */
    async json<T>(method: string, path: string, request: Request = {}): Promise<T> {
        const limit = this.#limit(request);
        try {
            const response = await this.#success(method, path, request, limit.signal);
            return parse(await response.text()) as T;
        } catch (error) {
            throw limit.error(error);
        } finally {
            limit.clear();
        }
    }

    /** Of an answer that goes on: it has begun when this is done. */
    async open(method: string, path: string, request: Request = {}): Promise<Response> {
        const limit = this.#limit(request);
        try {
            return await this.#success(method, path, request, limit.signal);
        } catch (error) {
            throw limit.error(error);
        } finally {
            limit.clear();
        }
    }

    /** The same, line by line. */
    async stream<T>(
        method: string,
        path: string,
        request: Request,
        read: (lines: AsyncGenerator<string>) => AsyncGenerator<T>,
    ): Promise<Stream<T>> {
        const closing = new AbortController();
        const signal = AbortSignal.any([closing.signal, ...(request.signal ? [request.signal] : [])]);
        const response = await this.open(method, path, {...request, signal});
        return new Stream(read(lines(response.body)), closing);
    }

    /** Whatever the status of the answer. */
    async any(method: string, path: string, request: Request = {}): Promise<Response> {
        const limit = this.#limit(request);
        try {
            return answer(await this.#exchange(method, path, request, limit.signal));
        } catch (error) {
            throw limit.error(error);
        } finally {
            limit.clear();
        }
    }

    /** A WebSocket's connection, and what has come of it by now. */
    async upgrade(path: string, request: Request = {}): Promise<{socket: Socket; head: Buffer}> {
        const key = randomBytes(16).toString('base64');
        const headers = {
            connection: 'Upgrade',
            upgrade: 'websocket',
            'sec-websocket-version': '13',
            'sec-websocket-key': key,
        };
        const limit = this.#limit(request);
        try {
            const exchange = await this.#exchange('GET', path, {...request, headers}, limit.signal);
            const {message, socket, head} = exchange;
            if (message.statusCode !== 101) {
                throw await this.#refusal(exchange, path);
            }
            const accept = createHash('sha1')
                .update(key + WEB_SOCKET_GUID)
                .digest('base64');
            if (message.headers['sec-websocket-accept'] !== accept) {
                socket.destroy();
                throw new ConnectionError(`${this.name}${path}: what answers speaks no WebSocket`);
            }
            return {socket, head};
        } catch (error) {
            throw limit.error(error);
        } finally {
            limit.clear();
        }
    }

    async #success(method: string, path: string, request: Request, signal: AbortSignal): Promise<Response> {
        const exchange = await this.#exchange(method, path, request, signal);
        const status = exchange.message.statusCode ?? 0;
        if (status < 200 || status > 299) {
            throw await this.#refusal(exchange, path);
        }
        return answer(exchange);
    }

    async #refusal(exchange: Exchange, path: string): Promise<ForkdError> {
        const response = answer(exchange);
        const retryAfter = response.headers.get('retry-after');
        return controllerError(response.status, await response.text(), this.name + path, retryAfter);
    }

    #limit(request: Request): Limit {
        return new Limit(this.name, request.timeoutMs ?? this.timeoutMs, request.signal);
    }

    /** Until the head of the answer is there. */
    #exchange(method: string, path: string, request: Request, signal: AbortSignal): Promise<Exchange> {
        signal.throwIfAborted();
        const headers: Record<string, string> = {};
        let body = request.bytes;
        if (request.json !== undefined) {
            body = JSON.stringify(request.json);
            headers['content-type'] = 'application/json';
        } else if (body !== undefined) {
            headers['content-type'] = 'application/octet-stream';
            if (isStream(body)) {
                headers['expect'] = '100-continue';
            }
        }
        if (this.#token) {
            headers['authorization'] = `Bearer ${this.#token}`;
        }
        const {promise, resolve, reject} = withResolvers<Exchange>();
        const outgoing = (this.#tls ? https : http).request({
            ...this.#target,
            agent: false,
            method,
            path: this.#prefix + path + queryString(request.query),
            headers: {...this.#target.headers, ...headers, ...request.headers},
        });
        let message: http.IncomingMessage | undefined;
        const abort = () => (message ?? outgoing).destroy(signal.reason);
        signal.addEventListener('abort', abort);
        outgoing.on('close', () => signal.removeEventListener('abort', abort));
        outgoing.on('response', incoming => {
            message = incoming;
            message.on('error', () => {}); // Who reads is told.
            resolve({message, socket: incoming.socket, head: Buffer.alloc(0), signal});
        });
        outgoing.on('upgrade', (incoming, socket, head) => {
            resolve({message: incoming, socket: socket as Socket, head, signal});
        });
        outgoing.on('error', error => {
            reject(
                signal.aborted ? signal.reason : new ConnectionError(`${this.name}: ${reason(error)}`, {cause: error}),
            );
        });
        send(outgoing, body, reject).catch(error => {
            // The answer, where there is one, says more than that the daemon has not taken all of the body.
            if (message === undefined) {
                outgoing.destroy(error);
            }
        });
        return promise;
    }
}

/** What comes, as it comes. Who breaks off, or closes it, ends the call. */
export class Stream<T> implements AsyncIterableIterator<T>, AsyncDisposable {
    readonly #values: AsyncGenerator<T>;
    readonly #closing: AbortController;

    /** @internal */
    constructor(values: AsyncGenerator<T>, closing: AbortController) {
        this.#values = values;
        this.#closing = closing;
    }

    /** From another task, too: the loop ends then. */
    close(): void {
        this.#closing.abort();
    }

    async next(): Promise<IteratorResult<T, undefined>> {
        try {
            return this.#closing.signal.aborted ? {done: true, value: undefined} : await this.#values.next();
        } catch (error) {
            if (this.#closing.signal.aborted) {
                return {done: true, value: undefined};
            }
            throw error;
        }
    }

    async return(): Promise<IteratorResult<T, undefined>> {
        this.close();
        return {done: true, value: undefined};
    }

    [Symbol.asyncIterator](): this {
        return this;
    }

    async [Symbol.asyncDispose](): Promise<void> {
        this.close();
    }
}

/** Gives a call up, when it has taken too long or its caller wants it no more. */
class Limit {
    readonly signal: AbortSignal;
    readonly #timer: NodeJS.Timeout;

    constructor(name: string, timeoutMs: number, caller: AbortSignal | undefined) {
        const late = new AbortController();
        this.signal = caller === undefined ? late.signal : AbortSignal.any([late.signal, caller]);
        this.#timer = setTimeout(
            () => late.abort(new TimeoutError(`${name}: no answer in ${timeoutMs / 1000} s`)),
            timeoutMs,
        );
    }

    error(error: unknown): unknown {
        return this.signal.aborted ? this.signal.reason : error;
    }

    clear(): void {
        clearTimeout(this.#timer);
    }
}

/** What is wrong with the body itself is told before that the connection was closed for it. */
async function send(
    outgoing: http.ClientRequest,
    body: Bytes | undefined,
    failed: (error: unknown) => void,
): Promise<void> {
    if (!isStream(body)) {
        outgoing.end(body);
        return;
    }
    if (!(await mayGoOn(outgoing))) {
        return;
    }
    const parts: AsyncIterable<Uint8Array> = body instanceof Blob ? body.stream() : body;
    async function* watched() {
        try {
            yield* parts;
        } catch (error) {
            failed(error);
            throw error;
        }
    }
    await pipeline(Readable.from(watched()), outgoing);
}

function isStream(body: Bytes | undefined): body is Exclude<Bytes, string | Uint8Array> {
    return body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array);
}

/**
 * Whether the daemon wants the body. Who sends one that is not wanted may lose the answer that says why: the connection is
 * reset. One that says nothing is given it, as RFC 9110 has it (10.1.1).
 */
function mayGoOn(outgoing: http.ClientRequest): Promise<boolean> {
    return new Promise(resolve => {
        const timer = setTimeout(() => resolve(true), CONTINUE_MS);
        const settle = (wanted: boolean) => () => {
            clearTimeout(timer);
            resolve(wanted);
        };
        outgoing.once('continue', settle(true));
        outgoing.once('response', settle(false));
        outgoing.once('close', settle(false));
    });
}

function answer({message, signal}: Exchange): Response {
    const headers = new Headers();
    for (let i = 0; i + 1 < message.rawHeaders.length; i += 2) {
        headers.append(message.rawHeaders[i]!, message.rawHeaders[i + 1]!);
    }
    const status = message.statusCode ?? 0;
    if (status === 204 || status === 205 || status === 304) {
        message.resume();
        return new Response(null, {status, headers});
    }
    const chunks: AsyncIterator<Buffer> = message[Symbol.asyncIterator]();
    const stream = new ReadableStream<Uint8Array>(
        {
            async pull(controller) {
                try {
                    const next = await chunks.next();
                    if (next.done) {
                        controller.close();
                    } else {
                        controller.enqueue(next.value);
                    }
                } catch (error) {
                    const cut = new ConnectionError(`the answer was cut: ${reason(error)}`, {cause: error});
                    controller.error(signal.aborted ? signal.reason : cut);
                }
            },
            cancel() {
                message.destroy();
            },
        },
        {highWaterMark: 0},
    );
    return new Response(stream, {status, headers});
}

function queryString(query: Query = {}): string {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
        for (const one of Array.isArray(value) ? value : value === undefined ? [] : [value]) {
            parameters.append(name, String(one));
        }
    }
    return parameters.size > 0 ? `?${parameters}` : '';
}

/** An empty answer is null. */
function parse(text: string): unknown {
    try {
        return text === '' ? null : JSON.parse(text);
    } catch (error) {
        throw new ConnectionError('what answers is no forkd daemon: it speaks no JSON', {cause: error});
    }
}

/** Each line of an answer, as it comes. */
async function* lines(body: ReadableStream<Uint8Array> | null): AsyncGenerator<string> {
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of body ?? []) {
        const parts = (rest + decoder.decode(chunk, {stream: true})).split('\n');
        rest = parts.pop()!;
        yield* parts;
    }
    if (rest !== '') {
        throw new ConnectionError('the answer was cut in the middle of a line');
    }
}

export function reason(error: unknown): string {
    if (error instanceof AggregateError && error.message === '') {
        return error.errors.map(reason).join(', ');
    }
    return error instanceof Error ? error.message : String(error);
}

/** As that of Promise in Node 22. */
export function withResolvers<T>() {
    let resolve!: (value: T) => void;
    let reject!: (reason: unknown) => void;
    const promise = new Promise<T>((done, failed) => {
        resolve = done;
        reject = failed;
    });
    return {promise, resolve, reject};
}
