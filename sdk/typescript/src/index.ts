// SPDX-License-Identifier: Apache-2.0
export {Controller} from './controller.js';
export * from './errors.js';
export {Files} from './files.js';
export type {Bytes, CallOptions, ClientOptions, Stream} from './http.js';
export {ListenedProcess, TalkingProcess, type Exit, type Output} from './process.js';
export {Sandbox} from './sandbox.js';
export type * from './types.js';
