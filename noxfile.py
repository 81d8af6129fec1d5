# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each check is one session: ``nox -l`` lists them, ``nox -s unit -- -k gate`` runs one.

They run in the environment that tools/bootstrap.py made; no session makes another. A session that counts tests leaves
JUnit files in ``.lab/reports/<session>/`` for tools/check.py.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import antsibull_nox
import nox
import yaml

ROOT = Path(__file__).resolve().parent
REPORTS = ROOT / ".lab" / "reports"
COLLECTIONS = ROOT / ".venv" / "collections"
PLATFORMS = ("containers", "uml", "qemu", "public")
# The daemon of card readers: forky's unit shuts it into a user namespace of its own, which a container cannot have.
MACHINES_ONLY = {"smartcard_ssh"}
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml") if path.parent.name != "default")

os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(COLLECTIONS)

antsibull_nox.load_antsibull_nox_toml()
nox.options.default_venv_backend = "none"
nox.options.sessions = [
    "ruff",
    "format",
    "mypy",
    "vermin",
    "yamllint",
    "ansible-lint",
    "changelog",
    "docs",
    "extra-checks",
]


@nox.session
def ruff(session: nox.Session) -> None:
    """Lint the Python code."""
    session.run("ruff", "check", ".")


@nox.session(name="format")
def format_check(session: nox.Session) -> None:
    """Check the Python code's format."""
    session.run("ruff", "format", "--check", ".")


@nox.session
def mypy(session: nox.Session) -> None:
    """Check the types of all code that is not a test, and of the torture."""
    session.run("mypy", "-p", "ansible_collections.rootoftrust.linux.plugins", "-p", "lab", "-p", "tools", "-p", "tests.torture")


@nox.session
def vermin(session: nox.Session) -> None:
    """Check that what runs on managed hosts runs on Python 3.8."""
    session.run("vermin", "--target=3.8-", "--violations", "--no-tips", "--quiet", "plugins")


@nox.session
def yamllint(session: nox.Session) -> None:
    """Lint the YAML files."""
    session.run("yamllint", "--strict", ".")


@nox.session(name="ansible-lint")
def ansible_lint(session: nox.Session) -> None:
    """Lint roles and playbooks at ansible-lint's profile production."""
    session.run("ansible-lint", "--offline", "--profile", "production")


@nox.session
def changelog(session: nox.Session) -> None:
    """Lint the changelog and its fragments."""
    session.run("antsibull-changelog", "lint")


@nox.session
def docs(session: nox.Session) -> None:
    """Lint the documentation of modules, roles and docs/."""
    with session.chdir(COLLECTIONS / "ansible_collections/rootoftrust/linux"):
        session.run("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=all", ".")


@nox.session
def unit(session: nox.Session) -> None:
    """Run the unit tests."""
    session.run("pytest", "tests/unit", "-n2", _junit(session), *session.posargs, env=_with_programs(session))


@nox.session
def sanity(session: nox.Session) -> None:
    """Run ansible-test sanity on a copy of the collection, at the real path that it asks for."""
    session.run("python", "tools/sanity.py", str(REPORTS / session.name), *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Run the tests on containers and on User Mode Linux and QEMU machines, two files at a time."""
    how = ("-n2", "--dist=loadfile", "--durations=25", _junit(session))
    session.run("pytest", "tests/integration", *how, *session.posargs, env=_with_programs(session))


@nox.session
@nox.parametrize("platform", [nox.param(name, id=name) for name in PLATFORMS])
def molecule(session: nox.Session, platform: str) -> None:
    """Run the roles' scenarios on one platform: [--scenario NAME]... [RELEASE]..., by default all of both."""
    parser = argparse.ArgumentParser(prog="molecule")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS)
    parser.add_argument("releases", nargs="*")
    wanted = parser.parse_args(session.posargs)
    possible = [name for name in SCENARIOS if platform in ("uml", "qemu") or name not in MACHINES_ONLY]
    run_molecule(session, platform, wanted.scenario or possible, wanted.releases)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, and write docs/benchmarks.md."""
    session.run("python", "-m", "tests.bench", *session.posargs, env={**_with_programs(session), "PYTHONPATH": str(COLLECTIONS)})


@nox.session
def torture(session: nox.Session) -> None:
    """Cut the power of machines at work with LUKS volumes, and see that the next run finishes it."""
    session.run("python", "-m", "tests.torture", *session.posargs, env=_with_programs(session))


def run_molecule(session: nox.Session, platform: str, scenarios: list[str], releases: list[str]) -> None:
    """Run ``molecule test`` on the hosts of molecule/platforms/PLATFORM.yml, all or some releases.

    The hosts are made once, by the scenario ``default``, and the others share them.
    """
    state = ROOT / ".lab" / "molecule"
    state.mkdir(parents=True, exist_ok=True)
    hosts = yaml.safe_load((ROOT / "molecule" / "platforms" / f"{platform}.yml").read_text())
    chosen = [host for host in hosts["platforms"] if not releases or host["name"].endswith(tuple(f"-{name}" for name in releases))]
    if not chosen:
        session.error(f"{platform}: no host of release {' or '.join(releases)} in molecule/platforms/{platform}.yml")
    configuration = state / f"{platform}.yml"
    configuration.write_text(yaml.safe_dump({**hosts, "platforms": chosen}))
    (state / f"{platform}.json").write_text("{}")  # the machines' inventory: molecule wants it before they are there
    environment = {"MOLECULE_OWNER": str(os.getpid()), "MOLECULE_REPORTS": session.name}
    selection = [word for name in ["default", *scenarios] for word in ("-s", name)]
    session.run("molecule", "-c", "molecule/config.yml", "-c", str(configuration), "test", *selection, env=environment)


def _with_programs(session: nox.Session) -> dict[str, str]:
    """The PATH with the programs that tests measure against or serve with, which the host may lack."""
    folders = session.run("python", "-m", "lab", "program", "rngtest", "sshd", "strace", silent=True)
    return {"PATH": os.pathsep.join([os.environ["PATH"], *str(folders).split()])}


def _junit(session: nox.Session) -> str:
    return f"--junitxml={REPORTS / session.name / 'junit.xml'}"
