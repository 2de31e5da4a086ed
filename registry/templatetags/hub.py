"""How the pages write figures, digests and statuses, and the pictures that they draw: score bars and layer bars."""

import json
import math
from datetime import datetime
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from hub.spec import casts, report

register = template.Library()

STATUS = {
    "published": ("good", "✓"),
    "passed": ("good", "✓"),
    "rejected": ("bad", "✗"),
    "failed": ("bad", "✗"),
    "error": ("warn", "!"),
    "not judged": ("warn", "!"),
    "warning": ("warn", "!"),
    "validating": ("warn", "…"),
    "draft": ("", "·"),
    "hosted": ("", "○"),
    "skipped": ("", "–"),
}


LEVELS = {
    "validated": ("good", "✓", "validated"),
    "same_values": ("good", "≈", "same values"),
    "derived": ("warn", "↗", "derived"),
    "shape_only": ("", "○", "shapes fit"),
    "incompatible": ("bad", "✗", "clashes"),
    "unknown": ("", "?", "unknown"),
}
"""How a level of compatibility looks: one colour, one sign and one word on every page."""


def number(value: Any) -> float | None:
    """What a page may reckon with, None for everything else: an old report may hold anything."""
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


@register.filter
def state(version: dict[str, Any]) -> str:
    """A version's status as a page says it: where the run ended without a verdict, nothing is being validated any more."""
    ended = version.get("status") == "validating" and version.get("stage") == "error"
    return "not judged" if ended else str(version.get("status") or "")


@register.filter
def status_colour(status: str) -> str:
    """The style class of a status; one colour per status on every page."""
    return STATUS.get(str(status), ("", ""))[0]


@register.filter
def status_icon(status: str) -> str:
    """The sign that stands before a status word (colour is never the only carrier)."""
    return STATUS.get(str(status), ("", "·"))[1]


@register.filter
def level_colour(level: str) -> str:
    """The style class of a level of compatibility."""
    return LEVELS.get(str(level), LEVELS["unknown"])[0]


@register.filter
def level_icon(level: str) -> str:
    """The sign of a level of compatibility."""
    return LEVELS.get(str(level), LEVELS["unknown"])[1]


@register.filter
def level_words(level: str) -> str:
    """A level of compatibility as a person says it."""
    return LEVELS.get(str(level), LEVELS["unknown"])[2]


@register.filter
def verdict_colour(verdict: str) -> str:
    """The style class of a verdict or of a check's status."""
    return status_colour(verdict)


@register.filter
def figure(value: float | str | None) -> str:
    """A score with three decimals; a dash where there is none."""
    known = number(value)
    return "–" if known is None else f"{known:.3f}"


@register.filter
def p_value(value: float | str | None) -> str:
    """A test's p: three decimals, or that it is below one in a thousand."""
    known = number(value)
    return "–" if known is None else "p < 0.001" if known < 0.001 else f"p = {known:.3f}"


@register.filter
def signed(value: float | str | None) -> str:
    """A difference with its sign (a true minus) and three decimals."""
    known = number(value)
    return "–" if known is None else f"{known:+.3f}".replace("-", "−")


@register.filter
def seconds(value: float) -> str:
    """A duration as a person says it: 0.8 s, 42 s, 3 min 12 s."""
    known = number(value)
    if known is None:
        return "–"
    if known < 10:
        return f"{known:.1f} s"
    whole = round(known)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


@register.filter
def size(count: int) -> str:
    """Bytes as the command line writes them: thousands, not 1024s."""
    value = number(count)
    if value is None:
        return "–"
    if value < 1000:
        return f"{value:.0f}\N{NO-BREAK SPACE}B"
    power = min(3, int(math.log(value, 1000) + 1e-9))
    return f"{value / 1000**power:.1f}\N{NO-BREAK SPACE}{('KB', 'MB', 'GB')[power - 1]}"


@register.filter
def percent(value: float) -> str:
    """A share with two decimals; what is not nothing is never written as 0.00."""
    known = number(value)
    text = "–" if known is None else "< 0.01 %" if 0 < known < 0.005 else f"{known:.2f} %"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


@register.filter
def thousands(value: int | None) -> str:
    """An integer with thin spaces between the thousands."""
    return f"{value:,}".replace(",", "\u2009") if isinstance(value, int) else "–"


@register.filter
def day(value: datetime | str | None) -> str:
    """A date as 2026-11-24; nothing where there is none. Takes what the database or the API's JSON holds."""
    if not value:
        return ""
    return value.date().isoformat() if isinstance(value, datetime) else str(value)[:10]


