"""A page of pictures, one a series: plain HTML that needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from urllib.parse import quote

from fhir_eligibility.output.transfers import SeriesTransfer

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Images</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff; }
h2 { font-size: 1.1em; margin: 2em 0 .5em; }
figure { display: inline-block; vertical-align: top; width: 220px; margin: 0 1em 1em 0; }
img { max-width: 100%; background: #000; }
figcaption { font-size: .85em; overflow-wrap: anywhere; }
</style>
<h1>Images</h1>
"""


def gallery(pictures: Sequence[SeriesTransfer]) -> str:
    """The page; pictures of a patient together, in the order given."""
    out = [_HEAD]
    if not pictures:
        out.append("<p>There are no pictures.</p>\n")
    for patient, found in groupby(pictures, key=lambda picture: picture.patient):
        out.append(f"<h2>{escape(patient)}</h2>\n")
        for picture in found:
            words = " ".join(filter(None, (picture.modality, picture.description))) or "series"
            source = quote(picture.folder or "")
            out.append(
                f'<figure><img src="{source}" alt="{escape(words, quote=True)}" loading="lazy">'
                f"<figcaption>{escape(words)}<br>{escape(picture.series or '')}</figcaption></figure>\n"
            )
    return "".join(out)
