"""How the value of an expression moves when rows in doubt are kept, or more records of a type are found: up, down, not at all, or no one knows.

A list moves up where it only gains elements, a Boolean where it only goes from false over null to true, a count where it only rises. A criterion that
moves one way in its rows in doubt has its extremes with none and with all of them kept, so that two runs settle it; one that moves up in the records of
a type stays met however many of these are missing. Derived from the typed nodes alone, for both languages; what is not understood is `MIXED`.

The monotonicity of an expression say how it moves by what moves it: `DOUBTS`, the name of a resource type (more records of the patient, or of nobody), `REACHED`
with a type (more records that are found through references, or of other patients), `OPERANDS` of the function that it is the body of, and `ANYTHING` for
all that is not listed. What is not listed does not move it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.questions import Bound, bound_in, is_question
from fhir_eligibility.compiler.elm.shapes import ANY_NAME

CONSTANT, INCREASES, DECREASES, MIXED = "constant", "grows", "falls", "mixed"
DOUBTS, OPERANDS, ANYTHING, REACHED = "(doubts)", "(operands)", "(anything)", "(reached) "
Monotonicity = Mapping[str, str]
Known = Callable[[str, str], Monotonicity]
UNKNOWN: Monotonicity = {ANYTHING: MIXED}
STILL: Monotonicity = {}
_OPPOSITE = {INCREASES: DECREASES, DECREASES: INCREASES, CONSTANT: CONSTANT, MIXED: MIXED}
_ANY_RESOURCE = frozenset(("Resource", "DomainResource", ANY_NAME))


def direction_in(monotonicity: Monotonicity, names: Iterable[str]) -> str:
    """How a value moves when all that is named moves."""
    return _joined({monotonicity.get(name, monotonicity.get(ANYTHING, CONSTANT)) for name in names})


def moves_one_way(monotonicity: Monotonicity) -> bool:
    """Whether a value moves one way in its rows in doubt."""
    return direction_in(monotonicity, (DOUBTS,)) != MIXED


def types_in(monotonicity: Monotonicity) -> list[str]:
    """The resource types whose records move a value."""
    return sorted({name.removeprefix(REACHED) for name in monotonicity if name not in (DOUBTS, OPERANDS, ANYTHING)})


def together(monotonicity: Collection[Monotonicity]) -> Monotonicity:
    """The monotonicity of what moves as all of its parts do."""
    moving = [one for one in monotonicity if one]
    if len(moving) <= 1:
        return moving[0] if moving else STILL
    names = {name for one in moving for name in one}
    return {name: _joined({one.get(name, one.get(ANYTHING, CONSTANT)) for one in moving}) for name in names}


def opposite(monotonicity: Monotonicity) -> Monotonicity:
    """The monotonicity of what moves against its part."""
    return {name: _OPPOSITE[direction] for name, direction in monotonicity.items()}


def mixed(monotonicity: Collection[Monotonicity]) -> Monotonicity:
    """The monotonicity of what moves in some way or other where one of its parts does."""
    return {name: MIXED for one in monotonicity for name in one}


def records_of(resource_type: str, *, reached: bool = False) -> Monotonicity:
    """The monotonicity of the records of a type; `reached` ones are found through references, or are another patient's."""
    if resource_type in _ANY_RESOURCE:
        return {ANYTHING: MIXED}
    own = {resource_type: INCREASES}
    return {**own, REACHED + resource_type: INCREASES} if reached else own


def _joined(monotonicity: set[str]) -> str:
    found = monotonicity - {CONSTANT}
    return CONSTANT if not found else found.pop() if len(found) == 1 else MIXED


def _none_of_a_count(node: Node) -> bool:
    """Whether a node asks whether a count is zero: of a count that only rises, that falls."""
    kinds = {operand.kind for operand in node.operands}
    zero = any(isinstance(one, n.Literal) and one.value == 0 for one in node.operands)
    return zero and kinds == {"Count", "Literal"}


_MOVES: dict[str, Callable[[Monotonicity], Monotonicity]] = {
    "up": lambda monotonicity: monotonicity,
    "down": opposite,
    "mixed": lambda monotonicity: mixed((monotonicity,)),
}


def _as_the_table_tells(node: Node, parts: Sequence[Monotonicity]) -> Monotonicity:
    """The monotonicity of a registered operator by those of its operands; nobody knows where the table does not tell."""
    if n.is_operation(node, "Equal") and _none_of_a_count(node):
        return opposite(together(parts))
    words = n.traits_of(node).moves.split()
    if len(words) != len(parts):
        return mixed(parts)
    return together([_MOVES[word](part) for word, part in zip(words, parts, strict=True)])


# -- CQL

