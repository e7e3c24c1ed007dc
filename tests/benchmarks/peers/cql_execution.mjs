// node cql_execution.mjs FORM FOLDER OUT LIBRARY HELPERS: the CQL library through the reference translator and cql-execution with
// cql-exec-fhir, a patient at a time. Of an export only the types that the criteria read are taken, and held whole.

import { createReadStream, createWriteStream, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

const begun = performance.now();
process.env.TZ = 'UTC';
const [form, folder, out, libraryFile, helpersFile] = process.argv.slice(2);
const NEEDED = ['Patient', 'Procedure', 'Observation', 'ImagingStudy'];
const DEFINES = { biopsy: 'Has a Biopsy', images: 'MR Images Within the Year Before a Biopsy', psa: 'Elevated PSA' };

const cql = (await import('cql-execution')).default;
const fhir = (await import('cql-exec-fhir')).default;
const { main, helpers } = await translated();
const library = new cql.Library(main, new cql.Repository({ helpers }));
const executor = new cql.Executor(library, new cql.CodeService({}), {});
const source = fhir.PatientSource.FHIRv401();
const now = cql.DateTime.parse('2026-06-01T00:00:00.000+00:00');
const spent = process.cpuUsage();
console.log(JSON.stringify({ setup: (performance.now() - begun) / 1000, setup_cpu: (spent.user + spent.system) / 1e6 }));

const stream = createWriteStream(out);
for await (const [patient, bundle] of form === 'bundles' ? bundles() : exported()) {
  const answer = { patient };
  try {
    source.reset();
    source.loadBundles([bundle]);
    const results = Object.values((await executor.exec(source, now)).patientResults)[0];
    for (const [key, define] of Object.entries(DEFINES)) answer[key] = results[define] ?? null;
  } catch (error) {
    for (const key of Object.keys(DEFINES)) answer[key] ??= null;
    answer.error = String(error?.message ?? error).slice(0, 200);
  }
  if (!stream.write(JSON.stringify(answer) + '\n')) await new Promise(drained => stream.once('drain', drained));
}
await new Promise(done => stream.end(done));

async function translated() {
  const { SystemModelInfoProvider } = await import('@cqframework/cql/cql');
  const translator = await import('@cqframework/cql/cql-to-elm');
  const units = (await import('@lhncbc/ucum-lhc')).default.UcumLhcUtils.getInstance();
  const infos = join(dirname(createRequire(import.meta.url).resolve('cql-exec-fhir')), 'modelInfos');
  const models = new translator.ModelManager();
  models.modelInfoLoader.registerModelInfoProvider(new SystemModelInfoProvider());
  models.modelInfoLoader.registerModelInfoProvider(
    translator.createModelInfoProvider((id, system, version) =>
      translator.stringAsSource(readFileSync(join(infos, `${id.toLowerCase()}-modelinfo-${version}.xml`), 'utf8'))
    )
  );
  const unused = () => {
    throw new Error('the translator only validates units');
  };
  const invalid = unit => (units.validateUnitString(unit).status === 'valid' ? null : `${unit} is not a UCUM unit`);
  const manager = new translator.LibraryManager(
    models,
    translator.CqlCompilerOptions.defaultOptions(),
    null,
    translator.createUcumService(unused, invalid, unused, unused)
  );
  const text = readFileSync(helpersFile, 'utf8');
  manager.librarySourceLoader.registerProvider(
    translator.createLibrarySourceProvider(id => (id === 'FHIRHelpers' ? translator.stringAsSource(text) : null))
  );
  const elm = source => {
    const found = JSON.parse(translator.CqlTranslator.fromText(source, manager).toJson());
    const errors = (found.library.annotation ?? []).filter(a => a.type === 'CqlToElmError' && a.errorSeverity === 'error');
    if (errors.length > 0) throw new Error(errors.map(error => error.message).join('\n'));
    return found;
  };
  return { helpers: elm(text), main: elm(readFileSync(libraryFile, 'utf8')) };
}

async function* bundles() {
  for (const file of readdirSync(folder, { recursive: true }).filter(name => name.endsWith('.json')).sort()) {
    const bundle = JSON.parse(readFileSync(join(folder, file), 'utf8'));
    yield [bundle.entry.find(e => e.resource.resourceType === 'Patient').resource.id, bundle];
  }
}

async function* exported() {
  const patients = new Map();
  for (const kind of NEEDED) {
    for (const file of readdirSync(folder).filter(name => name.startsWith(kind) && name.endsWith('.ndjson')).sort()) {
      for await (const line of createInterface({ input: createReadStream(join(folder, file)), crlfDelay: Infinity })) {
        const resource = JSON.parse(line);
        const id = kind === 'Patient' ? resource.id : resource.subject.reference.split('/').at(-1);
        if (!patients.has(id)) patients.set(id, []);
        patients.get(id).push({ resource });
      }
    }
  }
  for (const [id, entry] of patients) yield [id, { resourceType: 'Bundle', entry }];
}
