# SPDX-License-Identifier: MIT
"""Functions that have changed their names: what people still type → what the kernel has now.

Only a function that is still the same function is here, with the commit and the release of
torvalds/linux that renamed it (a stable kernel may have it earlier). One whose meaning became
another's, as __vfs_read's, is not: its name is unknown, and the error says what comes near.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rename:
    """One step: since ``release``, by ``commit``, the function is called ``name``."""

    name: str
    release: str
    commit: str


# first name → its later names, oldest first; a line for each subject of a commit
RENAMES: dict[str, tuple[Rename, ...]] = {
    # clone: support passing tls argument via C rather than pt_regs magic;
    # fork: introduce kernel_clone()
    "do_fork": (
        Rename("_do_fork", "4.2", "3033f14ab78c"),
        Rename("kernel_clone", "5.10", "cad6967ac108"),
    ),
    # maccess: rename probe_kernel_{read,write} to copy_{from,to}_kernel_nofault
    "probe_kernel_read": (Rename("copy_from_kernel_nofault", "5.8", "fe557319aa06"),),
    "probe_kernel_write": (Rename("copy_to_kernel_nofault", "5.8", "fe557319aa06"),),
    # block: rename generic_make_request to submit_bio_noacct
    "generic_make_request": (Rename("submit_bio_noacct", "5.9", "ed00aabd5eb9"),),
    # file: Rename __close_fd to close_fd and remove the files parameter
    "__close_fd": (Rename("close_fd", "5.11", "8760c909f54a"),),
    # mm/page_alloc: combine __alloc_pages and __alloc_pages_nodemask;
    # mm: enable page allocation tagging
    "__alloc_pages_nodemask": (
        Rename("__alloc_pages", "5.13", "84172f4bb752"),
        Rename("__alloc_pages_noprof", "6.10", "b951aaff5035"),
    ),
    # printk: Userspace format indexing support
    "printk": (Rename("_printk", "5.15", "337015573718"),),
    # mm/writeback: Add __folio_mark_dirty()
    "account_page_dirtied": (Rename("folio_account_dirtied", "5.16", "203a31516616"),),
    # block: inline hot paths of blk_account_io_*()
    "blk_account_io_start": (Rename("__blk_account_io_start", "5.16", "be6bfe36db17"),),
    "blk_account_io_done": (Rename("__blk_account_io_done", "5.16", "be6bfe36db17"),),
    # net: skb: introduce kfree_skb_reason(); net: introduce sk_skb_reason_drop function
    "kfree_skb": (
        Rename("kfree_skb_reason", "5.17", "c504e5c2f964"),
        Rename("sk_skb_reason_drop", "6.11", "ba8de796baf4"),
    ),
    # timers: Rename del_timer() to timer_delete(), del_timer_sync() to timer_delete_sync()
    "del_timer": (Rename("timer_delete", "6.2", "bb663f0f3c39"),),
    "del_timer_sync": (Rename("timer_delete_sync", "6.2", "9b13df3fb64e"),),
    # mm/slab: enable slab allocation tagging for kmalloc and friends
    "__kmalloc": (Rename("__kmalloc_noprof", "6.10", "7bd230a26648"),),
    "kmem_cache_alloc": (Rename("kmem_cache_alloc_noprof", "6.10", "7bd230a26648"),),
    "kmem_cache_alloc_node": (Rename("kmem_cache_alloc_node_noprof", "6.10", "7bd230a26648"),),
    # mm: vmalloc: enable memory allocation profiling
    "vmalloc": (Rename("vmalloc_noprof", "6.10", "88ae5fb755b0"),),
}


def renamed(asked: str, exists: Callable[[str], bool]) -> tuple[str, str] | None:
    """Return the name a function has on a kernel, and the note that says so; None for no rename.

    The note ends with the name that exists:
    ``do_fork → kernel_clone: renamed _do_fork in 4.2, kernel_clone in 5.10``;
    on a kernel older than the name asked for
    ``kernel_clone → _do_fork: renamed kernel_clone in 5.10``.
    """
    for names in _chains(asked):
        here = names.index(asked)
        for there in (*range(len(names) - 1, here, -1), *range(here - 1, -1, -1)):
            if exists(names[there]):
                return names[there], f"{asked} → {names[there]}: {history(asked, names[there])}"
    return None


def history(one: str, other: str = "") -> str:
    """Return how a function was renamed between two of its names, to the last without ``other``.

    Empty for a function that never was.
    """
    for names in _chains(one):
        places = sorted((names.index(one), names.index(other) if other else len(names) - 1))
        steps = RENAMES[names[0]][slice(*places)]
        return "renamed " + ", ".join(f"{s.name} in {s.release}" for s in steps) if steps else ""
    return ""


def _chains(name: str) -> list[list[str]]:
    chains = [[first, *(step.name for step in steps)] for first, steps in RENAMES.items()]
    return [names for names in chains if name in names]
