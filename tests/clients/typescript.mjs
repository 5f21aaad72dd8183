// SPDX-License-Identifier: Apache-2.0
// The requests of the TypeScript SDK (0.5.3), which is in no registry: each call as it goes over the wire, and as it
// reads the answer.

export class ControllerError extends Error {
    constructor(status, body, url) {
        super(`${url}: HTTP ${status}: ${typeof body === 'string' ? body : JSON.stringify(body)}`);
        Object.assign(this, {status, body, url});
    }
}

const at = (id, action = '') => `/v1/sandboxes/${encodeURIComponent(id)}${action}`;

/** The given fields that are not undefined: what is false is sent. */
const defined = fields => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));

export class Controller {
    constructor({baseUrl = process.env.FORKD_URL, token = process.env.FORKD_TOKEN, timeoutMs = 60_000} = {}) {
        this.baseUrl = baseUrl.replace(/\/+$/, '');
        this.token = token;
        this.timeoutMs = timeoutMs;
    }

    listSnapshots = () => this.#request('GET', '/v1/snapshots');

    deleteSnapshot = tag => this.#request('DELETE', `/v1/snapshots/${encodeURIComponent(tag)}`);

    spawnSandboxes = ({snapshotTag, n = 1, perChildNetns = false, memoryLimitMib, prewarm, liveFork, hugepages}) =>
        this.#request('POST', '/v1/sandboxes', {
            snapshot_tag: snapshotTag,
            n,
            per_child_netns: perChildNetns,
            ...defined({memory_limit_mib: memoryLimitMib, prewarm, live_fork: liveFork, hugepages}),
        });

    listSandboxes = () => this.#request('GET', '/v1/sandboxes');

    getSandbox = id => this.#request('GET', at(id));

    killSandbox = id => this.#request('DELETE', at(id));

    branchSandbox = (id, {tag, mode, diff, measure_diff, wait} = {}) =>
        this.#request('POST', at(id, '/branch'), {
            ...defined({tag}),
            ...(mode !== undefined ? {mode} : diff ? {diff: true} : {}),
            ...(measure_diff ? {measure_diff: true} : {}),
            ...(wait === false ? {wait: false} : {}),
        });

    execCommand = (id, args, {timeoutSecs = 30} = {}) =>
        this.#request('POST', at(id, '/exec'), {args, timeout_secs: timeoutSecs});

    evalCode = (id, code) => this.#request('POST', at(id, '/eval'), {code});

    pingSandbox = id => this.#request('POST', at(id, '/ping'));

    async #request(method, path, body) {
        const url = this.baseUrl + path;
        const headers = {};
        if (body !== undefined) headers['content-type'] = 'application/json';
        if (this.token) headers['authorization'] = `Bearer ${this.token}`;
        const response = await fetch(url, {
            method,
            headers,
            body: body === undefined ? undefined : JSON.stringify(body),
            signal: AbortSignal.timeout(this.timeoutMs),
        });
        const text = await response.text();
        if (response.ok) return text ? JSON.parse(text) : null;
        let parsed = text;
        try {
            parsed = text ? JSON.parse(text) : {};
        } catch {
            // The text itself.
        }
        throw new ControllerError(response.status, parsed, url);
    }
}

export class Sandbox {
    #controller;
    #killed = false;

    constructor(controller, info) {
        this.#controller = controller;
        this.info = info;
        this.id = info.id;
    }

    static async create(options) {
        const controller = new Controller();
        const [info] = await controller.spawnSandboxes({...options, n: 1});
        return new Sandbox(controller, info);
    }

    exec = (args, options) => this.#controller.execCommand(this.id, args, options);

    async eval(code) {
        const answer = await this.#controller.evalCode(this.id, code);
        if (answer.error) throw new Error(`eval error: ${answer.error}`);
        return answer.result;
    }

    ping = () => this.#controller.pingSandbox(this.id);

    branch = options => this.#controller.branchSandbox(this.id, options);

    async kill() {
        if (this.#killed) return;
        await this.#controller.killSandbox(this.id);
        this.#killed = true;
    }
}
