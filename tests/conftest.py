# SPDX-License-Identifier: MIT
"""The sandbox that tests share, booted anew when it has died, and what tests have measured."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests import Guests
from hypothesis import settings
from IPython.core.interactiveshell import InteractiveShell

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.session import session
from kpmagic.targets import kernels

HERE = Path(__file__).parent
# These come first, in one guest: what compiles there takes a minute at first under emulation, and
# a quarter of it once QEMU has translated LLVM.
WITH_LLVM = ("test_bcc", "test_bcc_lessons", "test_bpftrace", "test_export", "test_oracles")

# how long an example takes says more of the machine's load than of what is tested
settings.register_profile("kpmagic", deadline=None)
settings.load_profile("kpmagic")


# a shell has its background jobs ignore it, and tests interrupt themselves
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kernel",
        action="append",
        metavar="VERSION",
        help=f"run kernel tests on this kernel (default {kernels.DEFAULT}); may be repeated",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernel_version" in metafunc.fixturenames:
        versions = metafunc.config.getoption("--kernel") or [kernels.DEFAULT]
        metafunc.parametrize("kernel_version", versions, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "kernel_version" in getattr(item, "fixturenames", ()):
            item.add_marker("kernel")
    items.sort(key=lambda item: item.path.stem not in WITH_LLVM)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured: a line for each fault, how soon it was told."""
    measured: dict[tuple[str, str], list[float]] = {}
    for report in terminalreporter.stats.get("passed", ()):
        name = report.nodeid.rpartition("::")[2].partition("[")
        fault = "-".join(part for part in name[2].rstrip("]").split("-") if "_" in part)
        for what, value in report.user_properties:
            measured.setdefault((f"{name[0]} {fault}".strip(), what), []).append(value)
    for (fault, what), values in sorted(measured.items()):
        middle, most = statistics.median(values), max(values)
        terminalreporter.write_line(
            f"{fault}: {what}: {middle:.2f}, at most {most:.2f} ({len(values)} rounds)"
        )


@pytest.fixture(scope="session")
def fetched_kernel(kernel_version: str) -> str:
    """A kernel version that is in the cache; fetched now if it was not."""
    return kernels.fetch(kernel_version).version


@pytest.fixture(scope="session")
def guests() -> Iterator[Guests]:
    """Guests whose working directory is the folder of the kernel tests, with its workloads."""
    before = Path.cwd()
    os.chdir(HERE / "kernel")
    guests = Guests()
    yield guests
    guests.end()
    os.chdir(before)


@pytest.fixture
def sandbox(guests: Guests, fetched_kernel: str) -> Connection:
    """A live connection to the sandbox."""
    return guests.running(fetched_kernel)


@pytest.fixture
def cell(sandbox: Connection) -> Iterator[InteractiveShell]:
    """An IPython whose cells run on the sandbox; what they leave is removed."""
    shell = InteractiveShell.instance()
    shell.extension_manager.load_extension("kpmagic")
    kpmagic.use(sandbox)
    yield shell
    for run in session.runs():
        run.stop()
