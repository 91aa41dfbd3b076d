# METADATA
# title: Administrators have a second factor
# description: >-
#   A person's principal with administrator rights of which the provider says that no second factor is registered is
#   found once. Where a provider does not tell, there is no finding, for unknown is not none.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: privileged_without_mfa
#   codes:
#     privileged_without_mfa: it has a password; critical; the effect is that of the settings
#     privileged_without_mfa_no_password: no password is known, only keys; the effect is that of the settings
#   severity: critical
#   needs: scope
#   controls: ["SOC2 CC6.1", "ISO 27001 A.8.2", "ISO 27001 A.8.5", "NIST IA-2(1)", "PCI DSS 8.4.2"]
#   remediation: >-
#     Register a second factor, or take the administrator rights away until there is one.
#   notes: |-
#     AWS IAM tells of devices: of all users by the credential report and of whoever is read live by the devices
#     themselves. The report is up to four hours old, so a device that was registered just now may be missing from it.
#     LDAP and SCIM tell nothing of second factors, and single sign-on has them elsewhere: their principals are never
#     found here.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.privileged_without_mfa

import data.access.lib

id := "privileged_without_mfa"

finding contains {
	"access_id": access_id,
	"code": verdict.code,
	"severity": verdict.severity,
	"effect": effect,
	"reason": verdict.reason,
} if {
	input.unit.principal.privileged
	input.unit.principal.mfa == false
	input.unit.principal.enabled != false
	input.unit.principal.kind in {"human", "external"}
	not lib.gone
	effect := lib.setting("privileged_without_mfa", "effect", data.access.config.privileged_without_mfa.effect)
	some access_id in lib.representatives
}

verdict := {
	"code": "privileged_without_mfa",
	"severity": "critical",
	"reason": "a password alone opens administrator rights: register a second factor",
} if {
	some item in input.unit.access
	item.kind == "password"
	item.enabled != false
} else := {
	"code": "privileged_without_mfa_no_password",
	"severity": "high",
	"reason": "administrator rights without a second factor; no password is known, so keys alone open them",
}
