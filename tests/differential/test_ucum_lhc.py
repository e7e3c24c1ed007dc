"""Our UCUM against npm's @lhncbc/ucum-lhc: validity of unit strings and conversions.

Set UCUM_LHC_DIR to a folder with `node_modules/@lhncbc/ucum-lhc` (`npm install @lhncbc/ucum-lhc`); skipped where there is none. Where
the two differ, the difference is listed with who is right and why.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from fhir_eligibility.algebra.ucum import UnitError, convert, parse_unit

ORACLE = """
const u = require('@lhncbc/ucum-lhc').UcumLhcUtils.getInstance();
const asked = JSON.parse(require('fs').readFileSync(0));
const answers = asked.map(([kind, a, from, to]) => {
  if (kind === 'valid') return u.validateUnitString(a).status === 'valid';
  const r = u.convertUnitTo(from, parseFloat(a), to);
  return r.status === 'succeeded' ? r.toVal : null;
});
process.stdout.write('\\n' + JSON.stringify(answers));
"""
UNITS = (
    "mg g/m mm[Hg] 10*3/uL {cells}/uL [degF] Cel m[iU]/L kg/m2 [lb_av] ng/mL % mol/L [pH] mmHg /min /uL 10^3 a mo wk d h min s "
    "ms us meq/L umol/L U/L kat [in_i] [ft_i] cm m km L dL mL uL fL pg ug kg t N J W Pa kPa bar atm K rad deg sr cd lm lx Bq Gy "
    "Sv C V F Ohm S Wb T H Hz eV u [degRe] dB B[V] Np [iU]/mL [arb'U]/mL {copies}/mL mL/min/{1.73_m2} g.m2 g.m/s2 (g.m)/s2 "
    "g/(L.d) 1/min m2 m-2 m+2 10*-3 10* [HPF] /[HPF] [drp] [tbs_us] [gal_us] [oz_av] [psi] cal kcal [Cal] mol mmol osm mosm/kg "
    "eq [CFU]/mL [FFU] [PFU] %[slope] [p'diop] [diop] gf lb foo mgg m/ /m m..s m. .m {a {a}b m{a} m{} 10**3 2m 2.m 5/min"
).split() + ["mm Hg", "m s"]
CONVERSIONS = [
    row.split()
    for row in """
    100.4 [degF] Cel; 37 Cel K; 37 Cel [degF]; 5000 pg/mL ng/mL; 5 ug/L ng/mL; 1 [lb_av] kg; 1 [in_i] cm; 120 mm[Hg] kPa;
    1 [iU] mg; 7 d wk; 1 a d; 1 mo d; 5.5 mmol/L umol/L; 1 kat U; 1 % 1; 30 kg/m2 g/cm2; 1 10*9/L /uL; 1 10*3/uL 10*9/L;
    1 L dm3; 1 cal J; 1 [psi] kPa; 1 bar Pa; 90 deg rad; 1 g mol; 20 dB 1; 1 eV J; 1 Np B; 1 t kg; 1 [gal_us] L; 1 m2 cm2;
    60 /min Hz; 1 osm mol; 100 %[slope] deg; 1 [arb'U] [iU]; 1 m[iU]/mL [iU]/L; 1 [CFU]/mL [CFU]/L; 1 meq/L mmol/L;
    7.4 [pH] mol/L; 10 [degRe] Cel
    """.split(";")
]
# Where we differ: (value, from, to) -> our answer. The unit of both sides is the same arbitrary one, only scaled (UCUM section 3.2,
# 24: arbitrary units compare with themselves); eq is defined as mol; pH is defined over mol/l; 10 degrees Reaumur are 12.5 Celsius.
OURS = {
    ("1", "m[iU]/mL", "[iU]/L"): Decimal(1),
    ("1", "[CFU]/mL", "[CFU]/L"): Decimal(1000),
    ("1", "meq/L", "mmol/L"): Decimal(1),
    ("7.4", "[pH]", "mol/L"): Decimal("3.98107170553497250770252305087752E-8"),
    ("10", "[degRe]", "Cel"): Decimal("12.5"),
}


def ask(questions: list[list[str]]) -> list[bool | float | None]:
    folder = Path(os.environ.get("UCUM_LHC_DIR", Path(__file__).resolve().parents[2]))
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (folder / "node_modules" / "@lhncbc" / "ucum-lhc").exists():
        pytest.skip(f"@lhncbc/ucum-lhc is not installed in {folder} (UCUM_LHC_DIR names another folder)")
    run = subprocess.run(
        ["node", "-e", ORACLE], input=json.dumps(questions), capture_output=True, text=True, cwd=folder, check=True
    )
    return json.loads(run.stdout.rpartition("\n")[2])  # type: ignore[no-any-return]


def valid(unit: str) -> bool:
    try:
        parse_unit(unit)
    except UnitError:
        return False
    return True


def test_validity() -> None:
    answers = ask([["valid", unit] for unit in UNITS])
    assert {u: valid(u) for u in UNITS} == dict(zip(UNITS, answers, strict=True))


def test_conversions() -> None:
    answers = ask([["convert", *row] for row in CONVERSIONS])
    for row, theirs in zip(CONVERSIONS, answers, strict=True):
        value, source, target = row
        ours = convert(Decimal(value), source, target)
        if (value, source, target) in OURS:
            assert ours == OURS[value, source, target], row
        elif theirs is None:
            assert ours is None, row
        else:
            assert ours is not None and float(ours) == pytest.approx(theirs, rel=1e-9), row
