# METADATA
# title: The use of emergency access is accounted for
# description: >-
#   Emergency access that was used within the configured number of days, or is signed in now, is given to a human.
#   Nothing is ever taken from it.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: break_glass_used
#   codes:
#     break_glass_used: used within the window; review, once
#     break_glass_used_now: a session that has not expired; review, critical
#   severity: high
#   needs: item
#   controls: ["SOC2 CC6.1", "SOC2 CC7.2", "ISO 27001 A.8.2", "NIST AC-2(12)", "NIST AU-6"]
#   remediation: >-
#     Find the incident that it was used for, have somebody else than its user sign that off, and rotate its
#     credentials. A waiver with the incident's number as reason settles the finding before the window ends.
#   notes: |-
#     Which principals are emergency access is said in the reader's settings of each provider, by tag, path, entry or
#     user name: a fact that a reviewer sees, not something the account says of itself alone.
#
#     When no use is known there is no finding. How soon a provider tells of use stands on its page.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.break_glass_used

import data.access.lib

id := "break_glass_used"

window_days := lib.setting("break_glass_used", "window_days", data.access.config.break_glass_used.window_days)

finding contains {
	"access_id": access_id,
	"code": "break_glass_used",
	"severity": "high",
	"effect": "review",
	"reason": sprintf("emergency access was last used on %s: account for it, and rotate what was used", [lib.day(latest)]),
} if {
	input.unit.principal.kind == "break_glass"
	count(lib.uses) > 0
	latest := max(lib.uses)
	not lib.older(latest, window_days)
	some access_id in lib.representatives
}

finding contains {
	"access_id": access_id,
	"code": "break_glass_used_now",
	"severity": "critical",
	"effect": "review",
	"reason": "somebody is signed in with emergency access: find out who, and why",
} if {
	input.unit.principal.kind == "break_glass"
	some access_id, item in input.unit.access
	item.type == "session"
	not lib.passed(item.expires_at)
}
