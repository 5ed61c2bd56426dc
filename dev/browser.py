"""A Chromium for the browser tests: found, or installed where that is possible, or loudly missing.

    python -m dev.browser       what `make test` runs first; prints the path, or says that browser tests are skipped

Tests ask `find()` and skip when it answers None.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_APPLICATIONS = ("Google Chrome.app/Contents/MacOS/Google Chrome", "Chromium.app/Contents/MacOS/Chromium")


def find() -> str | None:
    installed = [os.environ.get("CHROMIUM"), *map(shutil.which, NAMES)]
    installed += [f"/Applications/{application}" for application in MAC_APPLICATIONS]
    return next((path for path in installed if path and Path(path).is_file()), None) or playwrights_own()


def playwrights_own() -> str | None:
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only the development set has it
    except ImportError:
        return None
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


def install() -> None:
    """Playwright's own download first; where its host cannot be reached, the distribution's package."""
    if attempt([sys.executable, "-m", "playwright", "install", "chromium"], seconds=300) and find():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quietly = {"DEBIAN_FRONTEND": "noninteractive"}
        attempt(["apt-get", "update"], seconds=300, env=quietly)
        attempt(
            ["apt-get", "install", "-y", "--no-install-recommends", "chromium", "fonts-liberation"],
            seconds=900,
            env=quietly,
        )


def attempt(command: list[str], *, seconds: float, env: dict[str, str] | None = None) -> bool:
    try:
        done = subprocess.run(
            command,
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def main() -> int:
    path = find()
    if path is None:
        print("No Chromium here yet: installing one for the browser tests ...", flush=True)
        install()
        path = find()
    if path:
        print(f"Browser tests use {path}")
    else:
        bar = "!" * 100
        print(
            f"{bar}\nNO BROWSER: THE BROWSER TESTS ARE SKIPPED. Install Chromium or Chrome, or set CHROMIUM to its "
            f"path, and run `make test` again.\n{bar}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
