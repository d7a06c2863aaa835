# SPDX-License-Identifier: MIT
"""``handlers.c`` of a generated module: kprobes as one writes them by hand, and their life."""

from __future__ import annotations

from collections.abc import Iterator

from kpmagic.cell.handler import Analysis, Handler
from kpmagic.model import Site
from kpmagic.record import Aggregate

MAXACTIVE = 1024  # calls of a return probe that may be inside at once


def lines(
    analysis: Analysis, aggregates: tuple[Aggregate, ...], is_return: bool
) -> Iterator[str]:
    """Yield the file behind its defines."""
    yield "\n#include <linux/kprobes.h>\n#include <linux/module.h>\n"
    yield '#include "kpmagic.kmod.h"\n#include "frame.kmod.h"'
    yield '#include "inject.kmod.h"\n' if injects(analysis) else ""
    for table in aggregates:
        yield f"extern struct kp_table {table.map};"
    tables = "".join(f"&{table.map}, " for table in aggregates)
    yield f"static struct kp_table *const kp_tables[KP_TABLES + 1] = {{ {tables}NULL }};\n"
    yield from (_returns if is_return else _entries)(analysis)
    yield from _life(analysis, "kretprobe" if is_return else "kprobe")


def injects(analysis: Analysis) -> bool:
    """Whether a handler changes what the kernel does."""
    return any(handler.injects for handler in analysis.handlers)


def sites_of(analysis: Analysis) -> list[tuple[int, Site, Handler]]:
    """Return number, site and handler of each probe, in the order of the numbers."""
    sites = analysis.plan.sites
    found = [(number, sites[number], h) for h in analysis.handlers for number in h.numbers]
    return sorted(found, key=lambda each: each[0])


def _entries(analysis: Analysis) -> Iterator[str]:
    yield "static struct kprobe kp_probes[KP_SITES];\n"
    only_int3 = analysis.plan.probe.options.mechanism == "int3" or injects(analysis)
    if analysis.posts:
        yield _AFTER
    elif only_int3:
        yield _NOTHING
    for handler in analysis.handlers:
        number = handler.number
        yield f"void kp_run_{number}(struct kp_hit *hit, struct pt_regs *regs); /* body.c */\n"
        yield "/* before the probed instruction */"
        yield f"static int kp_pre_{number}(struct kprobe *p, struct pt_regs *regs)"
        yield f"""{{
	struct kp_hit hit = {{ .site = p - kp_probes }};

	if (kp_watching(&hit)) {{
		if (kp_begin(&hit))
			kp_run_{number}(&hit, regs);
		kp_end(&hit);
	}}"""
        if handler.section:
            yield "\tkp_after[kp_this_cpu() & (KP_CPUS - 1)] = hit.wanted;"
        yield f"\treturn {'kp_skip(&hit, regs)' if handler.injects else '0'};\n}}\n"
    for handler in analysis.posts:
        yield _POST.format(number=handler.number)
    posts = {number: f"kp_post_{post.number}" for post in analysis.posts for number in post.numbers}
    yield "static struct kprobe kp_probes[KP_SITES] = {"
    for number, site, handler in sites_of(analysis):
        post = posts.get(number) or ("kp_nothing" if only_int3 else "")
        after = f", .post_handler = {post}" if post else ""
        yield f"\t[{number}] = {{ {_place(site)}.pre_handler = kp_pre_{handler.number}{after} }},"
    yield "};\n"


_AFTER = """\
/* what the handler before the probed instruction has decided for the one after it */
static bool kp_after[KP_CPUS];
"""

# Documentation/trace/kprobes.rst, 'Kprobes Features and Limitations': changing execution paths
_NOTHING = """\
/* no probe with a post-handler is made a jump, from which no handler can change the way */
static void kp_nothing(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{
}
"""

_POST = """\
void kp_run_post_{number}(struct kp_hit *hit, struct pt_regs *regs); /* body.c */

/* after the probed instruction */
static void kp_post_{number}(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{{
	struct kp_hit hit = {{ .site = p - kp_probes }};

	if (kp_watching(&hit) && kp_after[kp_this_cpu() & (KP_CPUS - 1)]) {{
		kp_run_post_{number}(&hit, regs);
		kp_end(&hit);
	}}
}}
"""


