package access.rules.mover_test

import data.access.lib_test as sample
import data.access.rules.mover

# Thirty days before now, and a microsecond more.
limit := "2026-01-31T09:00:00.000000Z"

over := "2026-01-31T08:59:59.999999Z"

moved(changes) := {"E1": object.union(
	sample.workers.E1,
	object.union(
		{"department": "support", "department_since": over, "former_departments": ["sales"]},
		changes,
	),
)}

found(unit, workers, config) := result if {
	result := mover.finding with input as sample.given(unit)
		with data.roster.workers as workers
		with data.access.config as config
}

access := {
	"crm": sample.membership({"role": "crm"}),
	"tickets": sample.membership({"role": "tickets"}),
	"shared": sample.membership({"role": "shared"}),
	"other": sample.membership({"role": "other"}),
	"above": sample.membership({"role": "crm", "direct": false}),
	"key": sample.item({"role": "crm"}),
}

verdicts(changes) := {[finding.access_id, finding.code, finding.effect] |
	some finding in found(sample.unit_of("E1", access), moved(changes), sample.config)
}

test_access_of_the_former_team_is_found if {
	found(sample.unit_of("E1", access), moved({}), sample.config) == {{
		"access_id": "crm",
		"code": "mover",
		"severity": "medium",
		"effect": "review",
		"reason": "access of a former team (sales) that the worker's team does not have",
	}}
}

test_the_grace_is_for_handing_over if {
	verdicts({"department_since": limit}) == set()
}

test_an_unknown_day_is_for_a_human if {
	config := sample.differing("mover", {"effect": "revoke", "grace_days": 31})
	unit := sample.unit_of("E1", access)
	{finding.effect | some finding in found(unit, moved({"department_since": null}), config)} == {"review"}
	verdicts({"department_since": null}) == {["crm", "mover_date_unknown", "review"]}
	found(unit, moved({}), config) == set()
	long := moved({"department_since": "2025-01-01T00:00:00.000000Z"})
	{finding.effect | some finding in found(unit, long, config)} == {"revoke"}
}

test_who_never_moved_or_moved_back_is_not_found if {
	verdicts({"former_departments": []}) == set()
	verdicts({"department": "sales"}) == set()
}

test_a_team_that_is_not_listed_is_not_known if {
	verdicts({"department": "board"}) == set()
	verdicts({"department": null}) == set()
	verdicts({"former_departments": ["board"]}) == set()
}

test_an_entitlement_may_be_named_with_its_provider if {
	back := {"department": "sales", "former_departments": ["support"]}
	verdicts(back) == {["tickets", "mover", "review"]}
	elsewhere := sample.changed(sample.unit_of("E1", access), "/principal/provider", "corp-ldap")
	found(elsewhere, moved(back), sample.config) == set()
}

test_a_leaver_and_what_is_only_owned_are_other_rules if {
	verdicts({"access_end_at": over}) == set()
	owned := sample.changed(sample.unit_of("E1", access), "/correlation/identity", false)
	found(owned, moved({}), sample.config) == set()
}
