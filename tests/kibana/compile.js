'use strict';
// Compiles queries as Kibana and OpenSearch Dashboards do, with their own code.
//
//   node compile.js NODE_MODULES <request >answer
//
// request: {"application": "kibana" | "opensearch-dashboards", "title": data view, "fields": "fields" of a _field_caps answer,
//           "searches": [{"query": KQL, "filters": [{"range": [from, to]} | {"phrase": [field, value]} | {"exists": field}]}]}
// answer:  a list with the query DSL of each, or {"error": why}; with exit code 1 a text on stderr
//
// Without dependencies of its own but those of package.json, which lie in NODE_MODULES.
const { createRequire } = require('node:module');
const { readFileSync } = require('node:fs');
const path = require('node:path');

const load = createRequire(path.join(path.resolve(process.argv[2]), 'compile.js'));

// What a server's types are to data views of both applications (castEsToKbnFieldTypeName, castOpenSearchToOsdFieldTypeName).
const TYPES = {
  string: ['text', 'match_only_text', 'keyword', 'constant_keyword', 'wildcard', 'version', '_id', '_index', '_ignored', '_type'],
  number: ['long', 'integer', 'short', 'byte', 'double', 'float', 'half_float', 'scaled_float', 'unsigned_long'],
  date: ['date', 'date_nanos'],
  ip: ['ip'],
  boolean: ['boolean'],
  object: ['object', 'nested'],
  _source: ['_source'],
};

// The fields of a data view: one for each name, with all types that it has in the indices.
function dataViewFields(capabilities) {
  return Object.entries(capabilities).map(([name, byType]) => {
    const esTypes = Object.keys(byType).filter((type) => type !== 'unmapped');
    const kinds = new Set(esTypes.map((type) => Object.keys(TYPES).find((kind) => TYPES[kind].includes(type)) ?? 'unknown'));
    const all = (ability) => esTypes.every((type) => byType[type][ability]);
    return {
      name,
      type: kinds.size === 1 ? [...kinds][0] : 'conflict',
      esTypes,
      searchable: all('searchable'),
      aggregatable: all('aggregatable'),
      scripted: false,
    };
  });
}

function kibana() {
  const { kbnEsQuery } = load('kbn-es-query');
  return {
    phrase: kbnEsQuery.buildPhraseFilter,
    exists: kbnEsQuery.buildExistsFilter,
    compile: (view, query, filters, config) => kbnEsQuery.buildEsQuery(view, [{ query, language: 'kuery' }], filters, config),
  };
}

function dashboards() {
  const osd = load('dsl-builder');
  return {
    phrase: osd.buildPhraseFilter,
    exists: osd.buildExistsFilter,
    // Its buildOpenSearchQuery takes a query that stands alone out of its `and`, unlike the application it was taken from:
    // then an `or` beside a filter asks for nothing. These are the steps of the application.
    compile: (view, query, filters, config) => {
      const tree = osd.nodeTypes.function.buildNode('and', [osd.fromKueryExpression(query, config)]);
      const asked = osd.toOpenSearchQuery(tree, view, config).bool;
      const filtered = osd.buildQueryFromFilters(filters, view, config.ignoreFilterIfFieldNotInIndex);
      const both = (clause) => [...(asked[clause] ?? []), ...filtered[clause]];
      return { bool: { must: both('must'), filter: both('filter'), should: both('should'), must_not: both('must_not') } };
    },
  };
}

function main() {
  const request = JSON.parse(readFileSync(0, 'utf8'));
  const application = { kibana, 'opensearch-dashboards': dashboards }[request.application]();
  const view = { title: request.title, fields: dataViewFields(request.fields) };
  // The defaults of the applications' settings.
  const config = {
    allowLeadingWildcards: true,
    queryStringOptions: { analyze_wildcard: true },
    ignoreFilterIfFieldNotInIndex: false,
    dateFormatTZ: 'UTC',
  };
  const field = (name) => view.fields.find((field) => field.name === name) ?? { name, scripted: false };
  const toFilter = ({ range, phrase, exists }) => {
    if (range) {
      const [gte, lte] = range;
      return { meta: {}, query: { range: { '@timestamp': { format: 'strict_date_optional_time', gte, lte } } } };
    }
    return phrase ? application.phrase(field(phrase[0]), phrase[1], view) : application.exists(field(exists), view);
  };
  const answers = request.searches.map(({ query, filters }) => {
    try {
      return application.compile(view, query, filters.map(toFilter), config);
    } catch (error) {
      return { error: `${query}: ${error.message}` };
    }
  });
  process.stdout.write(JSON.stringify(answers));
}

main();
