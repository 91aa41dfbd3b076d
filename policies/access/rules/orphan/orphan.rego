# METADATA
# title: Every principal has an owner
# description: >-
#   A principal that no worker answers for is found once: on each account that is not disabled, or on its first access
#   item when the provider shows no account. Break-glass principals are kept on purpose and left alone.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: orphan
#   codes: [orphan_name_only, orphan_service, orphan_unknown_kind]
#   severity: high
#   needs: scope
#   controls: ["SOC2 CC6.2", "SOC2 CC6.3", "ISO 27001 A.5.16", "NIST AC-2(3)"]
#   remediation: Name the owner (a tag, or the explicit map), or take the principal out of service.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.orphan

import data.access.lib

id := "orphan"

config := data.access.config.orphan

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
	not lib.left(lib.worker)
	some access_id in lib.representatives
}

person := {
	"code": "orphan",
	"effect": config.effect,
	"reason": "no worker of the roster matches this principal",
}

machine := {
	"code": "orphan_service",
	"effect": config.service_effect,
	"reason": "no worker owns this principal: name an owner",
}

# By kind of principal; `break_glass` is missing on purpose.
verdicts := {
	"human": person,
	"external": person,
	"service": machine,
	"shared": machine,
	"unknown": {
		"code": "orphan_unknown_kind",
		"effect": "review",
		"reason": "no worker matches this principal and nobody has said what it is: classify it first",
	},
}
