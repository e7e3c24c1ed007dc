// {"id", "expression"} -> {"id", "translated", "errors", "thrown", "result", "type", "uncertain", "unsupported"}:
// expressions without a patient through the reference translator and the reference JavaScript engine.

import { serve } from './lines.mjs';

const TIMESTAMP = '2025-06-15T12:00:00.000+00:00';
const NOTHING = {
  translated: false,
  errors: [],
  thrown: null,
  result: null,
  type: null,
  uncertain: false,
  unsupported: []
};

const load = async () => {
  const { translate } = await import('./translator.mjs');
  const { literal, typeName } = await import('./literal.mjs');
  const cql = (await import('cql-execution')).default;
  const known = (await import('cql-execution/lib/elm/expressions.js')).default;
  const timestamp = cql.DateTime.parse(TIMESTAMP);
  const nobody = { currentPatient: () => undefined, nextPatient: () => undefined };

  return async (row, note) => {
    const { elm, errors } = translate(`library Test version '1.0.0'\ndefine Result: ${row.expression}`);
    const faults = errors.filter(error => error.severity === 'error').map(error => error.message);
    if (faults.length > 0 || elm === null) return { ...NOTHING, errors: faults };
    const definition = elm.library.statements.def.find(def => def.name === 'Result');
    const lacking = unsupported(definition.expression, known);
    const answer = { ...NOTHING, translated: true, type: typeName(definition), unsupported: lacking };
    note(answer);
    const executor = new cql.Executor(new cql.Library(elm), new cql.CodeService({}), {});
    const results = await executor.exec(nobody, timestamp);
    const [result, uncertain] = literal(results.unfilteredResults.Result, definition);
    return { ...answer, result, uncertain };
  };
};

// What the engine lacks and yet answers: it takes an operator that it does not know for null, and a Long for text.
function unsupported(expression, known) {
  const found = new Set();
  const visit = node => {
    if (node === null || typeof node !== 'object') return;
    const { type } = node;
    if (typeof type === 'string' && !type.endsWith('TypeSpecifier') && !(type in known)) found.add(type);
    if ([node.valueType, node.resultTypeName].includes('{urn:hl7-org:elm-types:r1}Long')) found.add('Long');
    for (const [key, child] of Object.entries(node)) if (key !== 'annotation') visit(child);
  };
  visit(expression);
  return [...found].sort();
}

await serve(import.meta.url, load, (message, partial) => ({ ...NOTHING, ...partial, thrown: message }));
