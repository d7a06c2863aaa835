# SPDX-License-Identifier: MIT
"""A JupyterLab server that keeps everything in one folder."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}


def folders_of_its_own(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    """Return the environment in which Jupyter keeps everything, and these settings, in a folder."""
    for name, values in settings.items():
        file = folder / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime",
           "JUPYTER_DATA_DIR": "data", "IPYTHONDIR": "ipython",
           "JUPYTERLAB_SETTINGS_DIR": "settings"}  # fmt: skip
    return {name: str(folder / where) for name, where in own.items()}


def server_of(runtime: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for the server that keeps its files in ``runtime``; return what it says of itself."""
    for _ in range(600):
        for file in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(json.JSONDecodeError):  # half written
                return dict(json.loads(file.read_text()))
        assert process.poll() is None, "the server has ended: see its log"
        time.sleep(0.1)
    raise AssertionError("the server did not start within a minute")


def end_kernels(page: Any) -> None:
    """End the notebooks' kernels of the server that this page is of."""
    page.evaluate("""async () => {
        const answer = await fetch('/api/sessions');
        for (const session of await answer.json())
            await fetch('/api/sessions/' + session.id, {method: 'DELETE', headers:
                {'X-XSRFToken': (document.cookie.match(/_xsrf=([^;]*)/) || [])[1]}});
    }""")


class Lab:
    """A JupyterLab server over an empty folder, with more in its environment if wanted.

    Notebook 7, which it serves, too.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder / "notebooks"
        self.folder.mkdir()
        self.runtime = folder / "runtime"
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0",
            "--ServerApp.token=", f"--ServerApp.root_dir={self.folder}",
            "--LabApp.extension_manager=readonly", "--LabApp.expose_app_in_browser=True",
        ]  # fmt: skip
        with (folder / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=os.environ | folders_of_its_own(folder, SETTINGS) | environment,
            )  # fmt: skip
        self.url = str(server_of(self.runtime, self.server)["url"])

    def close(self) -> None:
        self.server.terminate()
        self.server.wait(30)
