// One measure through the reference engine, timed: {"libraries": [elm], "name", "version", "valuesets", "cases", "period"} on standard input,
// {"patients", "seconds"} on standard output. Loading the library and the records counts; starting node does not.

import { readFileSync } from 'node:fs';
import cql from 'cql-execution';
import fhir from 'cql-exec-fhir';

const input = JSON.parse(readFileSync(0, 'utf8'));
const once = async cases => {
  const begun = process.hrtime.bigint();
  const repository = new cql.Repository(Object.fromEntries(input.libraries.map((elm, index) => [`lib${index}`, elm])));
  const main = input.libraries.find(elm => elm.library.identifier.id === input.name);
  const library = new cql.Library(main, repository);
  const codes = new cql.CodeService(input.valuesets);
  const period = new cql.Interval(cql.DateTime.parse(input.period[0]), cql.DateTime.parse(input.period[1]));
  const executor = new cql.Executor(library, codes, { 'Measurement Period': period });
  const source = fhir.PatientSource.FHIRv401({ requireProfileTagging: true });
  source.loadBundles(
    cases.map(resources => ({ resourceType: 'Bundle', entry: resources.map(resource => ({ resource })) }))
  );
  const results = await executor.exec(source);
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  return { patients: Object.keys(results.patientResults).length, seconds };
};

await once(input.cases.slice(0, 3));
console.log(JSON.stringify(await once(input.cases)));
