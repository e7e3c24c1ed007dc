// {"id", "language", "rule", "text"} -> {"id", "accepted", "error", "nodes"}: texts through the official grammars.
//
// language: cql or fhirpath; rule: any rule of that grammar, such as library or expression.
// accepted: the rule takes the whole text, with no error of lexer or parser.
// error: the first one, of the lexer if it has one, "line:column message" (lines from 1, columns from 0), or null.
// nodes: [name, start, end] of every parser rule, parents before children, in the order of the text. The name is the
//   label of the alternative where it has one, else the rule; offsets are Unicode code points, half open. A rule that
//   ends with EOF (library) reaches to the end of the text, white space included. None for a text that is not accepted.

import { text } from 'node:stream/consumers';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

import {
  BailErrorStrategy,
  CharStream,
  CommonTokenStream,
  DefaultErrorStrategy,
  ParseCancellationException,
  PredictionMode,
  Token
} from 'antlr4ng';

const LANGUAGES = ['cql', 'fhirpath'];
const LIMITS = { stackSizeMb: 256 }; // a generated parser recurses, and so do deeply nested texts

class Rejected extends Error {}

/** An error listener that ends the parse, so that nothing is recovered from and the first error is the only one. */
const STOP = {
  syntaxError(recognizer, symbol, line, column, message) {
    throw new Rejected(`${line}:${column} ${message}`);
  },
  reportAmbiguity() {},
  reportAttemptingFullContext() {},
  reportContextSensitivity() {}
};

/** The parsers of one language, reused for every text: their caches are what makes the next text quick. */
class Language {
  static async load(name) {
    const [lexers, parsers] = await Promise.all(
      ['Lexer', 'Parser'].map(part => import(new URL(`./parsers/${name}${part}.js`, import.meta.url)))
    );
    return new Language(lexers[`${name}Lexer`], parsers[`${name}Parser`]);
  }

  constructor(Lexer, Parser) {
    this.lexer = new Lexer(CharStream.fromString(''));
    this.tokens = new CommonTokenStream(this.lexer);
    this.parser = new Parser(this.tokens);
    for (const recognizer of [this.lexer, this.parser]) {
      recognizer.removeErrorListeners();
      recognizer.addErrorListener(STOP);
    }
  }

  parse(rule, source) {
    try {
      this.read(source);
      return { accepted: true, error: null, nodes: nodesOf(this.quick(rule) ?? this.thorough(rule)) };
    } catch (error) {
      if (error instanceof Rejected) return { accepted: false, error: error.message, nodes: [] };
      throw error;
    }
  }

  read(source) {
    this.lexer.inputStream = CharStream.fromString(source);
    this.tokens.setTokenSource(this.lexer);
    this.tokens.fill();
  }

  /** By SLL prediction, which is enough for most texts; null where it is not, or where the text is wrong. */
  quick(rule) {
    this.begin(PredictionMode.SLL, new BailErrorStrategy());
    try {
      const tree = this.start(rule);
      return this.tokens.LA(1) === Token.EOF ? tree : null;
    } catch (error) {
      if (error instanceof ParseCancellationException) return null;
      throw error;
    }
  }

  /** By LL prediction, which says what is wrong. */
  thorough(rule) {
    this.begin(PredictionMode.LL, new DefaultErrorStrategy());
    const tree = this.start(rule);
    const { type, line, column, text: next } = this.tokens.LT(1);
    if (type !== Token.EOF) throw new Rejected(`${line}:${column} '${next}' after the end of ${rule}`);
    return tree;
  }

  begin(mode, strategy) {
    this.tokens.seek(0);
    this.parser.reset();
    this.parser.state = -1; // else the last parse is taken for what called this one
    this.parser.errorHandler = strategy;
    this.parser.interpreter.predictionMode = mode;
  }

  start(rule) {
    if (!this.parser.ruleNames.includes(rule)) throw new Error(`the grammar has no rule ${rule}`);
    return (this.parser[rule] ?? this.parser[`${rule}_`]).call(this.parser);
  }
}

function nodesOf(tree) {
  const nodes = [];
  const pending = [tree];
  while (pending.length > 0) {
    const node = pending.pop();
    if (node.ruleIndex === undefined) continue; // a token
    const start = node.start.start;
    nodes.push([nameOf(node), start, Math.max(start, node.stop.stop + 1)]);
    for (let i = node.getChildCount() - 1; i >= 0; i--) pending.push(node.getChild(i));
  }
  return nodes;
}

function nameOf(node) {
  const name = node.constructor.name.replace(/Context$/, '');
  return name[0].toLowerCase() + name.slice(1);
}

async function work() {
  const languages = new Map();
  for (const name of LANGUAGES) languages.set(name, await Language.load(name));
  parentPort.on('message', line => {
    if (line === null) {
      parentPort.close();
      return;
    }
    const { id, language, rule, text: source } = JSON.parse(line);
    if (!languages.has(language)) throw new Error(`no grammar of ${language}`);
    parentPort.postMessage(JSON.stringify({ id, ...languages.get(language).parse(rule, source) }));
  });
}

async function serve() {
  const worker = new Worker(new URL(import.meta.url), { resourceLimits: LIMITS });
  worker.on('message', line => process.stdout.write(line + '\n'));
  for (const line of (await text(process.stdin)).split('\n')) {
    if (line.trim() !== '') worker.postMessage(line);
  }
  worker.postMessage(null);
}

await (isMainThread ? serve() : work());
