// Values of the JavaScript engine as CQL literal text. Integer and Decimal look alike there: the static type decides.

const SYSTEM = '{urn:hl7-org:elm-types:r1}';
const CALENDAR = /^(year|month|week|day|hour|minute|second|millisecond)s?$/;
const ESCAPES = { '\\': '\\\\', "'": "\\'", '\n': '\\n', '\r': '\\r', '\t': '\\t', '\f': '\\f' };

/** The static type of an ELM node as CQL writes it; null where the translator gave none. */
export function typeName(node) {
  const specifier = typeOf(node);
  return specifier === null ? null : specifierName(specifier);
}

/** [the text of the value, whether there is an uncertainty in it]; `node` is the ELM that gave the value. */
export function literal(value, node) {
  const seen = { uncertain: false };
  return [render(value, typeOf(node), seen), seen.uncertain];
}

function typeOf(node) {
  if (node.resultTypeSpecifier) return node.resultTypeSpecifier;
  return node.resultTypeName ? { type: 'NamedTypeSpecifier', name: node.resultTypeName } : null;
}

function specifierName(type) {
  switch (type.type) {
    case 'ListTypeSpecifier':
      return `List<${specifierName(type.elementType)}>`;
    case 'IntervalTypeSpecifier':
      return `Interval<${specifierName(type.pointType)}>`;
    case 'ChoiceTypeSpecifier':
      return `Choice<${type.choice.map(specifierName).join(', ')}>`;
    case 'TupleTypeSpecifier':
      return `Tuple { ${type.element.map(e => `${identifier(e.name)} ${specifierName(e.elementType)}`).join(', ')} }`;
    default:
      return type.name.replace(/^\{.*\}/, '');
  }
}

function render(value, type, seen) {
  if (value === null || value === undefined) return 'null';
  if (typeof value === 'number' || typeof value === 'bigint') return number(value, type);
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return string(value);
  if (Array.isArray(value)) {
    const element = within(type, 'ListTypeSpecifier', 'elementType');
    return list(value.map(v => render(v, element, seen)));
  }
  if (value.isUncertainty) {
    seen.uncertain = true;
    return `Interval[${render(value.low, type, seen)}, ${render(value.high, type, seen)}]`;
  }
  if (value.isInterval) {
    const point = within(type, 'IntervalTypeSpecifier', 'pointType');
    const [open, close] = [value.lowClosed ? '[' : '(', value.highClosed ? ']' : ')'];
    return `Interval${open}${render(value.low, point, seen)}, ${render(value.high, point, seen)}${close}`;
  }
  if (value.isDateTime) return dateTime(value, type);
  if (value.isDate) return `@${value}`;
  if (value.isQuantity) return quantity(value);
  if (value.isRatio) return `${quantity(value.numerator)}:${quantity(value.denominator)}`;
  if (value.isCode) return instance('Code', value, ['code', 'system', 'version', 'display'], seen);
  if (value.isConcept) return instance('Concept', value, ['codes', 'display'], seen);
  if (value.isValueSet) return instance('ValueSet', value, ['id', 'version', 'name'], seen);
  if (Object.getPrototypeOf(value) === Object.prototype) return tuple(value, type, seen);
  return instance(value.constructor.name, value, Object.keys(value), seen);
}

function number(value, type) {
  if (named(type, 'Long')) return `${value}L`;
  const text = plain(value);
  return named(type, 'Decimal') && /^-?\d+$/.test(text) ? `${text}.0` : text;
}

// A number without an exponent.
function plain(value) {
  const text = String(value);
  const parts = /^(-?)(\d+)(?:\.(\d+))?e([+-]\d+)$/.exec(text);
  if (parts === null) return text;
  const [, sign, whole, fraction = '', exponent] = parts;
  const digits = whole + fraction;
  const point = whole.length + Number(exponent);
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  if (point >= digits.length) return sign + digits + '0'.repeat(point - digits.length);
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

// The engine holds a Time as a DateTime on a day of the year 0: so may be a DateTime that is out of range.
function dateTime(value, type) {
  if (named(type, 'Time') || (value.isTime() && !named(type, 'DateTime'))) return `@T${value.toStringTime()}`;
  const text = value.toStringDateTime();
  return text.includes('T') ? `@${text}` : `@${text}T`;
}

function quantity(value) {
  const decimal = number(value.value, { type: 'NamedTypeSpecifier', name: `${SYSTEM}Decimal` });
  const unit = value.unit || '1';
  return CALENDAR.test(unit) ? `${decimal} ${unit}` : `${decimal} ${string(unit)}`;
}

function tuple(value, type, seen) {
  const types = new Map(type?.type === 'TupleTypeSpecifier' ? type.element.map(e => [e.name, e.elementType]) : []);
  return members('Tuple', Object.keys(value).map(key => [key, render(value[key], types.get(key) ?? null, seen)]));
}

function instance(name, value, keys, seen) {
  const given = keys.filter(key => value[key] !== null && value[key] !== undefined);
  return members(name, given.map(key => [key, render(value[key], null, seen)]));
}

function members(name, rows) {
  if (rows.length === 0) return `${name} { : }`;
  return `${name} { ${rows.map(([key, text]) => `${identifier(key)}: ${text}`).join(', ')} }`;
}

function list(texts) {
  return texts.length === 0 ? '{ }' : `{ ${texts.join(', ')} }`;
}

function string(value) {
  return `'${value.replace(/[\\'\n\r\t\f]/g, c => ESCAPES[c])}'`;
}

function identifier(name) {
  return /^[A-Za-z_]\w*$/.test(name) ? name : `"${name}"`;
}

function within(type, kind, member) {
  return type?.type === kind ? type[member] : null;
}

// In a choice, a number is what the choice allows: Decimal only where Integer is not among it.
function named(type, name) {
  if (type?.type === 'ChoiceTypeSpecifier') {
    const numeric = type.choice.filter(c => ['Integer', 'Long', 'Decimal'].some(n => named(c, n)));
    return numeric.length === 1 && named(numeric[0], name);
  }
  return type?.name === SYSTEM + name;
}
