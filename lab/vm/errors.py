# SPDX-License-Identifier: Apache-2.0
"""The one error of this folder."""


class VmError(Exception):
    """What could not be done with which object, why, and what to do now."""

    def __init__(self, operation, thing, reason, next_step=""):
        super().__init__(f"cannot {operation} {thing}: {reason}" + (f"\n  {next_step}" if next_step else ""))
