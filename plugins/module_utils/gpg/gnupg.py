# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""gpg(1): a keyring in a home, and messages encrypted to keys that are given."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from typing import Any, Iterator, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, ToolFailed, ToolMissing
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Finished, Runner, memory_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.account import Account
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.parse import created, explain, importable, imported, parse_status

# gpg ends with 2 where it is given no key at all, or is asked for one that it does not have, and says so by showing none. A list of all
# keys that ends so is not whole.
SHOWN, NONE = 0, 2
MESSAGE, SECRET_KEY = b"-----BEGIN PGP MESSAGE-----", b"-----BEGIN PGP PRIVATE KEY BLOCK-----"
# Seconds. An RSA key of 4096 bits takes a minute where all is emulated; a pool that is not ready blocks longer than that.
MAKING = 900.0
WORKING = 120.0
PROBE = 30  # bytes that are signed and encrypted to prove a key
# What is asked before a revocation certificate is given, and the answers: yes; no reason; no text; yes.
_REVOCATION = b"y\n0\n\ny\n"


class Gnupg:
    """gpg with no keyring, no trust and no network, for keys that are given as text.

    :param runner: starts it.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def show(self, armoured: str) -> str:
        """The keys in a text, as ``--with-colons`` has them; empty where there is none."""
        with self._home() as home:
            (file,) = _write(home, [armoured])
            return self._runner.run(["gpg", *_options(home), "--with-colons", "--show-keys", file], ok=(SHOWN, NONE)).text

    def encrypt(self, secret: Secret, armoured: Sequence[str], comment: str = "") -> bytes:
        """The secret, encrypted to each of the keys, in ASCII armour.

        :param comment: a line for the armour's head, which anyone can read.
        :raises ToolFailed: if that does not succeed.
        """
        with self._home() as home:
            to = [f"--recipient-file={file}" for file in _write(home, armoured)]
            head = [f"--comment={comment}"] if comment else []
            argv = ["gpg", *_options(home), "--trust-model=always", "--armor", *head, *to, "--encrypt"]
            sealed = self._runner.run(argv, stdin=secret).stdout
        if not sealed.startswith(MESSAGE) or secret.reveal() in sealed:
            raise ToolFailed("gpg has not given an encrypted message.")
        return sealed

    def brings(self, known: bytes, given: bytes) -> dict[str, int]:
        """Fingerprint → what an import would bring to keys that are known, in bits; 0 for one that would stay as it is.

        It is tried in a keyring of its own: a dry run of gpg does not tell.
        """
        with self._home() as home:
            argv = ["gpg", *_options(home), "--status-fd=2", "--import"]
            self._runner.run(argv, stdin=known)
            return imported(parse_status(self._runner.run(argv, stdin=given, ok=None).error_text))

    def packets(self, armoured: bytes) -> str:
        """What is in a block in ASCII armour, as ``--list-packets`` tells it; empty where gpg cannot read it."""
        with self._home() as home:
            return self._runner.run(["gpg", *_options(home), "--list-packets"], stdin=armoured, ok=(SHOWN, NONE)).text

    @contextmanager
    def _home(self) -> Iterator[str]:
        """A home of its own for gpg, in memory; it and any agent that was started for it are gone on every way out."""
        home = tempfile.mkdtemp(prefix=".rootoftrust-gnupg-", dir=memory_folder())
        try:
            yield home
        finally:
            if os.path.lexists(os.path.join(home, "S.gpg-agent")):
                self._runner.run(["gpgconf", "--homedir", home, "--kill", "all"], ok=None)
            shutil.rmtree(home)


class Keyring:
    """The keyring in a home of gpg's, reached by a short path, for the agent's sockets are beside it.

    The user's own options do not count. An agent that runs for the home is used; one that was started for this is ended again.

    :param runner: starts it.
    :param home: the home; it exists.
    :param account: the user as whom it is run.
    """

    def __init__(self, runner: Runner, home: str, account: Account) -> None:
        self._runner = runner
        self._home = home
        self._account = account
        self._folder: str | None = None
        self._served = False

    # ----------------------------------------------------------------------------------------------------------- looking

    def keys(self) -> str:
        """All keys, as ``--with-colons`` has them.

        :raises RootOfTrustError: if gpg cannot read them all; one that is not seen would be made again.
        """
        argv = [*self._argv(), "--with-colons", "--fixed-list-mode", "--with-keygrip", "--with-secret", "--list-keys"]
        done = self._start(argv, ok=None, timeout=WORKING)
        if done.rc != SHOWN:
            message, dummy = explain([], done.error_text)
            raise RootOfTrustError(
                f"The keyring in {self._home} cannot be read. {message}",
                "See to the owner, the permissions and the content of the files in it.",
                {"rc": done.rc, "stderr": done.error_text},
            )
        return done.text

    def signatures(self, fingerprint: str) -> str:
        """A key with the signatures on it, each checked."""
        argv = [*self._argv(), "--with-colons", "--fixed-list-mode", "--check-sigs", _exactly(fingerprint)]
        return self._start(argv, ok=(SHOWN, NONE), timeout=WORKING).text

    def ownertrust(self) -> str:
        """As ``--export-ownertrust`` has it."""
        return self._start([*self._argv(), "--export-ownertrust"], timeout=WORKING).text

    def public(self, fingerprint: str, whole: bool = False) -> bytes:
        """A public key in ASCII armour, without the signatures of others unless ``whole``."""
        less = [] if whole else ["--export-options=export-minimal"]
        return self._gpg(["--armor", *less, "--export", _exactly(fingerprint)]).stdout

    def prove(self, fingerprint: str, signs: bool, encrypts: bool, passphrase: Secret | None) -> None:
        """Sign and encrypt something by the key, as far as it does that, and have it back.

        :raises RootOfTrustError: if the secret key cannot be used.
        """
        probe, secret = base64.b64encode(os.urandom(PROBE)), passphrase or Secret(b"")
        words = [f"--local-user={fingerprint}", "--sign"] if signs else []
        words += ["--trust-model=always", f"--recipient={fingerprint}", "--encrypt"] if encrypts else []
        sealed = self._gpg(words, probe, secret).stdout
        opened = self._gpg(["--decrypt"], sealed, secret)
        signers = [line.words[-1] for line in parse_status(opened.error_text) if line.keyword == "VALIDSIG"]
        if opened.stdout != probe or (signs and signers != [fingerprint]):
            raise ToolFailed(
                f"What the key {fingerprint} has signed and encrypted does not come back.", facts={"stderr": opened.error_text}
            )

    # ---------------------------------------------------------------------------------------------------------- changing

    def generate(self, parameters: str, passphrase: Secret | None) -> str:
        """Make a key as the parameters say; its fingerprint."""
        done = self._gpg(["--full-generate-key"], parameters.encode("utf-8"), passphrase or Secret(b""), MAKING)
        fingerprint = created(parse_status(done.error_text))
        if not fingerprint:
            raise ToolFailed("gpg has not told of the key that it was to make.", facts={"stderr": done.error_text})
        return fingerprint

    def add_subkey(self, fingerprint: str, algorithm: str, usage: str, expires: str, passphrase: Secret | None) -> None:
        self._gpg(["--quick-add-key", fingerprint, algorithm, usage, expires], None, passphrase or Secret(b""), MAKING)

    def add_user_id(self, fingerprint: str, text: str, passphrase: Secret | None) -> None:
        self._gpg(["--quick-add-uid", fingerprint, text], None, passphrase or Secret(b""))

    def revoke_user_id(self, fingerprint: str, text: str, passphrase: Secret | None) -> None:
        self._gpg(["--quick-revoke-uid", fingerprint, text], None, passphrase or Secret(b""))

    def revoke_subkey(self, fingerprint: str, number: int, passphrase: Secret | None) -> None:
        """:param number: of the subkey among those of the key, from 1, in the order of the listing."""
        answers = f"key {number}\nrevkey\ny\n0\n\ny\nsave\n".encode("ascii")  # yes; no reason; no text; yes
        self._asked(["--edit-key", _exactly(fingerprint)], answers, passphrase or Secret(b""))

    def set_expiry(self, fingerprint: str, expires: str, subkeys: Sequence[str], passphrase: Secret | None) -> None:
        """Of the primary key, or of the subkeys where any are named."""
        self._gpg(["--quick-set-expire", fingerprint, expires, *subkeys], None, passphrase or Secret(b""))

    def secret(self, fingerprint: str, passphrase: Secret | None) -> Secret:
        """A secret key in ASCII armour, under its passphrase where it has one."""
        done = self._gpg(["--armor", "--export-secret-keys", _exactly(fingerprint)], None, passphrase or Secret(b""))
        if not done.stdout.startswith(SECRET_KEY):
            raise ToolFailed(f"gpg has not given the secret key {fingerprint}.", facts={"stderr": done.error_text})
        return Secret(done.stdout)

    def revocation(self, fingerprint: str, passphrase: Secret | None) -> bytes:
        """A certificate that revokes the key once it is imported: as gpg has kept it when the key was made, else anew."""
        try:
            path = os.path.join(self._home, "openpgp-revocs.d", f"{fingerprint}.rev")
            with self._account.acting(), open(path, encoding="utf-8") as stream:
                return importable(stream.read()).encode("utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            pass
        done = self._asked(["--armor", "--gen-revoke", _exactly(fingerprint)], _REVOCATION, passphrase or Secret(b""))
        return importable(done.text).encode("utf-8")

    def bring(self, data: bytes) -> None:
        """Import keys, or a revocation certificate."""
        self._gpg(["--import"], data)

    def delete(self, fingerprint: str, secret: bool) -> None:
        """Delete a key, with its secret half where there is one."""
        self._gpg(["--yes", "--delete-secret-and-public-key" if secret else "--delete-keys", fingerprint])

    def set_ownertrust(self, lines: str) -> None:
        self._gpg(["--import-ownertrust"], lines.encode("ascii"))

    def sign(self, fingerprint: str, signer: str, local: bool, passphrase: Secret | None) -> None:
        """Sign all user IDs of a key."""
        command = "--quick-lsign-key" if local else "--quick-sign-key"
        self._gpg([f"--local-user={_exactly(signer)}", command, fingerprint], None, passphrase or Secret(b""))

    # ------------------------------------------------------------------------------------------------------------ inside

    def _gpg(self, words: Sequence[str], data: bytes | None = None, passphrase: Secret | None = None, timeout: float = WORKING) -> Finished:
        """One command. Its status lines are in its standard error, beside what it says.

        :raises RootOfTrustError: if it fails, in words for an administrator.
        """
        with ExitStack() as stack:
            argv, descriptors = self._argv(), []
            if passphrase is not None:
                descriptors.append(stack.enter_context(self._runner.secret_fd(Secret(passphrase.reveal() + b"\n"))))
                argv += ["--pinentry-mode=loopback", f"--passphrase-fd={descriptors[0]}"]
            done = self._start([*argv, "--status-fd=2", *words], stdin=data, ok=None, pass_fds=descriptors, timeout=timeout)
        return _unless_failed(done)

    def _asked(self, words: Sequence[str], answers: bytes, passphrase: Secret) -> Finished:
        """One command that gpg does only for one who answers its questions."""
        with self._runner.secret_fd(Secret(passphrase.reveal() + b"\n")) as descriptor:
            argv = [word for word in self._argv() if word != "--batch"]
            argv += ["--pinentry-mode=loopback", f"--passphrase-fd={descriptor}", "--command-fd=0", "--status-fd=2", *words]
            done = self._start(argv, stdin=answers, ok=None, pass_fds=[descriptor], timeout=WORKING)
        return _unless_failed(done)

    def _argv(self) -> list[str]:
        quiet = ["--no-options", "--batch", "--no-tty", "--quiet", "--disable-dirmngr", "--no-auto-check-trustdb"]
        return ["gpg", f"--homedir={self._reach()}", *quiet, "--charset=utf-8"]

    def _reach(self) -> str:
        """The short path to the home, from now to :meth:`close`."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix=".rootoftrust-", dir=memory_folder())
            os.symlink(self._home, os.path.join(self._folder, "h"))
            os.chown(self._folder, self._account.number, -1)
            asked = ["gpg-connect-agent", "--homedir", os.path.join(self._folder, "h"), "--no-autostart", "/bye"]
            self._served = not self._start(asked, ok=None).stderr.strip()  # the exit status is 0 in either case
        return os.path.join(self._folder, "h")

    def _start(self, argv: Sequence[str], **options: Any) -> Finished:
        """A program of GnuPG, as the user."""
        if self._runner.find(argv[0]) is None:
            raise ToolMissing(f"The program {argv[0]} is not installed on this host.", "Install GnuPG with its agent.")
        return self._runner.run([*self._account.words, *argv], environment=self._account.environment, **options)

    def close(self) -> None:
        """End the agent that was started for this, and forget the short path."""
        folder, self._folder = self._folder, None
        if folder is None:
            return
        home = os.path.join(folder, "h")
        try:
            if not self._served:
                self._start(["gpgconf", "--homedir", home, "--kill", "all"], ok=None)
                self._start(["gpgconf", "--homedir", home, "--remove-socketdir"], ok=None)
        finally:
            shutil.rmtree(folder)


def _unless_failed(done: Finished) -> Finished:
    if done.rc == 0:
        return done
    told = "\n".join(line for line in done.error_text.splitlines() if not line.startswith("[GNUPG:]"))
    message, remedy = explain(parse_status(done.error_text), told)
    raise RootOfTrustError(message, remedy, {"rc": done.rc, "stderr": told})


def _exactly(fingerprint: str) -> str:
    """As a selector that means this key alone; an empty one would mean all."""
    if len(fingerprint) not in (40, 64):
        raise ValueError("a key is selected by nothing but its whole fingerprint")
    return fingerprint


def _options(home: str) -> list[str]:
    return [f"--homedir={home}", "--no-options", "--batch", "--no-tty", "--quiet", "--no-autostart", "--disable-dirmngr"]


def _write(home: str, armoured: Sequence[str]) -> list[str]:
    files = [os.path.join(home, f"{number}.asc") for number in range(len(armoured))]
    for file, text in zip(files, armoured):
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(text)
    return files
