// SPDX-License-Identifier: Apache-2.0
import {randomBytes} from 'node:crypto';
import type {Socket} from 'node:net';

import {ConnectionError} from './errors.js';
import {reason} from './http.js';

const CONTINUATION = 0;
const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;

const MOST = 16 << 20;

/**
 * The client's side of RFC 6455, without extensions. Node's own, where it has one, reaches no Unix socket; and no
 * WebSocket of a browser's kind holds back who writes faster than it is read.
 */
export class WebSocketConnection {
    readonly #socket: Socket;
    readonly #chunks: AsyncIterator<Buffer>;
    #input: Buffer;

    constructor(socket: Socket, head: Buffer) {
        this.#socket = socket;
        this.#input = head;
        this.#chunks = socket[Symbol.asyncIterator]();
        socket.on('error', () => {}); // Who reads or writes is told.
    }

    /** Texts and bytes, until the daemon says goodbye. */
    async *messages(): AsyncGenerator<string | Buffer> {
        try {
            let type = CONTINUATION; // of the message; none has begun
            let parts: Buffer[] = [];
            while (true) {
                const [first, second] = (await this.#take(2)) as unknown as [number, number];
                const code = first & 0x0f;
                const payload = await this.#take(await this.#length(second));
                if (code === CLOSE) {
                    return;
                } else if (code === PING) {
                    await this.#send(PING + 1, payload);
                } else if (code <= BINARY) {
                    type = code === CONTINUATION ? type : code;
                    parts.push(payload);
                    if ((first & 0x80) !== 0) {
                        const message = Buffer.concat(parts);
                        parts = [];
                        yield type === TEXT ? message.toString('utf8') : message;
                    }
                }
            }
        } finally {
            this.close();
        }
    }

    /** Done when the daemon can be sent more. */
    send(message: string | Uint8Array): Promise<void> {
        return typeof message === 'string' ? this.#send(TEXT, Buffer.from(message)) : this.#send(BINARY, message);
    }

    close(): void {
        if (this.#socket.writable) {
            this.#socket.end(frame(CLOSE, Buffer.from([0x03, 0xe8]))); // 1000: as it should be
        }
        this.#socket.destroySoon();
    }

    async #length(second: number): Promise<number> {
        const short = second & 0x7f;
        const length =
            short < 126
                ? short
                : short === 126
                  ? (await this.#take(2)).readUInt16BE()
                  : Number((await this.#take(8)).readBigUInt64BE());
        if (length > MOST) {
            throw new ConnectionError(`the daemon sent a message of ${length} bytes`);
        }
        return length;
    }

    async #take(count: number): Promise<Buffer> {
        const parts = [this.#input];
        for (let have = this.#input.length; have < count; ) {
            let next;
            try {
                next = await this.#chunks.next();
            } catch (error) {
                throw new ConnectionError(`the connection to the daemon was lost: ${reason(error)}`, {cause: error});
            }
            if (next.done) {
                throw new ConnectionError('the connection to the daemon was lost');
            }
            parts.push(next.value);
            have += next.value.length;
        }
        const all = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
        this.#input = all.subarray(count);
        return all.subarray(0, count);
    }

    async #send(code: number, payload: Uint8Array): Promise<void> {
        if (!this.#socket.writable) {
            throw new ConnectionError('the connection to the daemon is over');
        }
        await new Promise<void>((done, failed) => {
            this.#socket.write(frame(code, payload), error =>
                error ? failed(new ConnectionError(`the connection to the daemon was lost: ${reason(error)}`)) : done(),
            );
        });
    }
}

function frame(code: number, payload: Uint8Array): Buffer {
    const size = payload.length < 126 ? 0 : payload.length <= 0xffff ? 2 : 8;
    const mask = randomBytes(4);
    const bytes = Buffer.alloc(2 + size + mask.length + payload.length);
    bytes[0] = 0x80 | code;
    bytes[1] = 0x80 | (size === 0 ? payload.length : size === 2 ? 126 : 127);
    if (size === 2) {
        bytes.writeUInt16BE(payload.length, 2);
    } else if (size === 8) {
        bytes.writeBigUInt64BE(BigInt(payload.length), 2);
    }
    mask.copy(bytes, 2 + size);
    const from = 2 + size + mask.length;
    for (let i = 0; i < payload.length; i++) {
        bytes[from + i] = payload[i]! ^ mask[i & 3]!;
    }
    return bytes;
}
