# SPDX-License-Identifier: MIT
"""Of a kernel's types as C (vmlinux.h) those that a source needs: BCC reads them three times.

A struct is kept whole where the source names it, where a kept one holds it by value, and where a
kept one points to it with a member that the source names. What is only pointed to is declared.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

WORD = re.compile(r"[A-Za-z_]\w*")
TAGGED = re.compile(r"\b(struct|union|enum)\s+(\w+)(\s*\*+\s*(?:const\s+)?(\w*))?")
HEAD = re.compile(r"(?:typedef\s+)?(struct|union|enum)\s+(\w+)(?:\s+__attribute__\S*)?\s*\{")
ENUMERATOR = re.compile(r"^\t(\w+) = ", re.MULTILINE)
TYPEDEF = re.compile(r"(\w+)\s*(?:\[[^\]]*\]|\([^()]*(?:\([^()]*\)[^()]*)*\)|__attribute__\S*)*;$")
POINTED = re.compile(r"\(\s*\*+\s*(\w+)\s*\)")  # typedef of a pointer to a function

# what BCC's own helpers.h stands on
NEEDED = WORD.findall("""
__be16 __be32 __be64 __s8 __s16 __s32 __s64 __u8 __u16 __u32 __u64 __wsum bool false true pt_regs
s8 s16 s32 s64 u8 u16 u32 u64 size_t pid_t bpf_func_id bpf_map_type BPF_ANY BPF_NOEXIST BPF_EXIST
BPF_F_CURRENT_CPU BPF_F_INDEX_MASK BPF_F_REUSE_STACKID BPF_F_USER_STACK BPF_RB_NO_WAKEUP
BPF_F_FAST_STACK_CMP BPF_F_NO_PREALLOC BPF_F_MMAPABLE bpf_spin_lock __sk_buff ethhdr
uintptr_t uint8_t uint16_t uint32_t uint64_t int64_t uid_t gid_t ssize_t loff_t
PERF_COUNT_SW_BPF_OUTPUT bpf_stack_build_id
""")
# structs that functions in it are given pointers to
PASSED = WORD.findall("""
bpf_cgroup_storage_key bpf_dynptr bpf_map bpf_perf_event_data bpf_pidns_info bpf_redir_neigh
bpf_raw_tracepoint_args bpf_sock bpf_sock_ops bpf_sock_tuple bpf_sysctl bpf_tcp_sock bpf_timer
btf_ptr cgroup file inode iphdr ipv6hdr linux_binprm mptcp_sock path seq_file sk_buff socket
task_struct tcp6_sock tcp_request_sock tcp_sock tcp_timewait_sock tcphdr udp6_sock unix_sock xdp_md
""")


@dataclass
class Chunk:
    """One declaration at the top: its text, and how it is referred to."""

    text: str
    tag: str = ""  # "struct file"
    names: tuple[str, ...] = ()  # a typedef's, or enumerators
    values: set[str] = field(default_factory=set)  # tags that must be complete
    pointers: list[tuple[str, str]] = field(default_factory=list)  # tag, the member that points


def packed(header: Path, source: str) -> str:
    """Return those types of a file that ``source`` needs, compressed, as hexadecimal digits."""
    text = pruned(header.read_text(encoding="utf-8"), source)
    return zlib.compress(text.encode()).hex()


def pruned(header: str, source: str) -> str:
    """Return the part of ``header`` that ``source`` and BCC need."""
    chunks = list(_chunks(header))
    named: dict[str, list[int]] = {}
    tagged: dict[str, int] = {}
    for at, chunk in enumerate(chunks):
        for name in chunk.names:
            named.setdefault(name, []).append(at)
        if chunk.tag:
            tagged[chunk.tag] = at
    words = {*NEEDED, *WORD.findall(source)}
    kept = _closure(chunks, named, tagged, words)
    texts = [chunks[at].text for at in sorted(kept)]
    mentioned = {f"{match[1]} {match[2]}" for text in texts for match in TAGGED.finditer(text)}
    mentioned |= {f"struct {name}" for name in PASSED}
    forward = sorted(f"{tag};" for tag in mentioned if not tag.startswith("enum"))
    return "\n".join([*forward, "", *texts, ""])


def _closure(
    chunks: list[Chunk], named: dict[str, list[int]], tagged: dict[str, int], words: set[str]
) -> set[int]:
    """Return the numbers of the chunks that are needed."""
    kept: set[int] = set()
    todo = [at for word in words for at in named.get(word, ())]
    todo += [tagged[tag] for word in words for tag in _tags(word) if tag in tagged]
    while todo:
        at = todo.pop()
        if at in kept:
            continue
        kept.add(at)
        chunk = chunks[at]
        wanted = chunk.values | {tag for tag, member in chunk.pointers if member in words}
        todo += [tagged[tag] for tag in wanted if tag in tagged]
        todo += [other for word in WORD.findall(chunk.text) for other in named.get(word, ())
                 if chunks[other].text.startswith("typedef")]  # fmt: skip
    return kept


def looked_into(header: str, source: str) -> set[str]:
    """Return the structs, unions and enums (``struct file``) whose members ``source`` may name.

    Those that it names, and those that one of these leads to by a pointer whose name it has.
    """
    chunks = list(_chunks(header))
    tagged = {chunk.tag: chunk for chunk in chunks if chunk.tag}
    words = set(WORD.findall(source))
    named = {tag for word in words for tag in _tags(word) if tag in tagged}
    named &= {f"{match[1]} {match[2]}" for match in TAGGED.finditer(source)}
    named |= {chunk.tag for chunk in chunks if chunk.tag and not words.isdisjoint(chunk.names)}
    found: set[str] = set()
    inside: set[str] = set()
    todo = [(tag, True) for tag in named]
    while todo:
        tag, is_own = todo.pop()
        if tag not in tagged or (tag in found if is_own else tag in inside):
            continue
        (found if is_own else inside).add(tag)
        chunk = tagged[tag]
        todo += [(other, False) for other in chunk.values]
        todo += [(other, True) for other, member in chunk.pointers if member in words]
    return found


def _tags(word: str) -> Iterable[str]:
    return (f"struct {word}", f"union {word}", f"enum {word}")


def _chunks(header: str) -> Iterator[Chunk]:
    """Yield the declarations of a header as bpftool writes it: braces end in the first column."""
    lines: list[str] = []
    depth = 0
    for line in header.splitlines():
        if line.startswith("#") or (not lines and not line.strip()):
            continue
        lines.append(line)
        depth += line.count("{") - line.count("}")
        if depth == 0 and line.endswith(";"):
            yield _chunk("\n".join(lines))
            lines = []


def _chunk(text: str) -> Chunk:
    head = HEAD.match(text)
    tag = f"{head[1]} {head[2]}" if head is not None else ""
    names: list[str] = []
    if text.startswith("typedef"):
        found = POINTED.search(text) if "(*" in text and "{" not in text else TYPEDEF.search(text)
        names += [found[1]] if found is not None else []
    if re.match(r"(typedef )?enum\b", text):
        names += ENUMERATOR.findall(text)
    chunk = Chunk(text, tag, tuple(names))
    for match in TAGGED.finditer(text, len(head[0]) - 1 if head is not None else 0):
        other = f"{match[1]} {match[2]}"
        if match[3] and match[1] != "enum":
            chunk.pointers.append((other, match[4]))
        else:
            chunk.values.add(other)
    return chunk
