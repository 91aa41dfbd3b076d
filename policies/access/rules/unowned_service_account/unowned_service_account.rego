# METADATA
# title: Every service account has an owner
# description: >-
#   A service or shared principal that no worker answers for is found once: on each account that is not disabled, or
#   on its first access item when the provider shows no account. With administrator rights it is critical.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: unowned_service_account
#   codes:
#     unowned_service_account: no owner is known; the effect is that of the settings
#     unowned_service_account_privileged: and it has administrator rights; the effect is that of the settings
#   severity: high
#   needs: scope
#   controls: ["SOC2 CC6.2", "SOC2 CC6.3", "ISO 27001 A.5.16", "NIST AC-2(3)"]
#   remediation: >-
#     Name the owner (an owner tag at the provider, or the explicit map), or take the principal out of service by
#     hand.
#   notes: |-
#     The planner acts on no account of a machine (`not_personal`): what it breaks, nobody can foresee. A principal
#     whose accounts are all disabled is no finding.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.unowned_service_account

import data.access.lib

id := "unowned_service_account"

finding contains {
	"access_id": access_id,
	"code": verdict.code,
	"severity": verdict.severity,
	"effect": lib.setting("unowned_service_account", "effect", data.access.config.unowned_service_account.effect),
	"reason": verdict.reason,
} if {
	input.unit.correlation.state == "orphan"
	input.unit.principal.kind in lib.machine_kinds
	verdict := verdicts[input.unit.principal.privileged]
	some access_id in lib.representatives
}

# By whether it holds administrator rights.
verdicts[true] := {
	"code": "unowned_service_account_privileged",
	"severity": "critical",
	"reason": "no worker answers for this principal, which has administrator rights: name an owner",
}

verdicts[false] := {
	"code": "unowned_service_account",
	"severity": "high",
	"reason": "no worker answers for this principal: name an owner",
}
