# SPDX-License-Identifier: MIT
"""Cells in real notebook kernels, on a real Linux kernel in the sandbox."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient

FORKS = "--while 'i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done' --follow"
CARD = (
    "■ kernel_clone  stopped (--while)  23 rows  "
    "hits 23 = rows 23 + filtered 0 + sampled 0 + dropped 0; missed "
)


def run_notebook(version: str, *cells: str) -> list[list[Any]]:
    """Run the cells headless; return the outputs of each."""
    first = f"%load_ext kpmagic\n%kp target sandbox --kernel {version}"
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in (first, *cells)]
    )
    NotebookClient(made, allow_errors=True, timeout=120, kernel_name="python3").execute()
    return [cell.outputs for cell in made.cells[1:]]


def plain(outputs: list[Any]) -> str:
    return "\n".join(
        output.text if output.output_type == "stream"
        else "\n".join(output.traceback) if output.output_type == "error"
        else output.data["text/plain"]
        for output in outputs
    )  # fmt: skip


def test_a_lesson(fetched_kernel: str) -> None:
    shown = run_notebook(
        fetched_kernel,
        f"%%kprobe do_fork {FORKS}\nemit(flags = args->flags);",
        "_.stats.rows",
        f"%%kprobe do_fork {FORKS} -o forks\nemit(flags = args->flags);",
        "forks",
        "%%kprobe vfs_read --for 300ms -q --name quiet\nemit(count);",
        "%kp list",
        "%kp run echo out; echo err >&2; exit 3",
        "%%kprobe vfs_read --for 1s\nemit(file->f_paht);",
        "%%kprobe vfs_read --bg -o reads\nemit(count);",
        "%kp run cat /etc/hostname",
        "%kp stop vfs_read\nprint(reads.state, len(reads.df()) > 0)",
        "%%kprobe vfs_read --dry-run --where 'count > 1'\nemit(count);",
    )
    (card,) = shown[0]
    assert card.output_type == "display_data"
    assert card.data["text/plain"].startswith(CARD)
    assert "20 of 23 rows" in card.data["text/plain"]
    assert "do_fork → kernel_clone: renamed" in card.data["text/html"]
    assert plain(shown[1]) == "23"
    assert shown[2] == []
    (again,) = shown[3]
    assert again.data["text/plain"].startswith(CARD)
    assert shown[4] == []
    assert "quiet" in plain(shown[5])
    assert [output.get("name") for output in shown[6]] == ["stdout", "stderr", None]
    assert plain(shown[6]) == "out\n\nerr\n\n3"
    (error,) = shown[7]
    assert error.ename == "BuildError"
    assert ":2:12" in plain(shown[7])
    assert shown[8] == []
    assert plain(shown[10]).endswith("stopped True\n")
    assert "dry run" in plain(shown[11])
    assert "vmlinux.h" in plain(shown[11])


def test_a_kernel_that_dies_takes_no_rows_along(fetched_kernel: str) -> None:
    shown = run_notebook(
        fetched_kernel,
        "%%kprobe vfs_read --bg -o reads\nemit(count);",
        "%kp run cat /etc/hostname; sleep 1",
        "%kp run echo c > /proc/sysrq-trigger; sleep 5",
        "reads.wait(5); print(reads.stopped_by, len(reads.df()) > 0, reads.stats.balanced)",
        "reads",
        f"%%kprobe kernel_clone {FORKS}\nemit(flags = args->flags);",
    )
    assert "TargetLost" in plain(shown[2])
    assert "sysrq triggered crash" in plain(shown[2])
    assert plain(shown[3]) == "target-lost True True\n"
    assert "stopped (target-lost)" in plain(shown[4])
    assert plain(shown[5]).startswith(CARD)


@pytest.fixture(autouse=True)
def _no_event_loop_is_left() -> Iterator[None]:
    """Jupyter's packages make event loops for their synchronous calls, and leave them open."""
    yield
    ensure_event_loop().close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def interactive(fetched_kernel: str) -> Iterator[BlockingKernelClient]:
    """A notebook kernel with somebody in front of it."""
    manager, client = start_new_kernel(kernel_name="python3")
    client.manager = manager
    run(client, f"%load_ext kpmagic\n%kp target sandbox --kernel {fetched_kernel}")
    yield client
    client.stop_channels()
    manager.shutdown_kernel()
    manager.cleanup_resources()


