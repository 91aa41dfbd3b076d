package access.rules.drift_test

import data.access.lib_test as sample
import data.access.rules.drift

found(unit) := result if {
	result := drift.finding with input as sample.given(unit) with data.roster.workers as sample.workers
}

was(unit, workers) := json.patch(unit, [{"op": "replace", "path": "/principal/was", "value": workers}])

service := sample.unit_of_nobody("service", {"account": sample.account(true), "key": sample.item({})})

test_somebody_who_turned_into_something_else_is_found_once if {
	found(was(service, ["E1"])) == {{
		"access_id": "account",
		"code": "drift",
		"severity": "high",
		"effect": "review",
		"reason": "was the principal of another worker, or a person's, and says something else of itself now (E1)",
	}}
}

test_one_who_has_left_makes_it_critical if {
	found(was(service, ["E1", "E2"])) == {{
		"access_id": "account",
		"code": "drift_leaver",
		"severity": "critical",
		"effect": "review",
		"reason": "was the principal of a worker who has left, and says something else of itself now (E1, E2)",
	}}
}

test_a_worker_who_is_in_no_roster_has_not_left if {
	{finding.code | some finding in found(was(service, ["E9"]))} == {"drift"}
}

test_who_is_as_before_is_nothing_of_this_rule if {
	found(service) == set()
	found(sample.unit_of("E2", {"account": sample.account(true)})) == set()
}
