// SPDX-License-Identifier: Apache-2.0
// The SDK against the daemon's OpenAPI document: what it asks for, and its types.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {before, test} from 'node:test';

import {Controller} from 'forkd';
import type TypeScript from 'typescript';

interface Operation {
    operationId: string;
    parameters?: {in: string; name: string}[];
}

interface Schema {
    properties?: Record<string, unknown>;
    required?: string[];
}

interface Document {
    paths: Record<string, Record<string, Operation>>;
    components: {schemas: Record<string, Schema>};
}

const sdk = process.env['FORKD_SDK']!;
const ts = createRequire(`${sdk}/package.json`)('typescript') as typeof TypeScript;

let document: Document;
let operations: {method: string; path: RegExp; operation: Operation}[];

before(async () => {
    document = (await new Controller().openapi()) as unknown as Document;
    operations = Object.entries(document.paths).flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, operation]) => ({
            method: method.toUpperCase(),
            path: new RegExp(`^${path.replace(/\{path\}/g, '.*').replace(/\{\w+\}/g, '[^/]+')}$`),
            operation,
        })),
    );
});

test('every route is used, and none that is not there, with no parameter that is not there', () => {
    const left = new Set(operations.map(({operation}) => operation.operationId));
    left.delete('healthzSlash'); // the same as another
    left.delete('joinGuest'); // the guest's own protocol, for the command line: other routes are its parts
    for (const line of readFileSync(process.env['FORKD_REQUESTS']!, 'utf8').trim().split('\n')) {
        const [method, target] = line.split(' ') as [string, string];
        const [path, query] = target.split('?') as [string, string?];
        const found = operations.find(one => one.method === method && one.path.test(path));
        assert.ok(found, line);
        left.delete(found.operation.operationId);
        if (!path.includes('/ports/')) {
            const known = (found.operation.parameters ?? []).filter(one => one.in === 'query').map(one => one.name);
            for (const name of new URLSearchParams(query).keys()) {
                assert.ok(known.includes(name), `${line}: ${name}`);
            }
        }
    }
    assert.deepEqual([...left], []);
});

/** The types that have another name, and the fields that are no options. */
const others: Record<string, {type: string; without: string[]}> = {
    Branch: {type: 'BranchOptions', without: []},
    CreateSandboxes: {type: 'SpawnOptions', without: []},
    CreateSnapshot: {type: 'SnapshotOptions', without: []},
    CreateWorkspace: {type: 'WorkspaceOptions', without: []},
    Exec: {type: 'StartOptions', without: ['args', 'stdin_base64', 'stream']},
    Lifetime: {type: 'LifetimeOptions', without: []},
    MakeDirectory: {type: 'OwnerOptions', without: ['path', 'path_base64']},
    PutPool: {type: 'PoolOptions', without: []},
    Take: {type: 'NamingOptions', without: []},
};

/** Those of which the SDK has no type, or one that is no interface. */
const untyped = [
    'CompactSnapshot',
    'Error',
    'Eval',
    'Labels',
    'Move',
    'Name',
    'NetworkPolicy',
    'Pong',
    'ProcessLine',
    'Signal',
    'Suspend',
];

const snake = (name: string) => name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`);

test('types have the fields of their schemas, and those that are always there', () => {
    const file = `${sdk}/dist/types.d.ts`;
    const program = ts.createProgram([file], {noLib: true, types: []});
    const checker = program.getTypeChecker();
    const types = new Map<string, TypeScript.Type>();
    program.getSourceFile(file)!.forEachChild(node => {
        if (ts.isInterfaceDeclaration(node)) {
            types.set(node.name.text, checker.getTypeAtLocation(node));
        }
    });
    for (const [name, schema] of Object.entries(document.components.schemas)) {
        if (untyped.includes(name)) {
            continue;
        }
        const {type, without} = others[name] ?? {type: name, without: []};
        const properties = types.get(type)?.getProperties();
        assert.ok(properties, `there is no type ${type}`);
        const fields = properties.map(property => [
            snake(property.name),
            (property.flags & ts.SymbolFlags.Optional) === 0,
        ]);
        const wanted = Object.keys(schema.properties ?? {})
            .filter(property => !without.includes(property))
            .map(property => [property, schema.required?.includes(property) ?? false]);
        assert.deepEqual(Object.fromEntries(fields), Object.fromEntries(wanted), name);
    }
});
