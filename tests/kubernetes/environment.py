"""The Python that the tests of the manifests need: a package of PyPI with Kubernetes' schemas, and YAML."""

import os
import pathlib
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "packaging/kubernetes"
GUIDE = ROOT / "docs/self-hosting.md"
PROGRAMS = ROOT / "target/release"
PACKAGE = "kubernetes-validate==1.37.0"


def enter():
    """Starts the program again with the Python that has the package."""
    place = pathlib.Path(os.environ.get("VARVE_CACHE", "/var/cache/varve")) / f"python-{PACKAGE.replace('==', '-')}"
    python = place / "bin/python"
    if sys.prefix == str(place):
        return
    if not (place / "complete").exists():
        print(f"installing {PACKAGE}", file=sys.stderr)
        venv.create(place, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE], check=True)
        (place / "complete").touch()
    os.execv(python, [python, *sys.argv])