def run(client: BlockingKernelClient, code: str, meanwhile: Any = None) -> list[dict[str, Any]]:
    """Execute a cell as a front end does; return what it published, as ``meanwhile`` sees it."""
    messages: list[dict[str, Any]] = []
    if meanwhile is not None:
        threading.Thread(target=meanwhile, args=(messages,), daemon=True).start()
    reply = client.execute_interactive(code, allow_stdin=True, timeout=60,
                                       output_hook=messages.append)  # fmt: skip
    assert reply["content"]["status"] == "ok", reply["content"]
    return messages


def of_type(messages: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [each["content"] for each in messages if each["header"]["msg_type"] in kinds]


def cards(messages: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """Return cards alone: above a running one there is a Stop button, a display of its own."""
    shown = of_type(messages, *kinds)
    return [each for each in shown if each["data"].get("text/plain", "").startswith("■")]


def test_a_probe_runs_in_the_background_and_its_card_lives(
    interactive: BlockingKernelClient,
) -> None:
    began = time.monotonic()
    (card,) = cards(run(interactive, "%%kprobe vfs_read -D N=1\nemit(count);"), "display_data")
    assert time.monotonic() - began < 10
    assert "running" in card["data"]["text/plain"]
    display = card["transient"]["display_id"]
    loop = "for i in 1 2 3 4 5 6; do cat /etc/hostname; sleep 0.2; done"
    messages = run(interactive, f"%kp run {loop}\nimport time; time.sleep(1)")
    updates = cards(messages, "update_display_data")
    assert updates
    assert {each["transient"]["display_id"] for each in updates} == {display}
    assert len(updates) < 4 * 10
    assert of_type(messages, "stream")[0]["text"].strip()
    messages = run(interactive, "%kp stop all\nimport time; time.sleep(0.6)")
    assert "stopped (user)" in cards(messages, "update_display_data")[-1]["data"]["text/plain"]


def test_an_interrupt_keeps_the_data_and_ends_the_workload(
    interactive: BlockingKernelClient,
) -> None:
    pressed = []

    def interrupt(messages: list[dict[str, Any]]) -> None:
        while not cards(messages, "display_data"):
            time.sleep(0.05)
        time.sleep(1)
        pressed.append(time.monotonic())
        interactive.manager.interrupt_kernel()

    messages = run(interactive, "%%kprobe vfs_read --while 'while :; do cat /etc/hostname; done' "
                                "--follow\nemit(count);", interrupt)  # fmt: skip
    assert time.monotonic() - pressed[0] < 5
    last = cards(messages, "display_data", "update_display_data")[-1]["data"]["text/plain"]
    assert "stopped (interrupt)" in last
    assert not of_type(messages, "error")
    messages = run(interactive, "r = _\nprint(len(r.df()) > 0, r.stats.balanced)\n"
                                "%kp run ps -e | grep -c cat || true")  # fmt: skip
    words = "".join(each["text"] for each in of_type(messages, "stream")).split()
    assert words[:3] == ["True", "True", "0"]


def test_running_a_cell_again_replaces_its_probe(interactive: BlockingKernelClient) -> None:
    run(interactive, "%%kprobe vfs_read -o first\nemit(count);")
    run(interactive, "%%kprobe vfs_read -o second\nemit(count);")
    (heard,) = of_type(run(interactive, "print(first.stopped_by, second.state)"), "stream")
    assert heard["text"] == "replaced running\n"
