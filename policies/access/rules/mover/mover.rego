# METADATA
# title: Who moves keeps nothing of the former team
# description: >-
#   A worker who has moved to another team, and by the roster's account was in a former one, keeps no entitlement of
#   the former team that the present one does not have, once the days of handing over have passed.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: mover
#   codes:
#     mover: the grace has passed; the effect is that of the settings
#     mover_date_unknown: the roster does not say since when the worker is in the present team; review
#   severity: medium
#   needs: item
#   controls: ["SOC2 CC6.3", "ISO 27001 A.5.18", "NIST AC-2(3)", "NIST AC-6", "NIST PS-5"]
#   remediation: >-
#     Ask the worker's manager; take the access away, or add the entitlement to the present team in the settings if it
#     belongs there.
#   notes: |-
#     What a team may hold is data:
#
#     ```json
#     "teams": {"sales": ["crm-users"], "support": ["corp-ldap:tickets"]}
#     ```
#
#     Former teams come from the roster's columns `former_departments` and `department_since` (see [the
#     roster](../roster.md)). A roster without them, a present team that the settings do not list, and a grant held
#     through something else give no finding: what is not known to be kept from a former team may be given by anybody.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.mover

import data.access.lib

id := "mover"

finding contains {
	"access_id": access_id,
	"code": verdict.code,
	"severity": "medium",
	"effect": verdict.effect,
	"reason": sprintf("access of a former team (%s) that the worker's team does not have", [concat(", ", kept_from)]),
} if {
	count(lib.worker.former_departments) > 0
	not lib.gone
	input.unit.correlation.identity
	present := data.access.config.mover.teams[lib.worker.department]
	some access_id, item in input.unit.access
	item.direct
	kept_from := former(item)
	count(kept_from) > 0
	not named(item, present)
}

# Former teams that an entitlement belongs to.
former(item) := {team |
	some team in lib.worker.former_departments
	named(item, data.access.config.mover.teams[team])
}

named(item, entitlements) if {
	some name in lib.names(item)
	name in entitlements
}

# Within the grace the access may be kept for handing over; when the move was is not always known.
verdict := {
	"code": "mover_date_unknown",
	"effect": "review",
} if {
	lib.worker.department_since == null
} else := {
	"code": "mover",
	"effect": lib.setting("mover", "effect", data.access.config.mover.effect),
} if {
	lib.older(lib.worker.department_since, lib.setting("mover", "grace_days", data.access.config.mover.grace_days))
}
