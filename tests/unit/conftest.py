# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all unit tests: how long one example takes is the host's affair."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("any host", deadline=None)
settings.load_profile("any host")
