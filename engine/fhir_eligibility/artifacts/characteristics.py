"""Characteristics of EvidenceVariable (R4, R4B, R5) and Group (R4 to R6), with their extensions, from JSON to criteria."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts import values as v
from fhir_eligibility.artifacts.records import (
    ArtifactDefinition,
    CodeableConceptDefinition,
    CodedConcept,
    CombinationDefinition,
    Criterion,
    Definition,
    ElementDefinition,
    ExpressionDefinition,
    ExpressionSource,
    LinkDefinition,
    Location,
    NotComputableDefinition,
    TimeConstraint,
    TypeAndValueDefinition,
    Value,
)

Json = dict[str, Any]
Path = tuple[str | int, ...]
Locate = Callable[[Path], Location]
Warn = Callable[[str, str, Path], None]

R5_EXTENSION = "http://hl7.org/fhir/5.0/StructureDefinition/extension-EvidenceVariable.characteristic."
EBM = "http://hl7.org/fhir/uv/ebm/StructureDefinition/"
CHARACTERISTIC_EXPRESSION = "http://hl7.org/fhir/StructureDefinition/characteristicExpression"
CQF_EXPRESSION = "http://hl7.org/fhir/StructureDefinition/cqf-expression"
# Elements that become records of their own; the JSON of any other is given as it is to the form of its name.
_READ = frozenset(
    (
        *("definitionExpression", "definitionByCombination", "definitionByTypeAndValue", "definitionReference"),
        *("definitionCanonical", "definitionId", "definitionCodeableConcept", "definitionDataRequirement"),
    )
)


class CharacteristicReader:
    """Reads the characteristics of one resource. `locate` tells where a path stands; `warn` takes code, message, path."""

    def __init__(self, around: v.Surroundings, locate: Locate, warn: Warn) -> None:
        self.around = around
        self.locate = locate
        self.warn = warn

    def evidence_variable(self, items: list[Any], path: Path, prefix: str = "") -> tuple[Criterion, ...]:
        """Characteristics of an EvidenceVariable."""
        return tuple(
            self._evidence_variable(item if isinstance(item, dict) else {}, (*path, index), f"{prefix}{index + 1}")
            for index, item in enumerate(items)
        )

    def _evidence_variable(self, item: Json, path: Path, number: str) -> Criterion:
        item = _with_backports(item)
        around = self.around.within(item, "the characteristic")
        definition, also = self._definition(item, path, number, around)
        return Criterion(
            id=str(item.get("linkId") or item.get("id") or number),
            title=_short(item.get("description")),
            description=item.get("description"),
            exclude=item.get("exclude") is True,
            definition=definition,
            also=also,
            instances=_amount(item, "instances"),
            duration=_amount(item, "duration"),
            timing=_timing(item),
            review=_restrictions(item),
            location=self.locate(path),
        )

    def _definition(
        self, item: Json, path: Path, number: str, around: v.Surroundings
    ) -> tuple[Definition, ExpressionSource | None]:
        expression = None
        if "definitionExpression" in item:
            expression = v.expression(item["definitionExpression"], around)
        found: list[Definition] = []
        if "definitionByCombination" in item:
            found.append(self._combination(item["definitionByCombination"], path, number))
        if "definitionByTypeAndValue" in item:
            found.append(_type_and_value(item["definitionByTypeAndValue"], around))
        if "definitionReference" in item:
            target = v.reference(item["definitionReference"])
            found.append(ArtifactDefinition(reference=target or ""))
        if "definitionCanonical" in item:
            found.append(ArtifactDefinition(reference=str(item["definitionCanonical"])))
        if "definitionId" in item:
            found.append(LinkDefinition(link_id=str(item["definitionId"])))
        if "definitionCodeableConcept" in item:
            found.append(CodeableConceptDefinition(concept=v.concept(item["definitionCodeableConcept"])))
        if "definitionDataRequirement" in item:
            found.append(v.data_requirement(item["definitionDataRequirement"]))
        more = [name for name in item if name.startswith("definition") and name not in _READ]
        found += [ElementDefinition(form=name, content=item[name]) for name in more]
        if len(found) > 1:
            names = ", ".join(d.form for d in found)
            self.warn("several-definitions", f"more than one definition ({names}); the first is used", path)
        if found:
            return found[0], expression
        if expression is not None:
            return ExpressionDefinition(expression=expression), None
        text = item.get("description") or "(no text)"
        return NotComputableDefinition(reason=Reason.NEEDS_REVIEW, detail=f"text only: {text}"), None

    def _combination(self, data: Json, path: Path, number: str) -> Definition:
        code = str(data.get("code", ""))
        path = (*path, "definitionByCombination")
        members = self.evidence_variable(data.get("characteristic") or [], (*path, "characteristic"), f"{number}.")
        members += tuple(
            Criterion(id=f"{number}.{index + 1}", definition=LinkDefinition(link_id=link), location=self.locate(path))
            for index, link in enumerate(data.get("links", ()))
        )
        if code in ("statistical", "net-effect"):
            return NotComputableDefinition(
                reason=Reason.NOT_COMPUTABLE, detail=f"a combination of kind {code} has no truth value"
            )
        threshold = data.get("threshold")
        return CombinationDefinition(
            code=code, threshold=int(threshold) if threshold is not None else None, members=members
        )

    def group(self, items: list[Any], path: Path) -> tuple[Criterion, ...]:
        """Characteristics of a Group: a code and a value."""
        return tuple(
            self._group(item if isinstance(item, dict) else {}, (*path, index), str(index + 1))
            for index, item in enumerate(items)
        )

    def _group(self, item: Json, path: Path, number: str) -> Criterion:
        item = _with_ebm_extensions(item)
        around = self.around.within(item, "the characteristic")
        title = item.get("description") or _label(item.get("code"))
        return Criterion(
            id=str(item.get("linkId") or item.get("id") or number),
            title=_short(title),
            description=item.get("description"),
            exclude=item.get("exclude") is True,
            definition=_group_definition(item, around),
            instances=_amount(item, "instances"),
            duration=_amount(item, "duration"),
            timing=_timing(item),
            review=_determined_by(item),
            location=self.locate(path),
        )


def group_expressions(resource: Json, around: v.Surroundings, locate: Locate) -> tuple[Criterion, ...]:
    """Criteria of a Group that is defined by an expression as a whole (extension characteristicExpression)."""
    out = []
    for index, extension in enumerate(resource.get("extension") or ()):
        if extension.get("url") in (CHARACTERISTIC_EXPRESSION, CQF_EXPRESSION) and "valueExpression" in extension:
            source = v.expression(extension["valueExpression"], around)
            out.append(
                Criterion(
                    id=f"expression-{index + 1}",
                    title=_short(source.description or source.name or source.text),
                    definition=ExpressionDefinition(expression=source),
                    location=locate(("extension", index)),
                )
            )
    return tuple(out)


def _group_definition(item: Json, around: v.Surroundings) -> Definition:
    value = v.value_of(item, around=around)
    if value is not None and value.kind == "expression" and value.expression is not None:
        return ExpressionDefinition(expression=value.expression)
    if value is not None and value.kind == "reference":
        return ArtifactDefinition(reference=value.reference or "")
    if value is not None and value.kind == "uri":
        detail = f"the value is the address {value.uri}, which a person has to read"
        return NotComputableDefinition(reason=Reason.NOT_COMPUTABLE, detail=detail)
    return TypeAndValueDefinition(
        type=v.concept(item.get("code")),
        value=value,
        methods=_concepts(item.get("method")),
        offset=v.concept(item["offset"]) if "offset" in item else None,
    )


def _type_and_value(data: Json, around: v.Surroundings) -> Definition:
    kind = v.concept(data.get("type"))
    value = v.value_of(data, around=around)
    if value is not None and value.kind == "id" and value.id:
        return LinkDefinition(link_id=value.id)
    if value is not None and value.kind == "reference":
        return ArtifactDefinition(reference=value.reference or "")
    return TypeAndValueDefinition(
        type=kind,
        value=value,
        methods=_concepts(data.get("method")),
        device=v.reference(data["device"]) if "device" in data else None,
        offset=v.concept(data["offset"]) if "offset" in data else None,
    )


def _concepts(data: Any) -> tuple[CodedConcept, ...]:
    """CodeableConcepts of an element that repeats in some versions and not in others."""
    if data is None:
        return ()
    return tuple(v.concept(item) for item in (data if isinstance(data, list) else [data]))


def _restrictions(item: Json) -> tuple[str, ...]:
    """What else an R4 or R4B characteristic of an EvidenceVariable asks for, in words: usageContext, method, device."""
    found = []
    for context in item.get("usageContext") or ():
        if isinstance(context, dict):
            value = next((content for key, content in context.items() if key.startswith("value")), None)
            what = (v.coding(context.get("code")).code or "context") + f" {_label(value) or ''}".rstrip()
            found.append(f"the characteristic is restricted to a context of use ({what}), which no record tells")
    for method in _concepts(item.get("method")):
        name = method.text or next((c.display or c.code for c in method.codings if c.display or c.code), None)
        found.append(f"it has to be determined by the method {name or '(empty)'}, which a person has to check")
    if item.get("device") is not None:
        found.append(_by_device(v.reference(item["device"])))
    measure = item.get("groupMeasure") or item.get("participantEffectiveGroupMeasure")
    if measure is not None:
        found.append(f"it is the {measure} of a group, which no record of one patient tells")
    return tuple(found)


def _determined_by(item: Json) -> tuple[str, ...]:
    """Group (R6 and extensions of EBM on FHIR): the device or the formula that determines the value."""
    found = []
    if item.get("determinedByReference") is not None:
        found.append(_by_device(v.reference(item["determinedByReference"])))
    if item.get("determinedByExpression") is not None:
        formula = v.expression(item["determinedByExpression"]).text or "(no text)"
        found.append(f"the value has to be computed by a formula ({formula}), which a person has to check")
    return tuple(found)


def _by_device(device: str | None) -> str:
    return f"it has to be determined by a device ({device or 'no reference'}), which no record can be compared with"


def _amount(item: Json, prefix: str) -> Any:
    value = v.value_of(item, prefix)
    if value is None:
        return None
    return value.quantity or value.range


def _timing(item: Json) -> tuple[TimeConstraint, ...]:
    out: list[TimeConstraint] = []
    for data in item.get("timeFromEvent") or ():
        out.append(_constraint("timeFromEvent", data, v.value_of(data, "event")))
    start = item.get("timeFromStart")
    if isinstance(start, dict):
        if "value" in start or "code" in start:
            start = {"quantity": start}
        out.append(_constraint("timeFromStart", start, None))
    for key, content in item.items():
        if key.startswith("participantEffective") and key != "participantEffectiveGroupMeasure":
            out.append(_effective(key, content))
    relative = item.get("relativeTime") or item.get("timing") or ()
    for data in relative if isinstance(relative, list) else [relative]:
        if isinstance(data, dict):
            out.append(_relative(data))
    if isinstance(item.get("period"), dict):
        out.append(TimeConstraint(origin="period", period=v.period(item["period"])))
    return tuple(out)


def _constraint(origin: str, data: Json, event: Value | None) -> TimeConstraint:
    return TimeConstraint(
        origin=origin,
        description=data.get("description"),
        event=event,
        quantity=v.quantity(data["quantity"]) if "quantity" in data else None,
        range=v.range_of(data["range"]) if "range" in data else None,
    )


def _effective(key: str, content: Any) -> TimeConstraint:
    origin = "participantEffective"
    if key.endswith("Period") and isinstance(content, dict):
        return TimeConstraint(origin=origin, period=v.period(content))
    if key.endswith("DateTime"):
        return TimeConstraint(origin=origin, period=v.period({"start": content, "end": content}))
    if key.endswith("Duration"):
        return TimeConstraint(origin=origin, quantity=v.quantity(content), description="since the start")
    return TimeConstraint(origin=origin, description=f"{key} has no truth value")


def _relative(data: Json) -> TimeConstraint:
    """R6 relativeTime (earlier `timing`): an offset from a context, which is a code, a reference or a definition."""
    offset = v.value_of(data, "offset")
    event = Value(kind="concept", concept=v.concept(data["contextCode"])) if "contextCode" in data else None
    if event is None:
        event = v.value_of(data, "context")
    if event is not None and event.kind == "other":
        event = None
    return TimeConstraint(
        origin="relativeTime",
        description=data.get("text"),
        event=event,
        quantity=offset.quantity if offset is not None else None,
        range=offset.range if offset is not None else None,
    )


def _short(text: Any) -> str | None:
    if not isinstance(text, str) or not text.strip():
        return None
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:117] + "..."


def _label(data: Any) -> str | None:
    found = v.concept(data)
    if found.text:
        return found.text
    return next((c.display or c.code for c in found.codings if c.display or c.code), None)


def _with_backports(item: Json) -> Json:
    """R5 elements that an R4 characteristic carries as cross-version extensions, put in their place."""
    out = dict(item)
    replaced = False
    for extension in item.get("extension") or ():
        url = str(extension.get("url", ""))
        if not url.startswith(R5_EXTENSION):
            continue
        name = url.removeprefix(R5_EXTENSION)
        if name == "linkId":
            out["linkId"] = extension.get("valueId") or extension.get("valueString")
        elif name == "definitionReference":
            out[name], replaced = extension.get("valueReference"), True
        elif name == "definitionCanonical":
            out[name], replaced = extension.get("valueCanonical"), True
        elif name == "definitionId":
            out[name], replaced = extension.get("valueId"), True
        elif name in ("definitionByCombination", "definitionByTypeAndValue"):
            out[name], replaced = _parts(extension), True
    if replaced:
        out.pop("definitionCodeableConcept", None)  # R4 demands a definition; beside these it only repeats the text
    return out


def _parts(extension: Json) -> Json:
    parts: Json = {}
    for part in extension.get("extension") or ():
        name = part.get("url")
        content = {key: value for key, value in part.items() if key.startswith("value")}
        if name == "code":
            parts["code"] = part.get("valueCode")
        elif name == "threshold":
            parts["threshold"] = next(iter(content.values()), None)
        elif name == "characteristic":
            parts.setdefault("links", []).append(str(next(iter(content.values()), "")))
        elif name == "type":
            parts["type"] = part.get("valueCodeableConcept")
        elif name == "value":
            parts.update(content)
        elif name == "offset":
            parts["offset"] = part.get("valueCodeableConcept")
    return parts


def _with_ebm_extensions(item: Json) -> Json:
    """R6 elements that a Group characteristic carries as extensions of the evidence guide, put in their place."""
    out = dict(item)
    for extension in item.get("extension") or ():
        name = str(extension.get("url", "")).removeprefix(EBM)
        if name == "characteristic-description":
            out.setdefault("description", extension.get("valueMarkdown") or extension.get("valueString"))
        elif name == "characteristic-timing":
            timing = {}
            for part in extension.get("extension") or ():
                if part.get("url") == "contextCode":
                    timing["contextCode"] = part.get("valueCodeableConcept")
                elif part.get("url") == "offset":
                    timing.update({"offset" + k[5:]: x for k, x in part.items() if k.startswith("value")})
                elif part.get("url") == "text":
                    timing["text"] = part.get("valueString")
            out.setdefault("relativeTime", []).append(timing)
        elif name == "characteristic-method":
            out.setdefault("method", []).append(extension.get("valueCodeableConcept"))
        elif name == "characteristic-offset":
            out["offset"] = extension.get("valueCodeableConcept")
        elif name == "characteristic-duration-duration":
            out["durationDuration"] = extension.get("valueDuration")
        elif name == "characteristic-duration-range":
            out["durationRange"] = extension.get("valueRange")
        elif name == "characteristic-instances-quantity":
            out["instancesQuantity"] = extension.get("valueQuantity")
        elif name == "characteristic-instances-range":
            out["instancesRange"] = extension.get("valueRange")
        elif name == "characteristic-determined-by-reference":
            out["determinedByReference"] = extension.get("valueReference")
        elif name == "characteristic-determined-by-expression":
            out["determinedByExpression"] = extension.get("valueExpression")
        elif name == "characteristic-value-expression":
            out["valueExpression"] = extension.get("valueExpression")
            out.pop("valueCodeableConcept", None)
        elif name == "characteristic-value-uri":
            out["valueUri"] = extension.get("valueUri")
            out.pop("valueCodeableConcept", None)
    return out
