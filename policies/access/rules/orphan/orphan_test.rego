package access.rules.orphan_test

import data.access.lib_test as sample
import data.access.rules.orphan

found(unit) := result if {
	result := orphan.finding with input as sample.given(unit)
		with data.roster.workers as sample.workers
		with data.access.config as sample.config
}

verdicts(unit) := {finding.access_id: [finding.code, finding.effect] | some finding in found(unit)}

alive := {"account": sample.account(true), "key": sample.item({})}

test_one_finding_for_a_principal_of_nobody if {
	found(sample.unit_of_nobody("human", alive)) == {{
		"access_id": "account",
		"code": "orphan",
		"severity": "high",
		"effect": "quarantine",
		"reason": "no worker of the roster matches this principal",
	}}
}

test_the_first_item_stands_for_an_account_that_is_not_shown if {
	verdicts(sample.unit_of_nobody("external", {"b": sample.item({}), "a": sample.item({})})) == {"a": [
		"orphan",
		"quarantine",
	]}
}

test_machines_are_another_rules if {
	every kind in ["service", "shared"] {
		found(sample.unit_of_nobody(kind, alive)) == set()
	}
}

test_a_provider_may_have_an_effect_of_its_own if {
	result := orphan.finding with input as sample.given(sample.unit_of_nobody("human", alive))
		with data.roster.workers as sample.workers
		with data.access.config as sample.differing("orphan", {"effect": "revoke"})
	{finding.effect | some finding in result} == {"revoke"}
}

test_a_principal_of_unknown_kind_goes_to_review if {
	verdicts(sample.unit_of_nobody("unknown", alive)) == {"account": ["orphan_unknown_kind", "review"]}
}

test_break_glass_is_left_alone if {
	found(sample.unit_of_nobody("break_glass", alive)) == set()
}

test_a_disabled_account_is_no_finding if {
	found(sample.unit_of_nobody("human", {"account": sample.account(false), "key": sample.item({})})) == set()
}

by_name(unit) := json.patch(unit, [
	{"op": "replace", "path": "/correlation/rule", "value": "display_name"},
	{"op": "replace", "path": "/correlation/confidence", "value": 40},
])

test_a_name_alone_makes_no_owner if {
	found(by_name(sample.unit_of("E1", alive))) == {{
		"access_id": "account",
		"code": "orphan_name_only",
		"severity": "high",
		"effect": "review",
		"reason": "nothing but a name ties this principal to a worker: say whose it is",
	}}
}

test_a_leaver_by_name_is_the_leaver_rules if {
	found(by_name(sample.unit_of("E2", alive))) == set()
}

test_a_principal_with_a_worker_is_no_orphan if {
	found(sample.unit_of("E1", alive)) == set()
	ambiguous := object.union(sample.unit_of("E1", alive), {"correlation": {"state": "ambiguous"}})
	found(ambiguous) == set()
}
