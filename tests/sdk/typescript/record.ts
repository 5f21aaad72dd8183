// SPDX-License-Identifier: Apache-2.0
// Loaded before a test: notes each request that is sent in FORKD_REQUESTS.
import {subscribe} from 'node:diagnostics_channel';
import {appendFileSync} from 'node:fs';
import type {ClientRequest} from 'node:http';

subscribe('http.client.request.start', message => {
    const {request} = message as {request: ClientRequest};
    appendFileSync(process.env['FORKD_REQUESTS']!, `${request.method} ${request.path}\n`);
});
