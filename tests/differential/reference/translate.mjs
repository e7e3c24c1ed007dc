// {"id", "text", "libraries"?} -> {"id", "elm", "errors"}: CQL libraries through the reference translator.

import { serve } from './lines.mjs';

const load = async () => {
  const { translate } = await import('./translator.mjs');
  return async row => translate(row.text, row.libraries);
};
const failed = message => ({
  elm: null,
  errors: [
    { severity: 'error', message, startLine: null, startChar: null, endLine: null, endChar: null, type: 'internal' }
  ]
});

await serve(import.meta.url, load, failed);
