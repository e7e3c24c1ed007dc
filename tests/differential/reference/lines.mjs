// JSON lines in, JSON lines out, by a worker: where a case hangs or runs out of memory, the next one goes on.

import { createInterface } from 'node:readline';
import { getHeapStatistics } from 'node:v8';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

const SECONDS = Number(process.env.CQL_REFERENCE_SECONDS ?? 30);
const STARTING_SECONDS = 120;
const LIMITS = { maxOldGenerationSizeMb: 4096, stackSizeMb: 64 };
const FULL = 1.5e9; // bytes; the translator keeps something of every library that it has seen

/**
 * Answers every line of stdin.
 * @param url of the calling script, which the worker runs too
 * @param load () => Promise of (row, note) => answer; in the worker only; note(partial) keeps what is known so far
 * @param failed (message, partial) => the answer for a row that could not be answered
 */
export async function serve(url, load, failed) {
  if (isMainThread) {
    process.env.TZ = 'UTC';
    await answerLines(url, failed);
    return;
  }
  const answer = await load();
  parentPort.on('message', async row => {
    let partial = {};
    const note = known => parentPort.postMessage({ partial: (partial = known) });
    const found = await answer(row, note).catch(error => failed(messageOf(error), partial));
    parentPort.postMessage({ answer: found, full: getHeapStatistics().used_heap_size > FULL });
  });
  parentPort.postMessage({ answer: null, full: false });
}

/** What an error says, without the frame that the engine puts around it. */
export function messageOf(error) {
  const inner = error?.cause ?? error;
  return String(inner?.message || inner);
}

async function answerLines(url, failed) {
  let worker = null;
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    if (line.trim() === '') continue;
    const row = JSON.parse(line);
    let partial = {};
    let said;
    try {
      if (worker?.threadId === -1) worker = null;
      worker ??= await start(url);
      worker.postMessage(row);
      said = await next(worker, SECONDS, known => (partial = known));
    } catch (error) {
      said = { answer: failed(messageOf(error), partial), full: true };
    }
    if (said.full) {
      await worker?.terminate();
      worker = null;
    }
    const text = JSON.stringify({ id: row.id, ...said.answer });
    if (!process.stdout.write(text + '\n')) await new Promise(drained => process.stdout.once('drain', drained));
  }
  await worker?.terminate();
}

async function start(url) {
  const worker = new Worker(new URL(url), { stdout: true, resourceLimits: LIMITS });
  worker.stdout.pipe(process.stderr, { end: false });
  worker.on('error', () => {});
  try {
    await next(worker, STARTING_SECONDS);
  } catch (error) {
    await worker.terminate();
    throw error;
  }
  return worker;
}

function next(worker, seconds, note = () => {}) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => done(reject, new Error(`no answer within ${seconds} s`)), seconds * 1000);
    const message = said => ('partial' in said ? note(said.partial) : done(resolve, said));
    const error = fault => done(reject, fault);
    const exit = code => done(reject, new Error(`the worker ended with code ${code}`));
    const done = (settle, value) => {
      clearTimeout(timer);
      worker.off('message', message).off('error', error).off('exit', exit);
      settle(value);
    };
    worker.on('message', message).on('error', error).on('exit', exit);
  });
}
