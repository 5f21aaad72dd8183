// SPDX-License-Identifier: Apache-2.0

/** Whatever goes wrong here, except for arguments that are no such thing (TypeError). */
export class ForkdError extends Error {
    /** Of the daemon's answer; undefined when there was none. */
    readonly status?: number;

    constructor(message: string, options?: ErrorOptions) {
        super(message, options);
        this.name = new.target.name;
    }
}

/** The daemon could not be reached, or its answer was cut: whether it did what it was asked to is not known then. */
export class ConnectionError extends ForkdError {}

/** The daemon took longer than `timeoutMs`. The same is not known then. */
export class TimeoutError extends ForkdError {}

/** The code that was evaluated failed. */
export class EvalError extends ForkdError {
    constructor(
        message: string,
        readonly traceback: string | undefined,
    ) {
        super(message);
    }
}

/** The daemon lost the guest, or the guest's agent broke its protocol, while a program was listened to. */
export class GuestLostError extends ForkdError {}

/** The daemon answered with a status that is no success. */
export class ControllerError extends ForkdError {
    override readonly status: number;

    constructor(
        status: number,
        /** JSON as it was decoded, or text. */
        readonly body: unknown,
        readonly url: string,
        /** How many seconds to wait before asking again, as the daemon suggests. */
        readonly retryAfter?: number,
    ) {
        super(`${sentence(body) ?? `HTTP ${status}`} (${url}: HTTP ${status})`);
        this.status = status;
    }

    /** What the guest said, as the name of an errno: ENOENT, for example. */
    get code(): string | undefined {
        return field(this.body, 'code');
    }
}

/** 400, 422: the request is wrong. */
export class BadRequestError extends ControllerError {}

/** 401: the token is missing or wrong. */
export class UnauthorizedError extends ControllerError {}

/** 403: it is not for this caller, or its quota is reached. */
export class ForbiddenError extends ControllerError {}

/** 404: there is no such thing. */
export class NotFoundError extends ControllerError {}

/** 409: something is there already, or in use, or is paused. */
export class ConflictError extends ControllerError {}

/** 503: there is no room for it now. */
export class BusyError extends ControllerError {}

const kinds: Record<number, typeof ControllerError> = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: BadRequestError,
    503: BusyError,
};

export function controllerError(status: number, text: string, url: string, retryAfter: string | null): ControllerError {
    let body: unknown = text;
    try {
        body = text === '' ? {} : JSON.parse(text);
    } catch {
        // Something before the daemon has answered: the text itself.
    }
    const seconds = Number(retryAfter);
    return new (kinds[status] ?? ControllerError)(status, body, url, seconds > 0 ? seconds : undefined);
}

function field(body: unknown, name: string): string | undefined {
    const value = typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[name] : undefined;
    return typeof value === 'string' ? value : undefined;
}

function sentence(body: unknown): string | undefined {
    return typeof body === 'string' && body !== '' ? body.slice(0, 2000) : field(body, 'error');
}
