'use strict';
// Compares requests of `longshore setup` with the types that the vendors make of the specifications of their APIs, and ship with
// their clients.
//
//   node check.js NODE_MODULES FOLDER
//
// FOLDER has files SERVER-SCHEMA.json, each an object of paths and bodies (tests/golden/setup). With exit code 0 stdout is
// {"checked": requests, "left_out": [why, …]}; with exit code 1 stdout is a list of what the types refuse, one line each.
//
// Types say which members there are and what kind of value each has. They do not say which values a server takes.
const { createRequire } = require('node:module');
const { readFileSync, readdirSync } = require('node:fs');
const path = require('node:path');

const [modules, folder] = process.argv.slice(2).map((each) => path.resolve(each));
const ts = createRequire(path.join(modules, 'check.js'))('typescript');

// What requests to a path are called, by the client that has the server's types.
const ELASTICSEARCH = {
  _component_template: 'ClusterPutComponentTemplateRequest',
  _index_template: 'IndicesPutIndexTemplateRequest',
  '_ilm/policy': 'IlmPutLifecycleRequest',
};
const flat = (client) => (sort, name, body) => ({
  type: `import('${client}').estypes.${ELASTICSEARCH[sort]}`,
  request: { name, ...body },
});
const SERVERS = {
  // The types of 7.17 were not kept up: of templates they demand members that no server demands, so only the policy is
  // compared, without `_meta`, which this server takes (LifecyclePolicy.METADATA in x-pack-core 7.17.29) and its types do not have.
  'elasticsearch-7.17': (sort, name, body) => {
    if (sort !== '_ilm/policy') return undefined;
    const { _meta, ...policy } = body.policy;
    return { type: `import('elasticsearch-7.17').estypes.${ELASTICSEARCH[sort]}`, request: { name, body: { policy } } };
  },
  'elasticsearch-8.19': flat('elasticsearch-8.19'),
  'elasticsearch-9.2': flat('elasticsearch-9.2'),
  serverless: flat('elasticsearch-9.2'),
  'opensearch-2.19': opensearch,
  'opensearch-3.8': opensearch,
};

// One specification for all versions; real servers have taken the templates (tests/it/e2e/setup.rs), but none has policies.
function opensearch(sort, name, body) {
  if (sort !== '_plugins/_ism/policies') return undefined;
  return { type: `import('opensearch/api/ism/putPolicy.js').Ism_PutPolicy_Request`, request: { policy_id: name, body } };
}

// The source that assigns each request to a variable of its type, the place that each of its lines speaks of, and the places of
// what is not compared.
function source() {
  const lines = [];
  const places = [];
  const leftOut = [];
  for (const file of readdirSync(folder).filter((file) => file.endsWith('.json')).sort()) {
    const server = SERVERS[file.slice(0, file.lastIndexOf('-'))];
    if (!server) throw new Error(`${file}: no client is known for it`);
    for (const [where, body] of Object.entries(JSON.parse(readFileSync(path.join(folder, file), 'utf8')))) {
      const slash = where.lastIndexOf('/');
      const made = server(where.slice(0, slash), where.slice(slash + 1), body);
      if (!made) {
        leftOut.push(`${file} ${where}`);
        continue;
      }
      places.push(`${file} ${where}`);
      lines.push(`export const request_${lines.length}: ${made.type} = ${JSON.stringify(made.request)};`);
    }
  }
  return { text: lines.join('\n'), places, leftOut };
}

// What the compiler says of the source: it need not lie anywhere.
function complaints(text, places) {
  const name = path.join(modules, '..', 'requests.ts');
  const options = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
  };
  const host = ts.createCompilerHost(options);
  const [there, read, exists] = [host.getSourceFile, host.readFile, host.fileExists];
  host.getSourceFile = (file, ...rest) =>
    file === name ? ts.createSourceFile(file, text, ts.ScriptTarget.ES2022) : there.call(host, file, ...rest);
  host.readFile = (file) => (file === name ? text : read.call(host, file));
  host.fileExists = (file) => file === name || exists.call(host, file);
  const program = ts.createProgram([name], options, host);
  return ts.getPreEmitDiagnostics(program).map((found) => {
    const told = ts.flattenDiagnosticMessageText(found.messageText, ' ');
    if (!found.file || found.file.fileName !== name) return told;
    const { line, character } = found.file.getLineAndCharacterOfPosition(found.start);
    const at = text.split('\n')[line].slice(character, character + 60);
    return `${places[line]}: at ${at}: ${told}`;
  });
}

const { text, places, leftOut } = source();
const found = complaints(text, places);
console.log(found.length ? found.join('\n') : JSON.stringify({ checked: places.length, left_out: leftOut }));
process.exitCode = found.length ? 1 : 0;
