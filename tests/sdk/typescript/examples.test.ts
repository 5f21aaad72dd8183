// SPDX-License-Identifier: Apache-2.0
// Each example of the page prints what stands behind it.
import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {readFileSync, readdirSync} from 'node:fs';
import {test} from 'node:test';
import {promisify} from 'node:util';

const folder = `${import.meta.dirname}/examples`;
const examples = readdirSync(folder).filter(name => name.endsWith('.js'));

test('there are examples', () => assert.notEqual(examples.length, 0));

for (const name of examples) {
    test(name, {timeout: 60_000}, async () => {
        const {stdout, stderr} = await promisify(execFile)(process.execPath, [`${folder}/${name}`]);
        assert.equal(stdout + stderr, readFileSync(`${folder}/${name.replace('.js', '.out')}`, 'utf8'));
    });
}