_MOVING = (n.ExpressionRef, n.FunctionRef)


class MonotonicityFinder:
    """Monotonicity of nodes of CQL; `known` tells those of the definitions that they refer to.

    `nullable` tells whether a node may have no value: a condition that always has one leaves no row in doubt.
    """

    def __init__(self, known: Known, nullable: Callable[[Node], bool]) -> None:
        self.known = known
        self.nullable = nullable

    def of(self, node: Node) -> Monotonicity:
        """The monotonicity of a node's value."""
        if isinstance(node, n.OperandRef):
            return {OPERANDS: INCREASES}
        if isinstance(node, n.DefinitionRef):
            return self.reference(node) if isinstance(node, _MOVING) else STILL
        if isinstance(node, n.Query):
            return self.query(node)
        if isinstance(node, n.ModelRetrieve):
            return self.retrieve(node)
        if isinstance(node, (n.If, n.Case)):
            return self.choice(node)
        parts = [self.of(child) for child in node.children]
        if not any(parts):
            return STILL
        if isinstance(node, (n.And, n.Or)):
            return together(parts)
        if isinstance(node, n.Not):
            return opposite(parts[0])
        if isinstance(node, n.Implies):
            return together((opposite(parts[0]), parts[1]))
        return _as_the_table_tells(node, parts)

    def retrieve(self, node: n.ModelRetrieve) -> Monotonicity:
        """More records are more rows; a row whose code cannot be told is a doubt."""
        spec = node.spec
        moves: list[Monotonicity] = [records_of(spec.resource_type, reached=node.related)]
        if node.operands:
            moves.append({DOUBTS: INCREASES})
        if spec.target:
            moves.append(records_of(spec.target, reached=True))
        moves.append(mixed([self.of(operand) for operand in node.operands]))
        return together(moves)

    def choice(self, node: n.If | n.Case) -> Monotonicity:
        """A condition without an answer is a doubt, and either branch may be the greater."""
        tests = node.operands[:-1:2]
        conditions = [*tests, *node.children[len(node.operands) :]]
        branches = together([self.of(branch) for branch in (*node.operands[1:-1:2], node.operands[-1])])
        doubtful: Monotonicity = {DOUBTS: MIXED} if any(self.nullable(test) for test in tests) else STILL
        return together((branches, doubtful, mixed([self.of(condition) for condition in conditions])))

    def condition(self, node: Node) -> Monotonicity:
        """The monotonicity of a filter by a condition: one that may have no answer keeps more rows where it is a doubt."""
        return together((self.of(node), {DOUBTS: INCREASES} if self.nullable(node) else STILL))

    def reference(self, node: n.DefinitionRef) -> Monotonicity:
        exported = node.exported
        given = [self.of(operand) for operand in node.operands]
        if not exported.python:  # the patient of the context, who may not be among the data
            return records_of(exported.name) if exported.value == "context" else mixed(given)
        body = self.known(exported.owner, exported.python)
        own = {name: direction for name, direction in body.items() if name != OPERANDS}
        how = direction_in(body, (OPERANDS,))
        passed = {INCREASES: together, DECREASES: lambda found: opposite(together(found)), MIXED: mixed}.get(how)
        return own if passed is None else together((own, passed(given)))

    def query(self, node: n.Query) -> Monotonicity:
        sources = together([self.of(source.node) for source in node.sources])
        shaping = [node.returned, *(item.key for item in node.sort or ())]
        fixed = [self.of(let.node) for let in node.lets] + [self.of(one) for one in shaping if one is not None]
        tests: list[Monotonicity] = [sources]
        if node.where is not None:
            tests.append(self.condition(node.where))
        for relation in node.relations:
            related = together((self.of(relation.node), self.condition(relation.condition)))
            tests.append(related if relation.kind == "with" else opposite(related))
        if node.aggregate is not None:
            return mixed([*tests, *fixed, self.of(node.aggregate.starting), self.of(node.aggregate.value)])
        return together((together(tests) if node.over_lists else mixed(tests), mixed(fixed)))


def monotonicity_of(
    nodes: dict[str, Node], owner: str, included: Known, nullable: Callable[[Node], bool]
) -> dict[str, Monotonicity]:
    """The monotonicity of all definitions of a library, by Python name. `included` tells those of other libraries' definitions."""
    found: dict[str, Monotonicity] = {}

    def known(of: str, python: str) -> Monotonicity:
        if of != owner:
            return included(of, python)
        if python not in found:
            node = nodes.get(python)
            found[python] = UNKNOWN  # while it is looked at
            if node is not None:
                found[python] = finder.of(node)
        return found[python]

    finder = MonotonicityFinder(known, nullable)
    for python in nodes:
        known(owner, python)
    return found


