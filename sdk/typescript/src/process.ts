// SPDX-License-Identifier: Apache-2.0
import {ConnectionError, GuestLostError} from './errors.js';
import type {Stream} from './http.js';
import {WebSocketConnection} from './websocket.js';

/** What a program wrote. */
export interface Output {
    stream: 'stdout' | 'stderr';
    data: Uint8Array;
}

export interface Exit {
    /** Negative of a signal. */
    exit_code: number;
    /** It was ended for its time. */
    timed_out?: boolean;
}

export interface Signals {
    /** Sends it a signal, or, with group, all processes of its session. */
    signal(signal: number, options?: {group?: boolean}): Promise<void>;
}

/** @internal */
export interface Line {
    pid?: number;
    from?: [number, number];
    stream?: 'stdout' | 'stderr';
    data_base64?: string;
    exit_code?: number;
    timed_out?: boolean;
    error?: string;
}

/** What both have: the output once, as it comes, and how the program ended. */
abstract class Listened implements AsyncIterable<Output>, AsyncDisposable {
    #exit: Exit | undefined;
    #closed = false;
    readonly #output: AsyncGenerator<Output>;

    constructor(
        /** Its number in the guest. */
        readonly pid: number,
        events: AsyncIterable<Line | Output>,
    ) {
        this.#output = this.#outputs(events);
    }

    /** How it ended; undefined as long as not all of its output was read. */
    get exit(): Exit | undefined {
        return this.#exit;
    }

    [Symbol.asyncIterator](): AsyncGenerator<Output> {
        return this.#output;
    }

    /** Waits until it ends, and throws away what it still writes. */
    async wait(): Promise<Exit> {
        for await (const _ of this.#output) {
            // Not wanted.
        }
        if (this.#exit === undefined) {
            throw new ConnectionError(`nobody listens to process ${this.pid} any more: attach to it`);
        }
        return this.#exit;
    }

    /** Waits until it ends; all that it still writes, as text. */
    async collect(): Promise<{stdout: string; stderr: string} & Exit> {
        const texts = {stdout: '', stderr: ''};
        const decoders = {stdout: new TextDecoder(), stderr: new TextDecoder()};
        for await (const {stream, data} of this.#output) {
            texts[stream] += decoders[stream].decode(data, {stream: true});
        }
        return {...texts, ...(await this.wait())};
    }

    /** Stops listening. The program goes on. */
    async [Symbol.asyncDispose](): Promise<void> {
        this.close();
    }

    /** Stops listening, from another task, too: the loop ends then. The program goes on. */
    close(): void {
        this.#closed = true;
        this.disconnect();
    }

    protected abstract disconnect(): void;

    async *#outputs(events: AsyncIterable<Line | Output>): AsyncGenerator<Output> {
        try {
            for await (const event of events) {
                if ('data' in event) {
                    yield event;
                } else if (event.error !== undefined) {
                    throw new GuestLostError(event.error);
                } else if (event.exit_code !== undefined) {
                    this.#exit = {exit_code: event.exit_code, ...(event.timed_out ? {timed_out: true} : {})};
                    return;
                }
            }
            throw new ConnectionError(`the answer was cut: whether process ${this.pid} has ended is not known`);
        } catch (error) {
            if (!this.#closed) {
                throw error;
            }
        } finally {
            this.close();
        }
    }
}

/** A program of a guest, which is listened to. It does not end with who listens. */
export class ListenedProcess extends Listened {
    /** From which byte of stdout and stderr on it is heard next: what to attach from. */
    readonly offsets: {stdout: number; stderr: number};
    readonly #signals: Signals['signal'];
    readonly #lines: Stream<Line>;

    /** @internal */
    static async of(lines: Stream<Line>, signals: (pid: number) => Signals['signal']): Promise<ListenedProcess> {
        const first = await lines.next();
        const {pid, from = [0, 0]} = first.value ?? {};
        if (pid === undefined) {
            lines.close();
            throw new ConnectionError('the answer was cut before it said which process it is of');
        }
        return new ListenedProcess(pid, {stdout: from[0], stderr: from[1]}, lines, signals(pid));
    }

    private constructor(
        pid: number,
        offsets: {stdout: number; stderr: number},
        lines: Stream<Line>,
        signals: Signals['signal'],
    ) {
        super(pid, ListenedProcess.#parsed(lines, offsets));
        this.offsets = offsets;
        this.#lines = lines;
        this.#signals = signals;
    }

    signal(signal: number, options?: {group?: boolean}): Promise<void> {
        return this.#signals(signal, options);
    }

    protected override disconnect(): void {
        this.#lines.close();
    }

    static async *#parsed(
        lines: Stream<Line>,
        offsets: {stdout: number; stderr: number},
    ): AsyncGenerator<Line | Output> {
        for await (const line of lines) {
            if (line.stream === undefined) {
                yield line;
            } else {
                const data = Buffer.from(line.data_base64 ?? '', 'base64');
                offsets[line.stream] += data.length;
                yield {stream: line.stream, data};
            }
        }
    }
}

/** A program of a guest and who talks to it: it has a terminal, or gets input. It does not end with who talks. */
export class TalkingProcess extends Listened {
    readonly #socket: WebSocketConnection;

    /** @internal */
    static async of(socket: WebSocketConnection): Promise<TalkingProcess> {
        const messages = socket.messages();
        const {value, done} = await messages.next();
        const first: Line = done || typeof value !== 'string' ? {} : JSON.parse(value);
        if (first.pid === undefined) {
            socket.close();
            throw new GuestLostError(first.error ?? 'the daemon did not say which process it is');
        }
        return new TalkingProcess(first.pid, socket, messages);
    }

    private constructor(pid: number, socket: WebSocketConnection, messages: AsyncGenerator<string | Buffer>) {
        super(pid, TalkingProcess.#parsed(messages));
        this.#socket = socket;
    }

    /** Done when more can be taken: a program that does not read its input holds back who writes. */
    async write(input: string | Uint8Array): Promise<void> {
        const bytes = Buffer.from(input);
        for (let at = 0; at < bytes.length; at += MOST_INPUT) {
            await this.#socket.send(Buffer.concat([STDIN, bytes.subarray(at, at + MOST_INPUT)]));
        }
    }

    /** There is no more input. */
    end(): Promise<void> {
        return this.#say({end: true});
    }

    /** Of its terminal. */
    resize(rows: number, columns: number): Promise<void> {
        return this.#say({rows, columns});
    }

    signal(signal: number, {group = false}: {group?: boolean} = {}): Promise<void> {
        return this.#say({signal, group});
    }

    protected override disconnect(): void {
        this.#socket.close();
    }

    #say(message: object): Promise<void> {
        return this.#socket.send(JSON.stringify(message));
    }

    static async *#parsed(messages: AsyncGenerator<string | Buffer>): AsyncGenerator<Line | Output> {
        for await (const message of messages) {
            if (typeof message === 'string') {
                yield JSON.parse(message) as Line;
            } else {
                yield {stream: message[0] === 2 ? 'stderr' : 'stdout', data: message.subarray(1)};
            }
        }
    }
}

const STDIN = Buffer.from([0]);
const MOST_INPUT = 64 << 10;
