"""The words of /stats."""

from __future__ import annotations

import dataclasses
import time

from aiogram.utils.i18n import get_i18n, ngettext
from aiogram.utils.i18n import gettext as _
from babel.numbers import get_decimal_symbol

from bot.replies.text import escaped
from bot.stats import Day, Latency, Report
from model.serving.queue import Status


def stats(report: Report) -> str:
    """The answer to /stats."""
    now = [
        _queue(report.queue),
        _("Given up and kept for a look: {count}").format(count=report.dead_letters),
        *_webhook(report),
        _("Running for {duration}").format(duration=_duration(report.uptime)),
    ]
    day = [_("What was counted cannot be read now.")] if report.day is None else _day(report.day)
    return "\n\n".join([_section(_("The last 24 hours"), day), _section(_("Now"), now)])


def _webhook(report: Report) -> list[str]:
    """What Telegram says of the webhook, where there is one."""
    if (health := report.webhook) is None:
        return []
    lines = [_("At the webhook wait: {count}").format(count=health.pending)]
    if not health.ours:
        lines.append(_("Telegram calls another address than this bot's, or none."))
    if health.error and health.since is not None:
        ago = _duration(max(0.0, time.time() - health.since))
        lines.append(_("Last error of the webhook, {ago} ago: {error}").format(ago=ago, error=health.error))
    return lines


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([f"<b>{escaped(title)}</b>", *map(escaped, lines)])


def _day(day: Day) -> list[str]:
    lines = [
        _("Requests: {requests}, answered: {answered}, failed: {failed}").format(
            requests=day.requests, answered=day.answered, failed=day.failed
        )
    ]
    if day.failures:
        kinds = ", ".join(f"{kind} {count}" for kind, count in day.failures.items())
        lines.append(_("Failures: {kinds}").format(kinds=kinds))
    lines += map(_latency, day.latencies)
    lines += [
        _("Reactions to {model}, {decoding}: 👍 {good}, 👎 {bad}, other {other}").format(**dataclasses.asdict(each))
        for each in day.reactions
    ]
    return [*lines, ngettext("{count} person", "{count} people", day.people).format(count=day.people)]


def _latency(latency: Latency) -> str:
    names = {
        "photo": _("Photos"),
        "album": _("Albums"),
        "album_sheet": _("Heatmaps of albums"),
        "sample": _("Samples"),
        "more": _("More captions"),
        "heatmap": _("Heatmaps"),
        "chart": _("Words weighed"),
        "colours": _("Colours"),
        "tags": _("Tags"),
        "rank": _("Choices"),
        "edit": _("Edits"),
        "find": _("Photos found by words"),
        "compare": _("Comparisons"),
        "clip": _("Clips"),
        "guest": _("As a guest"),
    }
    name = names.get(latency.kind, latency.kind)
    if latency.median is None or latency.p95 is None:
        return _("{kind}: {count}").format(kind=name, count=latency.answers)
    return _("{kind}: {count}, half within {median} s, 95 % within {p95} s").format(
        kind=name, count=latency.answers, median=_seconds(latency.median), p95=_seconds(latency.p95)
    )


def _queue(status: Status | None) -> str:
    if status is None:
        return _("The queue cannot be reached.")
    lines = ", ".join(f"{line} {count}" for line, count in status.waiting.items() if count)
    waiting = sum(status.waiting.values())
    return _("Waiting: {waiting}, in work: {in_work}, workers: {workers}").format(
        waiting=f"{waiting} ({lines})" if lines else waiting, in_work=status.in_work, workers=status.workers
    )


def _seconds(seconds: float) -> str:
    point = get_decimal_symbol(get_i18n().current_locale)
    return f"{seconds:.2g}".replace(".", point) if seconds < 10 else f"{seconds:.0f}"


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return _("{days} d {hours} h").format(days=days, hours=hours)
    return _("{hours} h {minutes} min").format(hours=hours, minutes=minutes % 60)
