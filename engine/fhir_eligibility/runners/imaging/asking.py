"""Ask archives for studies: fifty at a time, several at once, answers as they come or in order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence

from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.presence import BATCH, Found, Need, Presence
from fhir_eligibility.evaluation.holdings import Expected, holding_of
from fhir_eligibility.evaluation.verdict import Holding
from fhir_eligibility.runners.large.bounded import as_they_come, batched

Clock = Callable[[], dt.datetime]


def utc_now() -> dt.datetime:
    """The clock."""
    return dt.datetime.now(dt.UTC)


class Asker:
    """Asks the archives of studies what they hold; safe to use from several threads."""

    def __init__(self, client: Client, clock: Clock = utc_now) -> None:
        self.client = client
        self.presence = Presence(client)
        self.clock = clock

    def holdings(self, expected: Sequence[Expected]) -> list[Holding]:
        """Holdings of some studies, in their order. The first archive of each part is asked for all of them together."""
        known: dict[tuple[str, str, int], Found] = {}
        first: dict[str, dict[str, tuple[Need, list[tuple[str, str, int]]]]] = {}
        alone: list[tuple[str, Need, tuple[str, str, int]]] = []
        for index, one in enumerate(expected):
            for part in one.parts if one.study is not None else ():
                if not part.archives or one.study is None:
                    continue
                base, need = part.archives[0], part.need(one.study)
                key = (base, one.study, index)
                together = first.setdefault(base, {})
                if one.study not in together:
                    together[one.study] = (need, [key])
                elif together[one.study][0] == need:
                    together[one.study][1].append(key)
                else:
                    alone.append((base, need, key))
        for base, needs in first.items():
            answers = self.presence.ask(base, [need for need, _ in needs.values()])
            for study, (_, keys) in needs.items():
                known.update(dict.fromkeys(keys, answers[study]))
        for base, need, key in alone:
            known[key] = self.presence.ask(base, [need])[need.study]
        return [self._holding(one, index, known) for index, one in enumerate(expected)]

    def _holding(self, expected: Expected, index: int, known: dict[tuple[str, str, int], Found]) -> Holding:
        def ask(base: str, need: Need) -> Found:
            key = (base, need.study, index)
            if key not in known:
                known[key] = self.presence.ask(base, [need])[need.study]
            return known[key]

        return holding_of(expected, ask, self.clock().isoformat(timespec="seconds"))

    def as_they_come(self, expected: Iterable[Expected]) -> Iterator[list[Holding]]:
        """Holdings in batches, in the order in which the answers come."""

        def work(batch: list[Expected]) -> list[Holding]:
            found = self.holdings(batch)
            return [h.model_copy(update={"question": e.question}) for e, h in zip(batch, found, strict=True)]

        self.client.go_on()
        return as_they_come(work, batched(expected, BATCH), self.client.access.concurrency, self.client.stop)
