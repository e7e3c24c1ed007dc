// The reference translator with what it needs around it: model info, UCUM, included libraries.

import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SystemModelInfoProvider } from '@cqframework/cql/cql';
import {
  CqlCompilerOptions,
  CqlTranslator,
  createLibrarySourceProvider,
  createModelInfoProvider,
  createUcumService,
  LibraryManager,
  ModelManager,
  stringAsSource
} from '@cqframework/cql/cql-to-elm';
import ucum from '@lhncbc/ucum-lhc';
import { messageOf } from './lines.mjs';

const { EnableAnnotations, EnableLocators, EnableResultTypes } = CqlCompilerOptions.Options;
const units = ucum.UcumLhcUtils.getInstance();
const models = modelManager();
const ucumService = createUcumService(unused, invalidUnit, unused, unused);
let kept = { key: null, libraries: null };

/**
 * Translates one CQL library.
 * @param text of the library
 * @param included name or `name|version` -> text of the libraries that it may include
 * @returns elm (where errors were found, with Null in the faulty places; null where there is none at all) and errors
 */
export function translate(text, included = {}) {
  let translator;
  try {
    translator = CqlTranslator.fromText(text, libraries(included));
    const elm = JSON.parse(translator.toJson());
    return { elm, errors: (elm.library.annotation ?? []).filter(a => a.type === 'CqlToElmError').map(problem) };
  } catch (error) {
    kept = { key: null, libraries: null };
    const found = translator?.exceptions.asJsReadonlyArrayView() ?? [];
    return { elm: null, errors: [...found.map(exception), unplaced(messageOf(error))] };
  }
}

/** An error of no known place. */
export function unplaced(message, severity = 'error', type = 'internal') {
  return { severity, message, startLine: null, startChar: null, endLine: null, endChar: null, type };
}

function problem(found) {
  return {
    severity: found.errorSeverity,
    message: found.message,
    startLine: found.startLine ?? null,
    startChar: found.startChar ?? null,
    endLine: found.endLine ?? null,
    endChar: found.endChar ?? null,
    type: found.errorType
  };
}

function exception(found) {
  const type = /^Cql(.*)Exception$/.exec(found.constructor.name)?.[1].toLowerCase() ?? 'internal';
  return unplaced(found.message, found.severity.name.toLowerCase(), type);
}

// Compiled includes are kept as long as the same ones are asked for; a manager per set, so that no set sees another's.
function libraries(included) {
  const key = JSON.stringify(included);
  if (kept.key !== key) {
    const options = CqlCompilerOptions.defaultOptions();
    options.withOptions([EnableAnnotations, EnableLocators, EnableResultTypes]);
    const manager = new LibraryManager(models, options, null, ucumService);
    manager.librarySourceLoader.registerProvider(
      createLibrarySourceProvider((id, system, version) => {
        const text = included[`${id}|${version}`] ?? included[id];
        return text === undefined ? null : stringAsSource(text);
      })
    );
    kept = { key, libraries: manager };
  }
  return kept.libraries;
}

// Model info in `models` beside this file goes before the one that comes with cql-exec-fhir, which is older.
function modelManager() {
  const here = dirname(fileURLToPath(import.meta.url));
  const packaged = join(dirname(createRequire(import.meta.url).resolve('cql-exec-fhir')), 'modelInfos');
  const files = new Map();
  for (const folder of [packaged, join(here, 'models')]) {
    for (const file of readdirSync(folder)) files.set(file, join(folder, file));
  }
  const manager = new ModelManager();
  manager.modelInfoLoader.registerModelInfoProvider(new SystemModelInfoProvider());
  manager.modelInfoLoader.registerModelInfoProvider(
    createModelInfoProvider((id, system, version) => {
      const file = files.get(`${id.toLowerCase()}-modelinfo-${version}.xml`);
      return file === undefined ? null : stringAsSource(readFileSync(file, 'utf8'));
    })
  );
  return manager;
}

function invalidUnit(unit) {
  const found = units.validateUnitString(unit);
  return found.status === 'valid' ? null : (found.msg[0] ?? `${unit} is not a UCUM unit`);
}

function unused() {
  throw new Error('the translator only validates units');
}
