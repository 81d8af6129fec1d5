# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error of the lab."""

from __future__ import annotations


class LabError(Exception):
    """What went wrong, as one sentence for the person at the keyboard: ``object: fact: what to do``.

    The command line prints it without a traceback and ends with status 1.
    """
