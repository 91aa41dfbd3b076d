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
#   codes: [drift_leaver]
#   severity: high
#   needs: item
#   controls: ["SOC2 CC6.1", "ISO 27001 A.5.16", "NIST AC-2(3)"]
#   remediation: >-
#     Find out who changed the tag or attribute. Change it back, or say whose the principal is in the explicit map.
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
