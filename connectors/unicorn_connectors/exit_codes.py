"""What the agent's exit codes mean, as reasons (docs/executor-protocol.md)."""

_REASONS = {
    0: "",
    3: "AgentRefused",  # its token is no good, or nobody knows it
    4: "Superseded",
    5: "SpoolLocked",  # another agent lives on the same spool
    126: "PythonMissing",
    127: "PythonMissing",
}
_FIRST_SIGNAL = 129


def exit_reason(code: int | None) -> str:
    """Empty for a clean end. None: killed together with whoever would have known."""
    if code is None or code >= _FIRST_SIGNAL:
        return "Killed"
    return _REASONS.get(code, "AgentFault")