# -- FHIRPath

# What is true or false, and rises from false over null to true as its operands tell.
_TRUTH = (n.Exists, n.All, n.And, n.Or, n.Not, n.Implies, n.In)


def _is_truth(node: Node) -> bool:
    return isinstance(node, _TRUTH) or (isinstance(node, n.Operation) and node.traits.symbol not in ("", "!="))


class _FhirPath:
    """Monotonicity of nodes of FHIRPath. A single Boolean that is an item among others may be false: then it moves another way than what makes something exist."""

    def __init__(self, bound: Bound) -> None:
        self.nodes: dict[int, Monotonicity] = {}
        self.bound = bound

    def of(self, node: Node) -> Monotonicity:
        found = self.nodes.get(id(node))
        if found is None:
            found = self.nodes[id(node)] = self._of(node)
        return found

    def items(self, node: Node) -> Monotonicity:
        """Those of a node whose items are gone through."""
        found = self.of(node)
        if is_question(node, self.bound):  # in doubt where it has no answer: there may be one more item, of either kind
            return together((mixed((found,)), {DOUBTS: MIXED}))
        return mixed((found,)) if _is_truth(node) or isinstance(node, n.Count) else found

    def truth(self, node: Node) -> Monotonicity:
        """Those of a node that is taken as true or false."""
        found = self.of(node)
        return found if _is_truth(node) else mixed((found,))

    def number(self, node: Node) -> Monotonicity:
        found = self.of(node)
        return found if isinstance(node, n.Count) else mixed((found,))

    def _of(self, node: Node) -> Monotonicity:
        operands = node.operands
        if isinstance(node, n.Retrieve):
            return {**records_of(node.data_type), **({DOUBTS: INCREASES} if node.codes is not None else {})}
        if isinstance(node, n.Context):
            return records_of("Patient") if "FHIR.Patient" in node.types else STILL
        if isinstance(node, n.Filter):
            return together((self.items(operands[0]), self.truth(operands[1]), {DOUBTS: INCREASES}))
        if isinstance(node, n.All):
            return together((opposite(self.items(operands[0])), self.truth(operands[1]), {DOUBTS: INCREASES}))
        if isinstance(node, n.Iif):
            return together((mixed([self.of(operand) for operand in operands]), {DOUBTS: MIXED}))
        if isinstance(node, n.Let):
            return together((self.of(operands[0]), mixed([self.of(operand) for operand in operands[1:]])))
        if isinstance(node, (n.And, n.Or)):
            return together([self.truth(operand) for operand in operands])
        if isinstance(node, n.Not):
            return opposite(self.truth(operands[0]))
        if isinstance(node, n.Implies):
            return together((opposite(self.truth(operands[0])), self.truth(operands[1])))
        if isinstance(node, (n.Exists, n.Count)):
            return self.items(operands[0])
        if isinstance(node, n.In):
            return together((mixed((self.of(operands[0]),)), self.items(operands[1])))
        if isinstance(node, n.Exclude):
            return together((self.items(operands[0]), opposite(self.items(operands[1]))))
        if isinstance(node, n.Resolve):
            leads = [records_of(name.removeprefix("FHIR."), reached=True) for name in node.types]
            return together((self.items(operands[0]), *(leads or [UNKNOWN])))
        if isinstance(node, _GROWING):
            return together([self.items(operand) for operand in operands])
        if _is_truth(node):
            return _as_the_table_tells(node, [self.number(operand) for operand in operands])
        return mixed([self.items(child) for child in node.children])


# What has more items where its operands have.
_GROWING = (
    n.ForEach,
    n.Property,
    n.DynamicProperty,
    n.OfType,
    n.Box,
    n.ToSystem,
    n.Union,
    n.Combine,
    n.Distinct,
    n.PrimitiveExtensions,
    n.Extension,
    n.Children,
    n.Descendants,
    n.TraceStep,
    n.Intersect,
)


def fhirpath_monotonicity(node: Node, boolean: bool = True) -> Monotonicity:
    """The monotonicity of the truth of a criterion in FHIRPath; `boolean` tells that it answers true or false, and does not give items of which one must be there."""
    finder = _FhirPath(bound_in(node))
    if boolean:
        return finder.truth(node)
    kinds = set(node.types)
    typed = bool(kinds) and not kinds & {ANY_NAME, "System.Boolean", "FHIR.boolean"}
    return finder.items(node) if typed else mixed((finder.of(node),))


def in_doubt(node: Node, bound: Bound) -> bool:
    """Whether rows can be in doubt below a node of FHIRPath."""
    return direction_in(_FhirPath(bound).of(node), (DOUBTS,)) != CONSTANT
