# METADATA
# title: Nobody turns into something else unseen
# description: >-
#   A principal that surely was a worker in an earlier cycle and is now of a kind that is no person's, or is not that
#   worker's any more, is found once: on each account that is not disabled, or on its first access item. Who may tag
#   itself could hide from every other rule.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: drift
#   codes:
#     drift: a principal has drifted; review, once
#     drift_leaver: and one of the workers whom it was has left; review, critical, once
#   severity: high
#   needs: item
#   controls: ["SOC2 CC6.1", "ISO 27001 A.5.16", "NIST AC-2(3)"]
#   remediation: >-
#     Find out who changed the tag (CloudTrail `TagUser` and `UntagUser`, the directory's audit log) and change it
#     back; or, where a person's principal did become something else, name the worker who answers for it in
#     `correlation.explicit`. Better still, let nobody tag themselves.
#   notes: |-
#     Kind, employee id and e-mail of a principal stand in tags and attributes. Whoever may change their own could
#     call themselves a service account, or drop the id by which they are known, and would be left alone when they
#     leave. So every cycle remembers which principals were persons and surely whose. A principal is found when it was
#     such a one and now is of a kind that is no person's (`service`, `shared`, `break_glass`, `unknown`), or is not
#     matched to that worker any more: to nobody, to several, or to somebody else.
#
#     **Nothing is acted upon** on the ground of what a principal was: [why](../decisions/0007-drifted-principals.md).
#     The verdict on the leaver is `cannot_conclude` or `violation`, never `clean`, until a human has settled it.
#
#     **No finding:** what the explicit map says, a worker known under a former id, and a principal that was never
#     seen as a person.
#
#     On AWS, deny `iam:TagUser` and `iam:UntagUser` to everybody but whoever administers users.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.drift

import data.access.lib

id := "drift"

finding contains {
	"access_id": access_id,
	"code": verdict.code,
	"severity": verdict.severity,
	"effect": "review",
	"reason": sprintf("%s (%s)", [verdict.reason, concat(", ", input.unit.principal.was)]),
} if {
	count(input.unit.principal.was) > 0
	some access_id in lib.representatives
}

verdict := {
	"code": "drift_leaver",
	"severity": "critical",
	"reason": "was the principal of a worker who has left, and says something else of itself now",
} if {
	some worker_id in input.unit.principal.was
	lib.left(data.roster.workers[worker_id])
} else := {
	"code": "drift",
	"severity": "high",
	"reason": "was the principal of another worker, or a person's, and says something else of itself now",
}
