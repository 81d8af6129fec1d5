# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the lab: ``python -m lab VERB …``. What is made or done is said on standard output, progress on standard error."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from lab import choice, images_cli, machine, progress, releases, ssh, state
from lab.errors import LabError
from lab.spec import ENGINES, TPM_VERSIONS, MachineSpec

Verb = Callable[[argparse.Namespace], int]


def _title(spec: MachineSpec) -> str:
    return f"{releases.get(spec.release).title} on {spec.engine}"


def _owner_text(one: machine.Machine) -> str:
    if one.owner is None:
        return f"stays until `python -m lab down {one.name}`"
    return f"goes with process {one.owner.pid}"


# ---------------------------------------------------------------------------------------------------------- machines


def _spec(arguments: argparse.Namespace) -> MachineSpec:
    """The machine as the options say it; without any, an existing machine is taken as it is."""
    given = {name: getattr(arguments, name) for name in vars(arguments) if name in MachineSpec.__dataclass_fields__}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None}
    existing = state.load(arguments.name)
    if existing is not None and set(given) == {"name"}:
        return existing.spec
    return MachineSpec(**given)


def _owner(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a pid nor none") from None


def up(arguments: argparse.Namespace) -> int:
    known = state.load(arguments.name)
    was_running = known is not None and machine.Machine(known).running
    started = time.monotonic()
    one = machine.up(_spec(arguments), owner=arguments.owner)
    if was_running:
        print(f"{one.name}: runs already: {_title(one.spec)}, {_owner_text(one)}")
        return 0
    made = "started again" if known else "up"
    whole = time.monotonic() - started
    print(f"{one.name}: {made} in {one.seconds or whole:.1f} s: {_title(one.spec)}, {_owner_text(one)}")
    return 0


def enter(arguments: argparse.Namespace) -> int:
    words = list(arguments.command)
    if words[:1] == ["--"]:
        words = words[1:]
    one = machine.get(arguments.name)
    if not one.running:
        raise LabError(f"machine {one.name}: has no power: `python -m lab start {one.name}` first")
    # One word is a text for the guest's shell, as with ssh itself; several are an argument list.
    command = [*one.ssh_command(), *([ssh.remote(words[0] if len(words) == 1 else words)] if words else [])]
    sys.stdout.flush()
    os.execvp(command[0], command)


def kill(arguments: argparse.Namespace) -> int:
    machine.get(arguments.name).kill()
    print(f"{arguments.name}: power cut")
    return 0


def start(arguments: argparse.Namespace) -> int:
    one = machine.get(arguments.name)
    if one.running:
        print(f"{one.name}: runs already")
        return 0
    one.start()
    print(f"{one.name}: started in {one.seconds or 0:.1f} s")
    return 0


def shutdown(arguments: argparse.Namespace) -> int:
    machine.get(arguments.name).shutdown()
    print(f"{arguments.name}: has powered itself off")
    return 0


def reboot(arguments: argparse.Namespace) -> int:
    one = machine.get(arguments.name).reboot_wait()
    print(f"{one.name}: rebooted in {one.seconds or 0:.1f} s")
    return 0


def snapshot(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    machine.get(arguments.name).snapshot(arguments.tag)
    print(f"{arguments.name}: snapshot {arguments.tag} taken in {time.monotonic() - started:.1f} s")
    return 0


def restore(arguments: argparse.Namespace) -> int:
    one = machine.get(arguments.name).restore(arguments.tag)
    print(f"{one.name}: back at {arguments.tag} in {one.seconds or 0:.1f} s")
    return 0


def down(arguments: argparse.Namespace) -> int:
    if bool(arguments.names) == arguments.all:
        raise LabError("down: needs either names or --all")
    for name in state.names() if arguments.all else arguments.names:
        if state.load(name) is None:
            print(f"{name}: there is no such machine")
        else:
            machine.get(name).down()
            print(f"{name}: gone")
    return 0


def status(arguments: argparse.Namespace) -> int:
    rows = [_status_of(one) for one in machine.list_all()]
    if arguments.json:
        print(json.dumps(rows, indent=2))
    elif not rows:
        print("no machines")
    else:
        columns = ("name", "state", "engine", "release", "memory", "disks", "tpm", "owner", "ssh")
        _print_table(columns, [[_cell(row[column]) for column in columns] for row in rows])
    return 0


def _status_of(one: machine.Machine) -> dict[str, object]:
    spec = asdict(one.spec)
    return {
        **spec,
        "state": "running" if one.running else "stopped",
        "owner": one.owner.pid if one.owner else None,
        "uuid": one.uuid,
        "seconds": one.seconds,
        "namespace": one.namespace,
        "directory": str(one.state_dir),
        "ssh": f"python -m lab ssh {one.name}",
    }


def _cell(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def console(arguments: argparse.Namespace) -> int:
    print(machine.get(arguments.name).console(), end="")
    return 0


def type_text(arguments: argparse.Namespace) -> int:
    machine.get(arguments.name).type_on_console(f"{arguments.text}\n")
    return 0


def inventory(arguments: argparse.Namespace) -> int:
    hosts = {name: machine.get(name).inventory_vars() for name in arguments.names}
    print(ssh.inventory_ini(hosts) if arguments.format == "ini" else ssh.inventory_json(hosts), end="")
    return 0


def engines(arguments: argparse.Namespace) -> int:
    rows = [
        [finding.engine, "yes" if finding.runs else "no", finding.seen, _cell(sorted(finding.capabilities))] for finding in choice.survey()
    ]
    _print_table(("engine", "runs", "seen", "has"), rows)
    return 0


# ------------------------------------------------------------------------------------------------------ command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="Disposable machines for the tests, and for you.")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, function: Verb, text: str, one_machine: bool = True) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        made.set_defaults(verb=function)
        if one_machine:
            made.add_argument("name", metavar="NAME", help="the machine")
        return made

    _up_options(verb("up", up, "make a machine, or start one that exists; wait until it can be logged in to"))
    ssh_verb = verb("ssh", enter, "log in as root, or run a command")
    ssh_verb.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="command for the machine")
    verb("kill", kill, "cut the power")
    verb("start", start, "boot the same disks again")
    verb("shutdown", shutdown, "let it power itself off")
    verb("reboot", reboot, "let it reboot, and wait for it")
    for name, function, text in (
        ("snapshot", snapshot, "keep memory, disks and TPM of a running machine (QEMU)"),
        ("restore", restore, "go back to a snapshot"),
    ):
        verb(name, function, text).add_argument("tag", metavar="TAG", help="name of the snapshot")
    down_verb = verb("down", down, "remove machines with all their files", one_machine=False)
    down_verb.add_argument("names", nargs="*", metavar="NAME", help="the machines")
    down_verb.add_argument("--all", action="store_true", help="every machine")
    status_verb = verb("status", status, "list the machines", one_machine=False)
    status_verb.add_argument("--json", action="store_true", help="as a JSON list")
    verb("console", console, "print what the current boot wrote on the console")
    verb("type", type_text, "type a line on the serial console (QEMU)").add_argument("text", metavar="TEXT", help="the line")
    inventory_verb = verb("inventory", inventory, "print an Ansible inventory", one_machine=False)
    inventory_verb.add_argument("names", nargs="+", metavar="NAME", help="the machines")
    inventory_verb.add_argument("--format", choices=("ini", "json"), default="ini", help="default: ini")
    verb("engines", engines, "say which engines run on this host, and what they have", one_machine=False)
    images_cli.add_parsers(verbs)
    return parser


def _up_options(parser: argparse.ArgumentParser) -> None:
    """The options of a new machine; their names are the fields of MachineSpec, absent unless given."""
    add = parser.add_argument
    add("--release", metavar="RELEASE", help="Debian release, such as 13 or trixie (default: 13)")
    add("--engine", choices=ENGINES, help="default: auto, the quickest that has what is asked for and runs here")
    add("--memory", metavar="SIZE", help="default: 512M")
    add("--disk", dest="disks", action="append", metavar="SIZE", help="an empty spare disk; may be given again")
    add("--tpm", choices=TPM_VERSIONS, help="an emulated TPM")
    add("--no-rng", dest="rng", action="store_const", const=False, help="no hardware random number generator")
    add("--kernel-arg", dest="kernel_args", action="append", metavar="ARG", help="for the kernel command line")
    add("--cpus", type=int, choices=(1, 2), help="default: what suits the engine")
    add("--need", dest="needs", action="append", metavar="CAPABILITY", help="what the engine must have (`lab engines`)")
    add("--disk-from", metavar="NAME", help="make a clone: copy that machine's disks, with an identity of its own")
    add("--resume", metavar="TAG", help="with --disk-from: go on from that machine's snapshot instead of booting")
    add(
        "--owner",
        type=_owner,
        default=os.getppid(),
        metavar="PID|none",
        help="process that the machine goes with (default: the one that called this); none: it stays until `lab down`",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status."""
    arguments = _parser().parse_args(argv)
    function: Verb = arguments.verb
    try:
        for name in machine.sweep():
            progress.say(f"{name}: its owner has ended: removed")
        return function(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        if os.geteuid() == 0:
            raise
        print(f"lab: {error.filename}: {error.strerror}: namespaces, images and machines take root: run this as root", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
