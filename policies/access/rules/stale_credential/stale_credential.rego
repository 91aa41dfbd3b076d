# METADATA
# title: Credentials that nobody uses go away
# description: >-
#   An enabled credential of the configured kinds that was last used (or, when never used, created) longer ago than
#   the configured number of days. An unknown age is no finding. Break-glass principals are idle on purpose and left
#   alone.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: stale_credential
#   codes:
#     stale_credential: last used before the limit; the effect is that of the settings
#     stale_credential_never_used: never used and created before the limit; the effect is that of the settings
#   severity: medium
#   needs: scope
#   controls: ["SOC2 CC6.1", "ISO 27001 A.5.18", "NIST AC-2(3)", "NIST IA-5"]
#   remediation: >-
#     Ask the owner; rotate the credential or remove it.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.stale_credential

import data.access.lib

id := "stale_credential"

max_idle_days := lib.setting("stale_credential", "max_idle_days", data.access.config.stale_credential.max_idle_days)

finding contains {
	"access_id": access_id,
	"code": verdict.code,
	"severity": "medium",
	"effect": lib.setting("stale_credential", "effect", data.access.config.stale_credential.effect),
	"reason": sprintf("%s since %s, longer than %d days", [verdict.word, lib.day(verdict.since), max_idle_days]),
} if {
	input.unit.principal.kind != "break_glass"
	kinds := lib.setting("stale_credential", "kinds", data.access.config.stale_credential.kinds)
	some access_id, item in input.unit.access
	item.kind in kinds
	item.type == "credential"
	item.enabled != false
	verdict := idle(item)
	lib.older(verdict.since, max_idle_days)
}

idle(item) := {"code": "stale_credential", "word": "unused", "since": item.last_used_at} if {
	item.last_used_at != null
} else := {"code": "stale_credential_never_used", "word": "never used", "since": item.created_at}