@register.filter
def short_digest(value: str | None) -> str:
    """The first 12 hex digits of a digest."""
    return str(value or "").removeprefix("sha256:")[:12] or "–"


@register.filter
def short_fingerprint(value: str | None) -> str:
    """base: and the first 12 hex digits; a name passes through."""
    value = str(value or "")
    return value[: len("base:") + 12] if value.startswith("base:") else value


@register.filter
def cast_words(name: str) -> str:
    """What a copy is called that was cast so; a cast of a later edition as it is."""
    return casts.WORDS.get(name, name)


@register.filter
def pretty(value: Any) -> str:
    """JSON for reading."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)


@register.filter
def share(value: float | None) -> str:
    """A share of 1 in percent; what is not nothing is never written as 0.00."""
    known = number(value)
    return "–" if known is None else percent(100 * known)


@register.simple_tag
def layer_bar(layer: dict[str, Any], most: float) -> SafeString:
    """How large a merged delta is against its weight, beside the largest of all; what bfloat16 loses of it is the pale end."""
    ratio, lost = number(layer.get("ratio")) or 0.0, number(layer.get("lost")) or 0.0
    wide = round(100 * ratio / most, 2) if most else 0.0
    kept = round(wide * (1 - lost), 2)
    return format_html(
        '<svg class="layer" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="lost" width="{}" height="8"/><rect class="kept" width="{}" height="8"/></svg>',
        wide,
        kept,
    )


LEFT, WIDTH, HEIGHT = 8.0, 304.0, 28.0


def _x(value: float) -> float:
    """Where a score in [-1, 1] stands on the bar; scores below zero stand at its left end."""
    return round(LEFT + WIDTH * min(1.0, max(0.0, float(value))), 1)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@register.filter
def over(gain: Any) -> str:
    """What a gain is over: the probe, the majority class, the same head without the adapter."""
    return report.over_what(_object(gain))


@register.simple_tag
def score_bar(score: dict[str, Any]) -> SafeString:
    """One score beside its baselines on an axis from 0 to 1, as inline SVG.

    A band for the 95 % interval, a disc for the adapter, a ring for the baseline that the gain is over (the probe where
    there is no gain), a dashed tick for the majority class. `score` is a score of a report, or one of an adapter's
    summary, which carries the gain but no baselines.
    """
    value, baselines, gain = number(score.get("value")), _object(score.get("baselines")), _object(score.get("gain"))
    over = str(gain.get("over", "probe"))
    baseline, majority = number(baselines.get(over)), number(baselines.get("majority"))
    interval = [number(bound) for bound in score.get("interval") or ()]
    middle = HEIGHT / 2
    if value is None:
        return SafeString()
    if baseline is None and number(gain.get("value")) is not None:
        baseline = value - (number(gain.get("value")) or 0.0)
    shapes = [format_html('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>', LEFT, LEFT + WIDTH, middle, middle)]
    if len(interval) == 2 and interval[0] is not None and interval[1] is not None:
        low, high = _x(interval[0]), _x(interval[1])
        width = max(1.0, round(high - low, 1))
        shapes.append(
            format_html('<rect class="band" x="{}" y="{}" width="{}" height="16" rx="4"/>', low, middle - 8, width)
        )
    if majority is not None:
        shapes.append(
            format_html('<line class="majority" x1="{0}" x2="{0}" y1="4" y2="{1}"/>', _x(majority), HEIGHT - 4)
        )
    if baseline is not None:
        kind = "gain" if value >= baseline else "loss"
        shapes.append(
            format_html(
                '<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>',
                kind,
                _x(baseline),
                _x(value),
                middle,
                middle,
            )
        )
        shapes.append(format_html('<circle class="baseline" cx="{}" cy="{}" r="5"/>', _x(baseline), middle))
    shapes.append(format_html('<circle class="adapter" cx="{}" cy="{}" r="6"/>', _x(value), middle))
    words = f"{score.get('benchmark', '')} {score.get('metric', '')} {figure(value)}" + (
        f", {report.over_what(gain)} {figure(baseline)}" if baseline is not None else ""
    )
    body = format_html_join("", "{}", ((shape,) for shape in shapes))
    return format_html(
        '<svg class="score" preserveAspectRatio="xMinYMid" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        int(LEFT * 2 + WIDTH),
        int(HEIGHT),
        words.strip(),
        body,
    )