def _returns(analysis: Analysis) -> Iterator[str]:
    yield "static struct kretprobe kp_probes[KP_SITES];\n"
    yield _RETURN_WORDS
    for handler in analysis.handlers:
        number = handler.number
        call = "struct kp_hit *hit, struct pt_regs *regs, const struct kp_call *call"
        yield f"void kp_run_{number}({call}); /* body.c */"
        yield f"void kp_keep_{number}(struct kp_call *call, struct pt_regs *regs);\n"
        replaced = "\tkp_replace(&hit, regs);\n" if handler.injects else ""
        yield _RETURN_HANDLERS.format(number=number, replaced=replaced)
    yield "static struct kretprobe kp_probes[KP_SITES] = {"
    for number, site, handler in sites_of(analysis):
        place = _place(site, "kp.")
        yield (
            f"\t[{number}] = {{ {place}.entry_handler = kp_enter_{handler.number}, "
            f".handler = kp_return_{handler.number},\n\t\t.data_size = sizeof(struct kp_call), "
            f".maxactive = {analysis.plan.probe.options.maxactive or MAXACTIVE} }},"
        )
    yield "};\n"


_RETURN_WORDS = """\
/* the probe that a call belongs to */
static struct kretprobe *kp_probe(struct kretprobe_instance *ri)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
	return get_kretprobe(ri);
#else
	return ri->rp;
#endif
}
"""

_RETURN_HANDLERS = """\
/* the function is called */
static int kp_enter_{number}(struct kretprobe_instance *ri, struct pt_regs *regs)
{{
	struct kp_call *call = (void *)ri->data;
	struct kp_hit hit = {{}};

	call->ts = 0;
	if (!kp_watching(&hit))
		return 0;
	if (!kp_spared_call(&hit)) {{
		hit.cpu->entries++;
		kp_keep_{number}(call, regs);
		call->ts = kp_time();
	}}
	kp_end(&hit);
	return 0;
}}

/* the function returns */
static int kp_return_{number}(struct kretprobe_instance *ri, struct pt_regs *regs)
{{
	struct kp_call *call = (void *)ri->data;
	struct kp_hit hit = {{ .site = kp_probe(ri) - kp_probes }};

	if (call->ts && kp_watching(&hit)) {{
		if (kp_wanted(&hit))
			kp_run_{number}(&hit, regs, call);
		kp_end(&hit);
	}}
{replaced}	return 0;
}}
"""


def _place(site: Site, prefix: str = "") -> str:
    """Return the C that says where a probe goes; an address is a parameter of the module."""
    if site.exact or not site.symbol or site.spec.address:
        return ""
    name = f"{site.module}:{site.symbol}" if site.module else site.symbol
    return f'.{prefix}symbol_name = "{name}", .{prefix}offset = {site.offset:#x}, '


def _life(analysis: Analysis, kind: str) -> Iterator[str]:
    """Registering and unregistering, with every error seen."""
    inner = "kp." if kind == "kretprobe" else ""
    missed = "kp_probes[i].nmissed + kp_probes[i].kp.nmissed" if inner else "kp_probes[i].nmissed"
    optional = ", ".join(str(int(site.spec.wild)) for site in analysis.plan.sites)
    yield f"static const bool kp_optional[KP_SITES] = {{ {optional} }};"
    yield f"""static bool kp_planted[KP_SITES];

static void kp_unplant(void)
{{
	int i;

	for (i = KP_SITES - 1; i >= 0; i--) {{
		if (kp_planted[i])
			unregister_{kind}(&kp_probes[i]);
		kp_planted[i] = false;
	}}
}}

static int kp_plant(void)
{{
	int i;

	for (i = 0; i < KP_SITES; i++) {{
		if (!kp_probes[i].{inner}symbol_name)
			kp_probes[i].{inner}addr = (void *)addresses[i];
		if (!kp_probes[i].{"handler" if inner else "pre_handler"})
			continue;
		kp_errors[i] = register_{kind}(&kp_probes[i]);
		kp_planted[i] = !kp_errors[i];
		if (kp_errors[i] && !kp_optional[i]) {{
			pr_err("register_{kind} of place %d returned %d\\n", i, kp_errors[i]);
			return kp_errors[i];
		}}
	}}
	return 0;
}}

static __u64 kp_missed(void)
{{
	__u64 missed = 0;
	int i;

	for (i = 0; i < KP_SITES; i++)
		missed += {missed};
	return missed;
}}

static int __init kp_init(void)
{{
	int ret = kp_allocate();

	if (ret)
		return ret;
	ret = kp_plant();
	if (!ret)
		ret = misc_register(&kp_device);
	if (ret) {{
		kp_unplant();
		kp_free();
	}}
	return ret;
}}

static void __exit kp_exit(void)
{{
	kp_unplant();
	misc_deregister(&kp_device);
	kp_free();
}}

module_init(kp_init);
module_exit(kp_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("probes of a notebook's cell");"""
