// SPDX-License-Identifier: Apache-2.0
import type {ForkdEvent} from './types.js';

/** Server-sent events, as the daemon sends them: with an id, and data of one line. */
export async function* events(lines: AsyncGenerator<string>): AsyncGenerator<ForkdEvent> {
    let id = '';
    for await (const line of lines) {
        const [, field, value = ''] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (field === 'id') {
            id = value;
        } else if (field === 'data') {
            yield {id, ...JSON.parse(value)};
        }
    }
}
