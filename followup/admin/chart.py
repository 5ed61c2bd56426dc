"""Scores over time as pictures, one for each series: drawn on the server as SVG with classes, with a table behind them.
Weeks run along, the scale up; the windows are pale bands; a line joins only neighbours that were both answered in the
same series, so a gap stays a gap."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from clinic.admin import show
from followup import outcomes
from followup.outcomes import Change, Series, TimePoint
from followup.scoring import THRESHOLDS
from scheduling.models import Episode

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 12, 34
REACHED = (
    ("vas30", "Pain down by 30 % or more"),
    ("vas50", "Pain down by 50 % or more"),
    ("odi10", "ODI down by 10 points or more"),
    ("odi15", "ODI down by 15 points or more"),
    ("pass_vas30mm", "Pain at 30 mm or less"),
    ("pass_odi22", "ODI at 22 or less"),
    ("worse", "Worse than before"),
)


@dataclass(frozen=True)
class Scale:
    """From weeks and scores to the places of the picture."""

    first: float
    last: float
    highest: int

    def x(self, weeks: float) -> str:
        return f"{LEFT + (weeks - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT):.1f}"

    def y(self, score: float | Fraction) -> str:
        return f"{TOP + (self.highest - float(score)) / self.highest * (HEIGHT - TOP - BOTTOM):.1f}"


def outcome_of(episode: Episode) -> SafeString:
    """The pictures and the table behind them. A number given by phone is never drawn as a mark on the line: it has a
    picture of its own, as has another version of a questionnaire. What adds up to no number is in the table only."""
    points = [point for point in outcomes.series(episode) if point.weeks is not None]
    if not points:
        return show.table((), (), empty="The picture begins with the booking: then the surveys have their dates.")
    every = outcomes.every_series(points)
    pictures = [
        picture(one, points, key=key, title=f"{one.title}: {label(one, every)}")
        for key, one in enumerate(every)
        if one.rules.counts
    ]
    return render_to_string(
        "admin/desk/chart.html",
        {"pictures": pictures, "table": table_of(points, every), "changes": changes_table(outcomes.changes(episode))},
    )


def picture(series: Series, points: Sequence[TimePoint], *, key: int, title: str) -> dict[str, object]:
    weeks = [point.weeks for point in points]
    scale = Scale(min(0.0, *weeks) - 2, max(weeks) + 6, series.rules.high)
    scores = [point.value(series) for point in points]
    marks = [
        {"x": scale.x(point.weeks), "y": scale.y(score), "label": f"{point.name}: {point.shown(series)}"}
        for point, score in zip(points, scores, strict=True)
        if score is not None
    ]
    baseline = next((score for point, score in zip(points, scores, strict=True) if point.event.before_injection), None)
    return {
        "key": key,
        "measure": series.scale,
        "title": title,
        "description": f"{title}: {described(series, points)}.",
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "bands": [band(point, scale) for point in points if not point.event.before_injection],
        "lines": lines(points, scores, scale),
        "marks": marks,
        "levels": levels(series, baseline, scale),
        "grid": grid(scale),
        "weeks": [{"x": scale.x(week), "text": week} for week in week_marks(scale)],
        "zero": scale.x(0),
        "plot": HEIGHT - TOP - BOTTOM,
        "label_x": LEFT - 6,
        "week_y": HEIGHT - BOTTOM + 14,
        "middle_x": (WIDTH + LEFT) / 2,
        "middle_y": HEIGHT / 2,
    }


def label(series: Series, every: Sequence[Series]) -> str:
    """The scale and the time it asks about; where two series have these in common, also their versions."""
    words = f"{series.rules.label}, {series.recall}"
    twins = [other for other in every if f"{other.rules.label}, {other.recall}" == words]
    return words if len(twins) == 1 else f"{words}, version {series.version}"


def grid(scale: Scale) -> list[dict[str, object]]:
    quarters = [scale.highest * part / 4 for part in range(5)] if scale.highest % 4 == 0 else range(0, 11, 2)
    return [{"y": scale.y(value), "text": f"{value:g}"} for value in quarters]


def band(point: TimePoint, scale: Scale) -> dict[str, str]:
    due, event = point.weeks, point.event
    opens = due - (event.due_on - event.opens_on).days / 7
    closes = due + (event.closes_on - event.due_on).days / 7
    return {"x": scale.x(opens), "width": f"{float(scale.x(closes)) - float(scale.x(opens)):.1f}", "name": point.name}


def lines(points: Sequence[TimePoint], scores: Sequence[object], scale: Scale) -> list[dict[str, str]]:
    pairs = zip(zip(points, scores, strict=True), zip(points[1:], scores[1:], strict=True), strict=False)
    return [
        {"x1": scale.x(a.weeks), "y1": scale.y(before), "x2": scale.x(b.weeks), "y2": scale.y(after)}
        for (a, before), (b, after) in pairs
        if before is not None and after is not None
    ]


def levels(series: Series, baseline: Fraction | None, scale: Scale) -> list[dict[str, str]]:
    """The acceptable state, and the smallest change that matters below this patient's own baseline."""
    rules, found = series.rules, []
    if rules.acceptable:
        state = THRESHOLDS[rules.acceptable].value
        found.append((Fraction(state), f"acceptable: {state} or less"))
    if rules.smallest_change and baseline is not None:
        change = THRESHOLDS[rules.smallest_change].value
        if baseline >= change:
            found.append((baseline - change, f"{change} below baseline"))
    return [{"y": scale.y(value), "text": text} for value, text in found]


def week_marks(scale: Scale) -> list[int]:
    every = next(step for step in (4, 13, 26, 52) if (scale.last - scale.first) / step <= 9 or step == 52)
    return list(range(0, int(scale.last) + 1, every))


def described(series: Series, points: Sequence[TimePoint]) -> str:
    return "; ".join(f"{point.name} {point.shown(series) or 'not answered'}" for point in points)


def table_of(points: Sequence[TimePoint], every: Sequence[Series]) -> SafeString:
    rows = (
        (
            point.name,
            show.day(point.event.due_on),
            *(point.shown(series) or show.NOTHING for series in every),
            show.state(point.event),
        )
        for point in points
    )
    columns = ("Time point", "Due", *(label(series, every) for series in every), "State")
    return show.table(columns, rows, empty="No surveys planned.")


def changes_table(changes: Sequence[Change]) -> SafeString:
    """Every time point against the baseline: the change, and each threshold reached or not."""
    answered = [change for change in changes if change.point.vas is not None or change.point.odi is not None]
    rows = (
        (
            change.point.name,
            less(change.response.vas_change, "mm"),
            less(change.response.odi_change, "points"),
            *(reached(getattr(change.response, name), bad=name == "worse") for name, _ in REACHED),
        )
        for change in answered
    )
    columns = ("Time point", "Pain", "ODI", *(label for _, label in REACHED))
    return show.table(columns, rows, empty="It appears with the first answers after the injection.")


def less(change: Fraction | None, unit: str) -> object:
    """A change in words: positive is better in the scores, so it is said as down or up."""
    if change is None:
        return show.NOTHING
    return f"{'down' if change >= 0 else 'up'} {abs(float(change)):.0f} {unit}".replace(" ", "\N{NO-BREAK SPACE}")


def reached(answer: bool | None, *, bad: bool = False) -> object:
    if answer is None:
        return show.NOTHING
    if bad:
        return show.badge("failed", "yes") if answer else "no"
    return show.badge("done", "yes") if answer else "no"
