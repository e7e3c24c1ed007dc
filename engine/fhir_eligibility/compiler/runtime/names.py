"""What emitted code calls, by the names that it has there; a module's own functions and its constants come to that."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra.limits import MAX_ITEMS, too_many_items
from fhir_eligibility.algebra.operators import collection, comparison, datetimes, lists, navigation
from fhir_eligibility.algebra.operators.string import join
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values import element, points
from fhir_eligibility.algebra.values.clinical import Tuple
from fhir_eligibility.algebra.values.code_systems import same_system
from fhir_eligibility.algebra.values.element import Element
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Long
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.elm.elements import descendents, element_of
from fhir_eligibility.compiler.runtime import cql, instances, runtime, type_tests
from fhir_eligibility.compiler.runtime import fhir_values as fhir
from fhir_eligibility.compiler.runtime.membership import coded

_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    too_many_items, join, same_system, element_of, descendents, coded,
    # values of the data
    element.unbox, element.to_text, element.to_boolean, element.to_integer, element.to_decimal,  element.to_quantity, element.to_system, runtime.box,
    fhir.alternative, fhir.at_path, fhir.choice_of, fhir.has_coding, fhir.raw, fhir.to_code, fhir.to_concept, fhir.to_interval, fhir.to_period,
    fhir.calendar_unit, fhir.quantity_bounds, fhir.quantity_without_comparator, fhir.reference_to, fhir.to_range, fhir.to_ratio,
    fhir.to_value, fhir.to_value_set,
    navigation.as_list, navigation.children_named, navigation.choice, navigation.descendants, navigation.element_id, navigation.extensions,
    navigation.is_type, navigation.matches_type, navigation.primitive, navigation.primitive_extensions, navigation.primitives,
    navigation.type_info,
    # values of the languages
    cql.once, cql.coalesce, cql.convert_interval, cql.sort_rows, cql.with_point,
    datetimes.component, datetimes.make_date, datetimes.make_datetime, datetimes.make_time,
    instances.fhir_instance, instances.json_of, instances.new_instance, type_tests.as_type, type_tests.cast_to, points.certain,
    lists.distinct,
    # FHIRPath's collections
    comparison.equal_any, comparison.equal_lists, comparison.equivalent_lists,
    collection.as_boolean, collection.booleans, collection.check_index, collection.exclude, collection.extreme,
    collection.intersect, collection.is_distinct, collection.mean, collection.member, collection.singleton, collection.sort,
    collection.subset_of, collection.total, collection.union,
    runtime.children_all, runtime.conforms_to, runtime.convertible, runtime.dispatch, runtime.get_value, runtime.has_single_value,
    runtime.html_checks, runtime.new_object, runtime.new_primitive, runtime.repeat, runtime.repeat_all, runtime.slice_count, runtime.texts,
)  # fmt: skip
NAMES: dict[str, Any] = {
    **{function.__name__: function for function in _FUNCTIONS},
    "to_date": element.to_date,
    "to_datetime": element.to_datetime,
    "to_time": element.to_time,
    "model_quantity": fhir.to_quantity,
    "distinct_items": collection.distinct,
    "MAX_ITEMS": MAX_ITEMS,
    "MISSING": cql.MISSING,
    "NONE": runtime.NONE,
    "Date": Date,
    "DateTime": DateTime,
    "Decimal": Decimal,
    "Element": Element,
    "Interval": Interval,
    "Long": Long,
    "Quantity": Quantity,
    "Time": Time,
    "Tuple": Tuple,
}
