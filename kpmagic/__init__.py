# SPDX-License-Identifier: MIT
"""Linux kernel probes in Jupyter: a cell becomes a table, on a real kernel.

In a notebook ``%load_ext kpmagic``, then ``%%kprobe`` and its kin; ``%kp`` lists the rest.
Without magics: ``connect``, ``probe``, ``retprobe``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    AttachError,
    BuildError,
    CellError,
    KpmagicError,
    MissingDependency,
    NotPermitted,
    RecordingError,
    SymbolError,
    TargetError,
    TargetLost,
    VerifierError,
)

if TYPE_CHECKING:
    from .api import bcc, bpftrace, module, probe, retprobe
    from .comparison import compare
    from .connecting import connect
    from .kp.probed_code import trampoline
    from .loading import load
    from .magics import load_ipython_extension, unload_ipython_extension
    from .overhead.measure import mechanisms
    from .run import Run
    from .session import use

__version__ = "0.1.0"

# name → the module that has it: imported when first used, so that `import kpmagic` costs nothing
_LATER = {
    "load": "loading",
    "connect": "connecting",
    "use": "session",
    "compare": "comparison",
    "bcc": "api",
    "bpftrace": "api",
    "module": "api",
    "probe": "api",
    "retprobe": "api",
    "trampoline": "kp.probed_code",
    "mechanisms": "overhead.measure",
    "Run": "run",
    "load_ipython_extension": "magics",
    "unload_ipython_extension": "magics",
}

__all__ = [
    "AttachError",
    "BuildError",
    "CellError",
    "KpmagicError",
    "MissingDependency",
    "NotPermitted",
    "RecordingError",
    "Run",
    "SymbolError",
    "TargetError",
    "TargetLost",
    "VerifierError",
    "__version__",
    "bcc",
    "bpftrace",
    "compare",
    "connect",
    "load",
    "load_ipython_extension",
    "mechanisms",
    "module",
    "probe",
    "retprobe",
    "trampoline",
    "unload_ipython_extension",
    "use",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'kpmagic' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
