// SPDX-License-Identifier: Apache-2.0
// E2B's own client for JavaScript, as npm has it, against the daemon that E2B_API_URL names: tests/clients/e2b/native.
import assert from 'node:assert/strict'
import { Sandbox, Template } from 'e2b'

const sandbox = await Sandbox.create('py', { timeoutMs: 60000, metadata: { who: 'a & b' }, envs: { A: '1' } })
assert.match(sandbox.sandboxId, /^[a-z0-9]+$/)
assert.equal(await sandbox.isRunning(), true)
assert.deepEqual((await sandbox.getInfo()).metadata, { who: 'a & b' })
const listed = await Sandbox.list({ query: { metadata: { who: 'a & b' } } }).nextItems()
assert.deepEqual(listed.map((each) => each.sandboxId), [sandbox.sandboxId])
await sandbox.files.write('/sink', 'abc')
await sandbox.setTimeout(30000)

await sandbox.pause()
assert.equal(await sandbox.isRunning(), false)
const again = await Sandbox.connect(sandbox.sandboxId)
assert.equal(await again.isRunning(), true)

const children = await again.fork({ count: 2 })
assert.equal(new Set(children.map((each) => each.sandboxId)).size, 2)
for (const each of children) {
    assert.equal(await each.isRunning(), true)
    assert.equal(await each.kill(), true)
}

const snapshot = await again.createSnapshot({ name: 'js' })
assert.equal(snapshot.snapshotId, 'js:default')
assert.deepEqual((await again.listSnapshots().nextItems()).map((each) => each.snapshotId), ['js:default'])
const template = Template().fromTemplate('js').setEnvs({ A: '2' }).setWorkdir('/srv')
const built = await Template.build(template, 'js-built', { tags: ['one', 'two'] })
assert.deepEqual(built.tags, ['one', 'two'])
assert.equal(await Template.exists('js-built'), true)
await assert.rejects(Template.build(Template().fromTemplate('js').runCmd('true'), 'js-failed'), /neither \/bin\/bash/)
const child = await Sandbox.create('js-built:two', { timeoutMs: 60000 })
assert.equal((await child.commands.run('echo $A')).stdout, '2\n')
assert.equal(await child.kill(), true)
assert.equal(await Sandbox.deleteSnapshot('js-built'), true)
assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), true)
assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), false)

const [metrics] = await again.getMetrics()
assert.ok(metrics.memTotal > metrics.memUsed && metrics.cpuCount === 1)
assert.equal(await again.kill(), true)
assert.equal(await again.isRunning(), false)
