# METADATA
# title: Nobody keeps an account that sleeps
# description: >-
#   A person's principal of which nothing was used for longer than the configured number of days, neither the account
#   nor any credential or session, is found once. When no use at all is known there is no finding, for unknown is not
#   never.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: dormant
#   codes:
#     dormant: everything of the principal is idle; the effect is that of the settings
#   severity: medium
#   needs: scope
#   controls: ["SOC2 CC6.2", "SOC2 CC6.3", "ISO 27001 A.5.18", "NIST AC-2(3)", "PCI DSS 8.2.6"]
#   remediation: >-
#     Ask the worker or their manager whether the access is still needed; suspend it if nobody answers.
#   notes: |-
#     The latest instant counts of: the principal's last use, the last use of each access item, and the creation of
#     each enabled credential of which no use is known. How much a provider tells of use stands on its page; SCIM
#     tells nothing, so the rule is silent there.
#
#     **No finding:** disabled principals, workers who have left (they are the rule [leaver](leaver.md)'s), and
#     workers whose employment status is among `statuses_left_out`: whoever is on leave is idle for a reason.
#
#     Single credentials are the rule [stale_credential](stale_credential.md)'s; an old key beside a used password is
#     found there and not here.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.dormant

import data.access.lib

id := "dormant"

max_idle_days := lib.setting("dormant", "max_idle_days", data.access.config.dormant.max_idle_days)

patience := max_idle_days + lib.setting("dormant", "grace_days", data.access.config.dormant.grace_days)

finding contains {
	"access_id": access_id,
	"code": "dormant",
	"severity": "medium",
	"effect": effect,
	"reason": sprintf("nothing of it was used since %s, longer than %d days", [lib.day(latest), max_idle_days]),
} if {
	input.unit.principal.kind in lib.setting("dormant", "kinds", data.access.config.dormant.kinds)
	input.unit.principal.enabled != false
	lib.older(latest, max_idle_days)
	not excused
	some access_id in lib.representatives
}

latest := max(lib.uses | begun) if count(lib.uses) > 0

# What is new was not used yet: it counts as used when it was made.
begun contains item.created_at if {
	some item in input.unit.access
	item.type == "credential"
	item.enabled != false
	item.last_used_at == null
	item.created_at != null
}

excused if lib.gone

excused if {
	away := lib.setting("dormant", "statuses_left_out", data.access.config.dormant.statuses_left_out)
	lib.worker.status in away
}

effect := lib.setting("dormant", "effect_after_grace", data.access.config.dormant.effect_after_grace) if {
	lib.older(latest, patience)
} else := lib.setting("dormant", "effect", data.access.config.dormant.effect)
