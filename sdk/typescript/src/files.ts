// SPDX-License-Identifier: Apache-2.0
import type {Bytes, CallOptions, Connection, Query, Stream} from './http.js';
import type {FileChange, FileEntry, FileOptions, MadeDirectory, OwnerOptions, Path, ReadOptions} from './types.js';
import {objects, wire} from './wire.js';

/** The files of a sandbox. Bodies go through as they come, and may be of any size. */
export class Files {
    readonly #connection: Connection;
    readonly #path: string;

    /** @internal */
    constructor(connection: Connection, path: string) {
        this.#connection = connection;
        this.#path = `${path}/files`;
    }

    /** A regular file, or a part of it. */
    async read(path: Path, options: ReadOptions & CallOptions = {}): Promise<ReadableStream<Uint8Array>> {
        return (await this.#open(path, options)).body!;
    }

    async readBytes(path: Path, options: ReadOptions & CallOptions = {}): Promise<Uint8Array> {
        return new Uint8Array(await (await this.#open(path, options)).arrayBuffer());
    }

    async readText(path: Path, options: ReadOptions & CallOptions = {}): Promise<string> {
        return (await this.#open(path, options)).text();
    }

    /** It is there when all of it has come, and until then there is what was before. */
    write(path: Path, content: Bytes, options: OwnerOptions & CallOptions = {}): Promise<FileEntry> {
        // However long it takes: it is over when the connection is.
        return this.#connection.json('PUT', this.#path, {
            timeoutMs: MOST_TIMEOUT,
            ...calls(options),
            query: {...of(path), ...(wire(options) as Query)},
            bytes: content,
        });
    }

    /** Links are not followed. */
    async remove(path: Path, options: FileOptions & {recursive?: boolean} & CallOptions = {}): Promise<void> {
        await this.#connection.json('DELETE', this.#path, this.#query(path, options));
    }

    stat(path: Path, options: FileOptions & {follow?: boolean} & CallOptions = {}): Promise<FileEntry> {
        return this.#connection.json('GET', `${this.#path}/stat`, this.#query(path, options));
    }

    /** What is in a directory; a directory comes before what is in it. */
    list(path: Path, options: FileOptions & {depth?: number} & CallOptions = {}): Promise<Stream<FileEntry>> {
        return this.#connection.stream('GET', `${this.#path}/list`, this.#query(path, options), objects<FileEntry>);
    }

    /** Changes, as they happen, of all that happens after this is done, until who listens stops. */
    watch(path: Path, options: FileOptions & {recursive?: boolean} & CallOptions = {}): Promise<Stream<FileChange>> {
        return this.#connection.stream('GET', `${this.#path}/watch`, this.#query(path, options), objects<FileChange>);
    }

    /** Whether it was made: with parents, one that is there is no error. */
    async mkdir(path: Path, options: OwnerOptions & CallOptions = {}): Promise<boolean> {
        const made = await this.#connection.json<MadeDirectory>('POST', `${this.#path}/mkdir`, {
            ...calls(options),
            json: {...of(path), ...wire(options)},
        });
        return made.created;
    }

    /** As rename(2) does. */
    async move(from: Path, to: Path, options: FileOptions & CallOptions = {}): Promise<void> {
        await this.#connection.json('POST', `${this.#path}/move`, {
            ...calls(options),
            json: {...of(from, 'from'), ...of(to, 'to'), ...wire(options)},
        });
    }

    #open(path: Path, options: ReadOptions & CallOptions): Promise<Response> {
        const {start, end, ...others} = options;
        const part = start !== undefined || end !== undefined;
        const headers: Record<string, string> = part ? {range: `bytes=${start ?? 0}-${end ?? ''}`} : {};
        return this.#connection.open('GET', this.#path, {...this.#query(path, others), headers});
    }

    #query(path: Path, options: CallOptions) {
        return {...calls(options), query: {...of(path), ...(wire(options) as Query)}};
    }
}

/** What a timer takes: 24 days. */
const MOST_TIMEOUT = 2 ** 31 - 1;

function calls({signal, timeoutMs}: CallOptions): CallOptions {
    return {...(signal && {signal}), ...(timeoutMs !== undefined && {timeoutMs})};
}

function of(path: Path, name = 'path'): Record<string, string> {
    return typeof path === 'string' ? {[name]: path} : {[`${name}_base64`]: Buffer.from(path).toString('base64')};
}
