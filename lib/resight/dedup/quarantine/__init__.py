"""Apply a decision: move listed copies into a quarantine folder, and move them back.

A file is moved only where everything that was known when it was found to be a copy still holds: its bytes are
those that were ingested, a group has it as a member that goes, and the photo that stays is there with its
own bytes. No file is ever overwritten or deleted; what was moved is written down before it is moved.

Modules: `listed` (the list of what could go), `plan` (which of it may go), `move` (moving, the undo list, and
moving back), `command` (``resight quarantine``). Reads ``images``, ``sources``, ``duplicate_groups``; writes
no table.
"""
