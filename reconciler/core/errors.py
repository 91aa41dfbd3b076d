"""Errors of the reconciler's own making, each with advice for the person who reads it."""


class ReconcilerError(Exception):
    """Something that stops a cycle or a command.

    The message says what happened to which object, `advice` what to do; neither holds a secret.
    """

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class SettingsError(ReconcilerError):
    """The configuration cannot be used; names the file and the key."""


class PolicyError(ReconcilerError):
    """The policy engine gave no answer that can be trusted. Neither clean nor a reason to revoke."""


class PolicyFileError(PolicyError):
    """A file of the policy folder says something that no policy set may; names the file and the line."""

    def __init__(self, path: str, line: int, problem: str, *, advice: str) -> None:
        super().__init__(f"{path}:{line}: {problem}", advice=advice)
        self.path = path
        self.line = line
        self.problem = problem


class Undecided(PolicyError):
    """The engine works, yet gave no usable answer to this one request; a smaller request may tell who is at fault."""


class JournalError(ReconcilerError):
    """The journal cannot be read or written; nothing may be done without it."""


class LeaseLost(ReconcilerError):
    """Another process is the one writer now."""


class Superseded(ReconcilerError):
    """A cycle gave way, before it did anything, to something that cannot wait."""


class LimitExceeded(ReconcilerError):
    """A plan was about to be approved that breaks the limits. A defect of the caller: hold the plan instead."""


class EvidenceError(ReconcilerError):
    """Evidence could not be stored or does not say what its digest promises."""


class WrongUsage(EvidenceError):
    """What was typed says nothing that can be done: options that exclude or need one another, or no usable value."""


class SigningError(ReconcilerError):
    """A statement could not be signed, or the signature does not verify."""


class UnverifiedSignature(SigningError):
    """A signature was made, and does not verify: whatever a log now says of it, it counts for nothing."""


class NotifyError(ReconcilerError):
    """A message was not taken by its receiver; it is tried again, and nothing else is affected."""


class ApprovalRefused(ReconcilerError):
    """A held plan cannot be released: unknown, expired, used, or held for a reason that approval does not lift."""


class UndoRefused(ReconcilerError):
    """An act cannot be undone: it took nothing away, was undone already, or cannot be given back."""


class AuditError(ReconcilerError):
    """A stream of the audit trail cannot be written; its records wait in the journal and nothing else is affected."""
