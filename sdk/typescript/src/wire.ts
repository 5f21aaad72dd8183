// SPDX-License-Identifier: Apache-2.0
import type {StartOptions} from './types.js';

const OF_CALLS = ['signal', 'timeoutMs'];

/** Those that were given, as the daemon calls them: `snapshotTag` is `snapshot_tag`. */
export function wire(options: object, ...without: string[]): Record<string, unknown> {
    return Object.fromEntries(
        Object.entries(options)
            .filter(([name, value]) => value !== undefined && !OF_CALLS.includes(name) && !without.includes(name))
            .map(([name, value]) => [name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`), value]),
    );
}

/** The same of a command, whose input may be bytes. */
export function command(options: StartOptions): Record<string, unknown> {
    const {stdin, ...others} = options;
    const input =
        stdin instanceof Uint8Array
            ? {stdin_base64: Buffer.from(stdin).toString('base64')}
            : stdin === undefined
              ? {}
              : {stdin};
    return {...wire(others), ...input};
}

/** The path of a sandbox, or of something that is done with it. */
export function at(id: string, action = ''): string {
    return `/v1/sandboxes/${encodeURIComponent(id)}${action}`;
}

/** Of an answer with an object in each line. */
export async function* objects<T>(lines: AsyncGenerator<string>): AsyncGenerator<T> {
    for await (const line of lines) {
        yield JSON.parse(line) as T;
    }
}
