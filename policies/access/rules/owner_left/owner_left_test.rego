package access.rules.owner_left_test

import data.access.lib_test as sample
import data.access.rules.owner_left

found(unit) := result if {
	result := owner_left.finding with input as sample.given(unit) with data.roster.workers as sample.workers
}

verdicts(unit) := {finding.access_id: [finding.code, finding.severity] | some finding in found(unit)}

alive := {"account": sample.account(true), "key": sample.item({}), "team": sample.membership({})}

of_kind(worker_id, kind) := sample.changed(sample.unit_of(worker_id, alive), "/principal/kind", kind)

test_a_machine_of_a_leaver_is_handed_over if {
	every kind in ["service", "shared"] {
		verdicts(of_kind("E2", kind)) == {
			"account": ["owner_left", "high"],
			"key": ["owner_left_credential", "critical"],
			"team": ["owner_left", "high"],
		}
	}
}

test_every_finding_is_complete if {
	unit := sample.changed(sample.unit_of("E2", {"key": sample.item({})}), "/correlation/identity", false)
	found(unit) == {{
		"access_id": "key",
		"code": "owner_left_credential",
		"severity": "critical",
		"effect": "review",
		"reason": "its owner left on 2026-02-16: they may know this secret: rotate it and hand it over",
	}}
}

test_an_owner_whose_contract_ran_out_has_left_too if {
	count(found(of_kind("E5", "service"))) == 3
}

test_what_somebody_is_or_still_owns_is_nothing_of_this_rule if {
	found(sample.unit_of("E2", alive)) == set()
	found(of_kind("E1", "service")) == set()
	found(sample.unit_of_nobody("service", alive)) == set()
}

test_what_is_settled_stays if {
	access := {"account": sample.account(false), "team": sample.membership({"direct": false})}
	found(sample.changed(sample.unit_of("E2", access), "/principal/kind", "service")) == set()
}

several(kind, candidates) := json.patch(of_kind("E2", kind), [
	{"op": "replace", "path": "/correlation/state", "value": "ambiguous"},
	{"op": "replace", "path": "/worker_id", "value": null},
	{"op": "replace", "path": "/candidates", "value": candidates},
])

test_one_of_several_owners_has_left if {
	found(several("service", ["E1", "E2"])) == {{
		"access_id": "account",
		"code": "owner_left_of_several",
		"severity": "high",
		"effect": "review",
		"reason": "an owner has left (E2): rotate what they know, and name who answers",
	}}
	found(several("service", ["E1", "E3"])) == set()
	found(several("human", ["E1", "E2"])) == set()
	matched := sample.changed(several("service", ["E1", "E2"]), "/worker_id", "E1")
	found(sample.changed(matched, "/correlation/state", "matched")) == set()
}
