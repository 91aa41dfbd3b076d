# METADATA
# title: Nobody holds both sides of a control
# description: >-
#   Entitlements that the settings name as conflicting are not held by one person, neither by one principal nor by
#   several at different providers. The finding stands on the entitlement that the conflict is listed under.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: separation_of_duties
#   codes:
#     separation_of_duties: the principal holds both; the effect is that of the settings
#     separation_of_duties_across: the worker holds the other by another principal; the effect is that of the settings
#   severity: high
#   needs: item
#   controls: ["SOC2 CC5.1", "SOC2 CC6.3", "ISO 27001 A.5.3", "NIST AC-5"]
#   remediation: >-
#     Take one of the two away. Where the team is too small for that, have somebody else look at the records, and
#     waive the finding for as long.
#   notes: |-
#     The settings list, by entitlement, those that must not be held beside it, each with the name of the conflict:
#
#     ```json
#     "conflicts": {"payments-create": {"payments-approve": "two pairs of eyes"}}
#     ```
#
#     An entitlement goes by its role (the group or policy), or by `provider:role` where the same name means different
#     things. Of a worker's other principals only those count that surely are that worker. A grant held through a
#     group counts like any other; what can be taken away is the membership in that group.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.separation_of_duties

import data.access.lib

id := "separation_of_duties"

finding contains {
	"access_id": access_id,
	"code": code,
	"severity": "high",
	"effect": lib.setting("separation_of_duties", "effect", data.access.config.separation_of_duties.effect),
	"reason": sprintf("must not be held beside another entitlement of the same person: %s", [concat(", ", against)]),
} if {
	count(data.access.config.separation_of_duties.conflicts) > 0
	not input.unit.principal.kind in lib.machine_kinds
	some access_id, item in input.unit.access
	against := conflicts(item, here | elsewhere)
	count(against) > 0
	code := where(conflicts(item, here))
}

where(beside) := "separation_of_duties" if count(beside) > 0

where(beside) := "separation_of_duties_across" if count(beside) == 0

# What an entitlement conflicts with, of those held.
conflicts(item, held) := {sprintf("%s (%s)", [other, name]) |
	some own in lib.names(item)
	some other, name in data.access.config.separation_of_duties.conflicts[own]
	other in held
}

here contains name if {
	some item in input.unit.access
	some name in lib.names(item)
}

elsewhere := {name | some name in input.unit.held_elsewhere}
