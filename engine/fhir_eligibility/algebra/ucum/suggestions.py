"""Which UCUM code a text that is none probably means: by case, by the usual misspellings, and by how near it is to units in use."""

from __future__ import annotations

import difflib

from fhir_eligibility.algebra.ucum import UnitError, alias, parse_unit

# Units of laboratories, drugs, vital signs and images.
_IN_USE = (
    "% %{vol} /min /uL /mL 10*3/uL 10*6/uL 10*9/L 10*12/L Bq Cel cm cm2 cm3 d dB deg dL fL fmol g g/d g/dL g/kg g/L g/m2 Gy h Hz [in_i] [lb_av] [oz_av] "
    "IU IU/L IU/mL mIU/L mIU/mL uIU/mL [IU] [IU]/L [IU]/mL [IU]/dL m[IU]/L m[IU]/mL u[IU]/mL u[IU]/L k[IU]/L J K kat/L kBq kcal kg kg/m2 kPa L L/min L/min/m2 [degF] m m/s m2 mA MBq mCi meq meq/L mg mg/d mg/dL mg/g mg/kg "
    "mg/kg/d mg/L mg/m2 mg/mL mg/mmol min mL mL/kg mL/min mL/min/{1.73_m2} mm mm/h mm[Hg] mmol mmol/d mmol/kg mmol/L mmol/mol mo mol mol/L mosm/kg ms mS "
    "mSv mU/L mV nCi ng ng/dL ng/L ng/mL ng/mL/h nkat nm nmol nmol/L N Osm/kg Pa pg pg/mL pmol pmol/L rad s Sv T U U/L U/mL uCi ug ug/d ug/dL ug/g ug/L "
    "ug/mL uL um umol umol/L uU/mL ukat/L V W wk a"
).split()


def suggest_unit(text: str) -> str | None:
    """The UCUM code that a text that is not UCUM probably means, None where none is near."""
    compact = text.strip().replace(" ", "").replace("µ", "u").replace("μ", "u")
    for candidate in (text, compact, compact.lower()):
        known = alias(candidate)
        if known is not None:
            return known
    if compact and compact != text and _is_unit(compact):
        return compact
    folded: dict[str, str] = {}
    for unit in _IN_USE:
        folded.setdefault(unit.lower(), unit)
    if compact.lower() in folded:
        return folded[compact.lower()]
    near = difflib.get_close_matches(compact.lower(), list(folded), n=1, cutoff=0.75) if len(compact) > 2 else []
    return folded[near[0]] if near else None


def _is_unit(code: str) -> bool:
    try:
        parse_unit(code)
    except UnitError:
        return False
    return True
