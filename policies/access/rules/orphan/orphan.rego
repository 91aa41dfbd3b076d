# METADATA
# title: Every person's account belongs to a worker
# description: >-
#   A principal of a person, or of unknown kind, that matches no worker is found once: on each account that is not
#   disabled, or on its first access item when the provider shows no account. Break-glass principals are kept on
#   purpose and left alone; machines are the rule unowned_service_account's.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: orphan
#   codes:
#     orphan: a human or external principal; the effect is that of the settings
#     orphan_name_only: nothing but a display name ties it to a worker, who is no leaver; review
#     orphan_unknown_kind: nobody has said what the principal is; review
#   severity: high
#   needs: scope
#   controls: ["SOC2 CC6.2", "SOC2 CC6.3", "ISO 27001 A.5.16", "NIST AC-2(3)"]
#   remediation: >-
#     Say whose it is (a tag at the provider, an external id from HR, or the explicit map), or take the principal out
#     of service.
#   notes: |-
#     A principal whose accounts are all disabled is no finding.
#
#     Think before raising the effect: a correlation that breaks makes orphans of everybody, and only the guard's caps
#     stand between.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.orphan

import data.access.lib

id := "orphan"

effect := lib.setting("orphan", "effect", data.access.config.orphan.effect)

finding contains {
	"access_id": access_id,
	"code": verdict.code,
	"severity": "high",
	"effect": verdict.effect,
	"reason": verdict.reason,
} if {
	input.unit.correlation.state == "orphan"
	verdict := verdicts[input.unit.principal.kind]
	some access_id in lib.representatives
}

# A name is no evidence: anybody can be called that. A worker who has left is the leaver rule's.
finding contains {
	"access_id": access_id,
	"code": "orphan_name_only",
	"severity": "high",
	"effect": "review",
	"reason": "nothing but a name ties this principal to a worker: say whose it is",
} if {
	input.unit.correlation.rule == "display_name"
	not lib.gone
	some access_id in lib.representatives
}

person := {
	"code": "orphan",
	"effect": effect,
	"reason": "no worker of the roster matches this principal",
}

# By kind of principal. Machines are missing, because they have a rule of their own, and so is `break_glass`.
verdicts := {
	"human": person,
	"external": person,
	"unknown": {
		"code": "orphan_unknown_kind",
		"effect": "review",
		"reason": "no worker matches this principal and nobody has said what it is: classify it first",
	},
}
