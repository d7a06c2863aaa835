# SPDX-License-Identifier: MIT
"""A cell as a shell script on tracefs: events with arguments, and the kernel's own histograms."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ..cell.scope import parameters
from ..model import Plan, Site, Source
from ..record import CType
from ..registers import numbers_of
from .statements import Statement, Untranslatable, check_places, sites_of, statements

LANGUAGE = "tracefs"
# Documentation/trace/histogram.rst: fields every event has; common_pid is the thread's
COMMON = {"tid": "common_pid", "comm": "common_pid.execname"}
SCRIPT = """\
#!/bin/sh
# exported by kpmagic, for Linux {release}
# as root: {name} [COMMAND]; without one it ends with Ctrl-C
set -eu
tracing=/sys/kernel/tracing
group=kpmagic_$$
instance=$tracing/instances/$group

remove() {{
	trap - EXIT INT TERM
	rmdir "$instance" 2>/dev/null || true
	for event in {events}; do
		echo "-:$group/$event" >>$tracing/kprobe_events 2>/dev/null || true
	done
}}
trap remove EXIT
trap 'exit 1' INT TERM

{definitions}
mkdir "$instance"
echo {buffer} >"$instance/buffer_size_kb"
{needs}{triggers}
for event in {events}; do
	echo 1 >"$instance/events/$group/$event/enable"
