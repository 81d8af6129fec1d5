# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disposable machines: made from a distribution's own packages, booted, given disks, a TPM, a hardware RNG, and killed."""
