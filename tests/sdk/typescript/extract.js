#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Usage: extract.js PAGE FOLDER
// Writes each block of TypeScript of a page to FOLDER/examples/N.ts, and the block of text behind it, which is what the
// example prints, to N.out. One that makes no sandbox is given one, and the controller.
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';

const [page, folder] = process.argv.slice(2);
const given = `import {Controller, Sandbox} from 'forkd';

const controller = new Controller();
await using sandbox = await Sandbox.create({snapshotTag: 'py', controller});

`;

mkdirSync(`${folder}/examples`);
const blocks = readFileSync(page, 'utf8').matchAll(/^```ts\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?/gms);
let number = 0;
for (const [, code, printed] of blocks) {
    const name = `${folder}/examples/${String(++number).padStart(2, '0')}`;
    writeFileSync(`${name}.ts`, (code.startsWith('import') ? '' : given) + code);
    writeFileSync(`${name}.out`, printed ?? '');
}
