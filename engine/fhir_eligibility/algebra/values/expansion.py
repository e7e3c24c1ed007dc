"""Which codes a set of codes has, in three values: a code is in, out, or it cannot be told (Kleene logic over sets).

A value set is rarely known half: what cannot be computed of it touches some code systems and not others. A code that is certainly in or
certainly out is answered; only the rest is unknown, with the reason. Knows no FHIR and no resources; nothing here raises but `by_text`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property

from fhir_eligibility.algebra.diagnostic import EvaluationError

Member = tuple[str | None, str | None]
ANY = "*"  # stands for every code system where it is not known which one a missing part touches

_NO_REASONS: dict[Member, str] = {}
_NO_SYSTEMS: dict[str | None, str] = {}


class Expansion:
    """A set of codes (system, code), as far as it is known.

    `codes` are certainly in. `maybe` are codes that cannot be told, and `open` code systems (or `ANY`) of which no code can be told, each
    with the reason; `out` are the codes of open systems that are certainly not in. Every other code is out.
    """

    def __init__(
        self,
        codes: Iterable[Member] = (),
        maybe: Mapping[Member, str] = _NO_REASONS,
        open: Mapping[str | None, str] = _NO_SYSTEMS,
        out: Iterable[Member] = (),
    ) -> None:
        self.codes = frozenset(codes)
        self.maybe = {member: why for member, why in maybe.items() if member not in self.codes} if maybe else {}
        self.open = dict(open)
        self.out = frozenset(out) - self.codes if self.open else frozenset()
        self.complete = not self.maybe and not self.open

    # -- asking

    def has(self, member: Member) -> bool | None:
        """Whether a code is in the set; None where it cannot be told."""
        if member in self.codes:
            return True
        if self.complete:
            return False
        return False if self.unsure(member) is None else None

    def unsure(self, member: Member) -> str | None:
        """Why it cannot be told whether a code is in; None where it can."""
        if self.complete or member in self.codes:
            return None
        why = self.maybe.get(member)
        if why is None and member not in self.out:
            why = self.open.get(member[0]) or self.open.get(ANY)
        return why

    @property
    def why(self) -> str | None:
        """One reason why the set is not known whole; None where it is."""
        return next(iter((*self.open.values(), *self.maybe.values())), None)

    @cached_property
    def systems(self) -> frozenset[str | None]:
        """The code systems that codes of the set may be of."""
        return frozenset(system for group in (self.codes, self.maybe) for system, _ in group) | self.open.keys()

    @cached_property
    def texts(self) -> frozenset[str | None]:
        """The codes that are certainly in, without their systems."""
        return frozenset(code for _, code in self.codes)

    def by_text(self, text: str) -> bool | None:
        """Whether a code written without its system is in the set. Raises EvaluationError `ambiguous-code` where the set has several systems."""
        named = self.systems - {ANY}
        if len(named) > 1:
            shown = ", ".join(sorted(map(str, named)))
            raise EvaluationError(
                "ambiguous-code", f"the code {text!r} has no code system, and the value set has several: {shown}"
            )
        return self.in_any_system(text)

    def in_any_system(self, text: str | None) -> bool | None:
        """Whether a code is in the set, whatever its system; None where it cannot be told."""
        if self.complete or text in self.texts:
            return text in self.texts
        return None if any(self.unsure((system, text)) for system in self.systems) else False

    def digest(self) -> str:
        """SHA-256 of what is known of the set, whatever the order it was given in."""
        lines = [f"{system}|{code}" for system, code in self.codes]
        lines += [f"?{system}|{code}" for system, code in self.maybe]
        lines += [f"?{system}" for system in self.open] + [f"-{system}|{code}" for system, code in self.out]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()

    # -- composing

    def union(self, other: Expansion) -> Expansion:
        """The codes of either set."""
        if not other.codes and other.complete:
            return self
        if not self.codes and self.complete:
            return other
        out = [m for m in self.out | other.out if self.has(m) is False and other.has(m) is False]
        return Expansion(self.codes | other.codes, {**other.maybe, **self.maybe}, {**other.open, **self.open}, out)

    def minus(self, other: Expansion) -> Expansion:
        """The codes of this set that are not in the other."""
        if other.complete:
            maybe = {member: why for member, why in self.maybe.items() if member not in other.codes}
            return Expansion(self.codes - other.codes, maybe, self.open, self.out | other.codes)
        doubtful = {member: other.unsure(member) for member in self.codes if member not in other.codes}
        codes = [member for member, why in doubtful.items() if why is None]
        maybe = {member: why for member, why in self.maybe.items() if member not in other.codes}
        maybe |= {member: why for member, why in doubtful.items() if why is not None}
        return Expansion(codes, maybe, self.open, self.out | other.codes)

    def within(self, other: Expansion) -> Expansion:
        """The codes that are in both sets."""
        codes = self.codes & other.codes
        if self.complete and other.complete:
            return Expansion(codes)
        maybe: dict[Member, str] = {}
        for member in {*self.codes, *other.codes, *self.maybe, *other.maybe} - codes:
            mine, theirs = self.has(member), other.has(member)
            why = self.unsure(member) or other.unsure(member)
            if why is not None and mine is not False and theirs is not False:
                maybe[member] = why
        open_: dict[str | None, str] = {}
        for one, two in ((self, other), (other, self)):
            for system, why in one.open.items():
                if system in two.open or ANY in two.open:
                    open_.setdefault(system, why)
        return Expansion(codes, maybe, open_, self.out | other.out)

    def of_system(self, system: str | None) -> Expansion:
        """The codes of one code system."""
        why = self.open.get(system) or self.open.get(ANY)
        return Expansion(
            [member for member in self.codes if member[0] == system],
            {member: reason for member, reason in self.maybe.items() if member[0] == system},
            {} if why is None else {system: why},
            self.out,
        )

    def without_system(self, system: str | None) -> Expansion:
        """All but the codes of one code system."""
        return Expansion(
            [member for member in self.codes if member[0] != system],
            {member: reason for member, reason in self.maybe.items() if member[0] != system},
            {name: why for name, why in self.open.items() if name != system},
            self.out,
        )


NOTHING = Expansion()


def unknown(why: str, system: str | None = ANY, out: Iterable[Member] = ()) -> Expansion:
    """A set of which nothing is known, but that its codes are of one code system where one is named."""
    return Expansion(open={system: why}, out=out)