done
if [ $# -gt 0 ]; then
	"$@" || true
else
	trap 'true' INT
	sleep {seconds} || true
fi
for event in {events}; do
	echo 0 >"$instance/events/$group/$event/enable"
done
{show}
for cpu in "$instance"/per_cpu/cpu*/stats; do
	grep -E 'overrun|dropped events' "$cpu" | grep -v ': 0$' >&2 || true
done
# a histogram holds its event until it is taken away
{untrigger}
"""
# the kernel lists what it knows where no trigger is set; Debian 11's has no histograms
NEEDS = """\
grep -qs '^# .*\\bhist\\b' "$instance"/events/$group/*/trigger ||
	{{ echo "{name}: this kernel has no histograms of events (CONFIG_HIST_TRIGGERS)" >&2; exit 1; }}
"""


def script(plan: Plan, source: Source, name: str) -> str:
    """Return the script. Raises CellError for what tracefs has no equivalent for."""
    options = plan.probe.options
    no = Untranslatable(plan, "", LANGUAGE)
    for flag, given in (("--follow", options.follow), ("--sample", options.sample > 1),
                        ("--max-overhead", options.max_overhead > 0),
                        ("--where", options.where), ("--cpu", options.cpu >= 0),
                        ("--pid", options.pid), ("a quote in --comm", '"' in options.comm),
                        ("-D", options.defines)):  # fmt: skip
        if given:
            raise no.error(flag)
    check_places(plan, no)
    events = [Event(plan, site, row, source, number)
              for number, (site, row) in enumerate(sites_of(plan, source))]
    seconds = -(-options.duration // 10**9) if options.duration is not None else "infinity"
    shows = ['cat "$instance/trace"'] * bool(source.layouts)
    return SCRIPT.format(
        release=plan.release,
        name=name,
        events=" ".join(each.name for each in events),
        definitions="\n".join(each.definition() for each in events),
        buffer=max(options.buffer >> 10, 4),
        needs="" if not any(each.histograms for each in events) else NEEDS.format(name=name),
        triggers="\n".join(line for each in events for line in each.triggers("")),
        seconds=seconds,
        show="\n".join([*shows, *(f'cat "$instance/events/$group/{each.name}/hist"'
                                  for each in events if each.histograms)]) or "true",
        untrigger="\n".join(line for each in events for line in each.triggers("!")) or "true",
    )  # fmt: skip


class Event:
    """A kprobe event and the histograms that it feeds."""

    def __init__(self, plan: Plan, site: Site, row: int, source: Source, number: int) -> None:
        self.plan, self.site = plan, site
        self.name = re.sub(r"\W", "_", f"{site.symbol}_{number}")
        self.no = Untranslatable(plan, plan.probe.body or "", LANGUAGE)
        self.fields: dict[str, str] = {}
        self.histograms: list[str] = []
        self.arguments = {each.name for each in parameters(plan, site)}
        for each in statements(plan, site, row, source, LANGUAGE):
            if each.layout is not None:
                for field, code in zip(each.layout.fields, each.values, strict=True):
                    self.field(field.name, code, field.type, each.at)
            else:
                self.histograms.append(self.histogram(each))

    def definition(self) -> str:
        """Return the line that makes the event."""
        place = self.site.symbol + (f"+{self.site.offset}" if self.site.offset else "")
        kind = "r" if self.plan.probe.kind == "kretprobe" else "p"
        words = " ".join(f"{name}={value}" for name, value in self.fields.items())
        return f"echo \"{kind}:$group/{self.name} {place} \"'{words}' >>$tracing/kprobe_events"

    def triggers(self, mark: str) -> Iterator[str]:
        """Yield the lines that filter the event and feed its histograms, or take them away."""
        folder = f'"$instance/events/$group/{self.name}'
        options = self.plan.probe.options
        condition = f'comm == "{options.comm}"' if options.comm else ""
        if condition and not mark:
            yield f"echo {shlex.quote(condition)} >{folder}/filter\""
        for each in self.histograms:
            text = mark + each + (f" if {condition}" if condition else "")
            yield f"echo {shlex.quote(text)} >>{folder}/trigger\""

    def field(self, name: str, code: str, kind: CType | None, at: int) -> str:
        """Make a field of the event for an expression; return its name. Raises CellError."""
        value = self._fetch(code.strip(), kind, at)
        for known, other in self.fields.items():
            if other == value:
                return known
        name = re.sub(r"\W", "_", name)
        self.fields[name] = value
        return name

    def _fetch(self, code: str, kind: CType | None, at: int) -> str:
        """Return how tracefs fetches an expression (Documentation/trace/kprobetrace.rst)."""
        text = re.fullmatch(r"(user_)?str\((\w+)\)", code)
        inner = text[2] if text is not None else code
        is_return = self.plan.probe.kind == "kretprobe"
        own = inner in self.arguments
        if inner == "comm" and not own:
            return "$comm"
        if inner == "retval" and is_return and not own:
            return f"$retval:{_integer(kind)}"
        number = numbers_of(self.site.function).get(inner) if own and not is_return else None
        if number is None:
            raise self.no.error(f"{code!r}", at)
        argument = f"$arg{number + 1}"
        if text is not None:
            return f"+0({argument}):{'ustring' if text[1] else 'string'}"
        return f"{argument}:{_integer(kind)}"

    def histogram(self, each: Statement) -> str:
        """Return the trigger of an aggregation. Raises CellError."""
        table = each.aggregate
        assert table is not None
        keys = [self._key(code, field.type, each.at)
                for code, field in zip(each.keys, table.keys, strict=True)]  # fmt: skip
        if each.word == "count":
            return f"hist:keys={','.join(keys or ['common_type'])}"  # the same for all
        if each.word == "sum":
            value = self.field("value", each.values[0], table.value, each.at)
            return f"hist:keys={','.join(keys or ['common_type'])}:vals={value}"
        if each.word == "hist":
            value = self.field("value", each.values[0], table.value, each.at)
            return f"hist:keys={','.join([*keys, f'{value}.log2'])}"
        raise self.no.error(f"{each.text!r}", each.at)

    def _key(self, code: str, kind: CType, at: int) -> str:
        if code == "kstack()":
            return "stacktrace"
        if code in COMMON and code not in self.arguments:
            return COMMON[code]
        if code == "func" and code not in self.arguments:
            return "common_type"
        return self.field(code, code, kind, at)


def _integer(kind: CType | None) -> str:
    if kind is None or kind.kind not in ("int", "bool", "enum", "pointer"):
        return "u64"
    if kind.kind == "pointer":
        return "x64"
    return f"{'s' if kind.signed else 'u'}{8 * kind.size}"
