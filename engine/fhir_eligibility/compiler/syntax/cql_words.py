"""The words of CQL's grammar: which may stand for a name, and where (CQL: "Keywords", "Reserved Words")."""

from __future__ import annotations

PRECISIONS = ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
PLURALS = {word + "s": word for word in PRECISIONS}
UNITS = {**{word: word for word in PRECISIONS}, **PLURALS}
COMPONENTS = (*PRECISIONS, "date", "time", "timezoneoffset", "timezone")

# Words that never stand for a name unless they are quoted.
RESERVED = frozenset(
    "aggregate all and as after before between case cast Code collapse Concept convert day days difference distinct duration during "
    "else exists expand false flatten from if in is hour hours Interval let List maximum millisecond milliseconds minimum "
    "minute minutes month months not null occurs of or per point properly return same second seconds singleton sort then to true "
    "Tuple week weeks when with within without year years".split()
)
# Words of the grammar that may stand for a name where one is referred to, but not where one is introduced.
KEYWORD_IDENTIFIERS = frozenset(
    "asc ascending by called code codesystem codesystems concept contains context date default define desc descending display div end "
    "ends except fluent function implies include includes intersect library meets mod overlaps parameter predecessor private public "
    "start starting starts successor time timezoneoffset union using valueset version where width xor".split()
)
KEYWORDS = RESERVED | KEYWORD_IDENTIFIERS
# Words that may name a function.
FUNCTION_WORDS = KEYWORDS - {"flatten"}
# Words that begin a definition or statement; parsing goes on there after a mistake.
STATEMENT_WORDS = frozenset("library using include codesystem valueset code concept parameter context define".split())
