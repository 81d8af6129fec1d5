#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does all the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: evidence
short_description: Collect what the roles of a run have proven, of all hosts, into one file on the controller
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Takes the facts C(<role>_evidence) that the roles of this collection leave, and the failure of each host that had one, and writes them
    as one JSON document, and a summary of a few lines onto the screen.
  - The document has no secrets in it. Its schema is in the collection's C(docs/evidence.md).
  - It runs on the controller only. Writing the file is the record of the run and no change to any host, so it is never reported as one.
    In check mode it is written too, and says that it is of a check run.
  - Run it once per play, with C(run_once).
options:
  playbook:
    description: The name of the job, part of the file's name.
    type: str
    required: true
  folder:
    description: The folder for the file, made where it is missing. Relative to the folder that the run was started in.
    type: path
    default: evidence
extends_documentation_fragment:
  - rootoftrust.linux.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
  platform:
    platforms: linux
    support: full
"""

EXAMPLES = r"""
- name: Collect the evidence of all hosts
  rootoftrust.linux.evidence:
    playbook: nightly
    folder: /tmp/evidence
  run_once: true
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
  sample: evidence/site-20261121T235959Z.json
document:
  description: Its content.
  type: dict
  returned: success
summary:
  description: The lines shown on the screen.
  type: list
  elements: str
  returned: success
"""
