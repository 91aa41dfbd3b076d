"""Every metric by name: kind, labels and help. docs/metrics.md is written from it, and nothing else is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

PREFIX: Final = "access_reconciler_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric family."""

    kind: Literal["counter", "gauge", "histogram", "info"]
    help: str
    labels: tuple[str, ...] = ()


TABLE: Final[Mapping[str, Row]] = MappingProxyType(
    {
        "build_info": Row(kind="info", help="The version that runs; always 1.", labels=("version",)),
        "live": Row(
            kind="gauge", help="1 while the loop or the running cycle makes progress in the time that it may take."
        ),
        "ready": Row(kind="gauge", help="1 once a cycle has come to its end, until draining begins."),
        "lease_held": Row(kind="gauge", help="1 while this process is the one writer."),
        "cycles_total": Row(
            kind="counter",
            help="Cycles that ended with a signed record, by outcome; gave_way is one that did so for a leaver.",
            labels=("breadth", "outcome"),
        ),
        "cycles_broken_total": Row(
            kind="counter", help="Cycles that could not be recorded or attested; the next cycle closes them."
        ),
        "cycle_failures_in_a_row": Row(
            kind="gauge", help="Cycles in a row that came to no good end; 0 after one that did."
        ),
        "cycle_running_seconds": Row(kind="gauge", help="For how long a cycle has been running; 0 between two cycles."),
        "cycle_duration_seconds": Row(
            kind="histogram",
            help="Duration of cycles from the roster to the signature; reading providers runs before a whole one.",
            labels=("breadth",),
        ),
        "collection_duration_seconds": Row(
            kind="histogram", help="Duration of reading one scope of a provider.", labels=("provider",)
        ),
        "stage_duration_seconds": Row(
            kind="histogram",
            help="Duration of each stage of a cycle; reading again after an act is part of execute.",
            labels=("stage",),
        ),
        "last_cycle_timestamp_seconds": Row(
            kind="gauge", help="When the last cycle ended with a signed record.", labels=("breadth",)
        ),
        "provider_complete_timestamp_seconds": Row(
            kind="gauge", help="When the last cycle ended that read the provider whole.", labels=("provider",)
        ),
        "provider_complete_age_seconds": Row(
            kind="gauge",
            help="Since when no cycle has read the provider whole; missing until one has.",
            labels=("provider",),
        ),
        "leavers": Row(
            kind="gauge",
            help="Leavers of the last cycle by verdict: clean, violation, cannot_conclude.",
            labels=("state",),
        ),
        "undecided_principals": Row(
            kind="gauge", help="Principals of the last cycle on whom the policy engine could not decide."
        ),
        "waivers": Row(
            kind="gauge",
            help="Waivers of the last cycle: in_force, ending (of those, within 7 days), malformed (waive nothing), "
            "held (of files that became malformed; acts wait for one grace).",
            labels=("state",),
        ),
        "time_to_revoke_seconds": Row(
            kind="histogram",
            help="From the instant that a leaver's end was reached and known to each stage of a verified act: "
            "decided, intent, outcome, verified.",
            labels=("provider", "stage"),
        ),
        "actions_total": Row(
            kind="counter",
            help="Acts by how they ended.",
            labels=(
                "provider",
                "effect",
                "outcome",
            ),
        ),
        "verifications_total": Row(
            kind="counter",
            help="What reading again showed of acts.",
            labels=(
                "provider",
                "state",
            ),
        ),
        "unsettled_acts": Row(kind="gauge", help="Acts whose end is not known or not verified."),
        "held_plans": Row(kind="gauge", help="Plans that are held and wait for a human."),
        "held_plan_age_seconds": Row(
            kind="gauge", help="For how long this process has seen the same plan held; 0 when none is."
        ),
        "cap_used_ratio": Row(
            kind="gauge",
            help="Principals touched within the window, as a share of the provider's limit; 1 is the limit.",
            labels=("provider",),
        ),
        "unsigned_age_seconds": Row(
            kind="gauge",
            help="Age of the oldest statement that waits for its signature, or since when no cycle could be stated; "
            "0 while signing is in step.",
        ),
        "unsigned_statements": Row(kind="gauge", help="Statements that are stored and wait for their signature."),
        "audit_lag_records": Row(
            kind="gauge", help="Audit records that a stream lacks after the last cycle.", labels=("stream",)
        ),
        "audit_lag_seconds": Row(
            kind="gauge",
            help="Age of the oldest audit record that a stream lacks; 0 when none is missing.",
            labels=("stream",),
        ),
        "policies_refused": Row(
            kind="gauge", help="1 while a newer revision of the policies is refused and the last good one decides."
        ),
        "api_calls_total": Row(
            kind="counter", help="Requests that reading the provider took, repeats included.", labels=("provider",)
        ),
        "throttles_total": Row(
            kind="counter", help="Requests of those that were answered with: slow down.", labels=("provider",)
        ),
        "wakeups_total": Row(
            kind="counter", help="Tokens taken out of the queue that wakes the daemon.", labels=("reason",)
        ),
        "timer_troubles_total": Row(
            kind="counter", help="Ticks that were missed, came while one was running, or raised.", labels=("trouble",)
        ),
        "watch_restarts_total": Row(
            kind="counter", help="How often the watch over files was replaced; it is compared by polling beside that."
        ),
        "webhook_calls_total": Row(
            kind="counter",
            help="Calls of the webhook: accepted, replayed, forged, refused, too_large, too_slow, overloaded, "
            "broken_off.",
            labels=("outcome",),
        ),
        "webhook_pauses_total": Row(
            kind="counter", help="How often the webhook rested because calls came faster than they are taken."
        ),
        "notices_total": Row(
            kind="counter",
            help="Messages to receivers: sent, failed (tried again), dropped (too many were waiting).",
            labels=("outcome",),
        ),
        "telling_failures_total": Row(
            kind="counter", help="Ends of cycles that metrics, traces or notifications could not be told of."
        ),
    }
)
"""By name as a server is shown it, without the prefix."""
