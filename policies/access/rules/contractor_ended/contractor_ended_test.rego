package access.rules.contractor_ended_test

import data.access.lib_test as sample
import data.access.rules.contractor_ended

found(unit, config) := result if {
	result := contractor_ended.finding with input as sample.given(unit)
		with data.roster.workers as sample.workers
		with data.access.config as config
}

verdicts(unit) := {finding.access_id: [finding.code, finding.effect] | some finding in found(unit, sample.config)}

alive := {"account": sample.account(true), "key": sample.item({}), "team": sample.membership({})}

test_a_contract_that_ran_out_suspends_at_once if {
	verdicts(sample.unit_of("E5", alive)) == {
		"account": ["contractor_ended", "quarantine"],
		"key": ["contractor_ended", "quarantine"],
		"team": ["contractor_ended", "quarantine"],
	}
}

# E5's contract ran out 13 days and 18 hours before now.
test_and_revokes_after_the_grace if {
	config := sample.differing("contractor_ended", {
		"grace_days": 13,
		"account_effect_after_grace": "quarantine",
		"item_effect_after_grace": "review",
	})
	{[finding.access_id, finding.effect] | some finding in found(sample.unit_of("E5", alive), config)} == {
		["account", "quarantine"],
		["key", "review"],
		["team", "review"],
	}
	at_once := sample.differing("contractor_ended", {"account_effect": "review", "item_effect": "revoke"})
	{[finding.access_id, finding.effect] | some finding in found(sample.unit_of("E5", alive), at_once)} == {
		["account", "review"],
		["key", "revoke"],
		["team", "revoke"],
	}
}

test_every_finding_is_complete if {
	found(sample.unit_of("E5", {"key": sample.item({})}), sample.config) == {{
		"access_id": "key",
		"code": "contractor_ended",
		"severity": "high",
		"effect": "quarantine",
		"reason": concat("", [
			"the contract ran out on 2026-02-16: access stands on it no longer; ",
			"prolong the contract in HR if work goes on",
		]),
	}}
}

test_what_leaves_a_doubt_goes_to_review if {
	access := {"key": sample.item({"shared": true}), "team": sample.membership({"holders": 1})}
	verdicts(sample.unit_of("E5", access)) == {
		"key": ["contractor_ended_in_doubt", "review"],
		"team": ["contractor_ended_in_doubt", "review"],
	}
}

test_nobody_else_is_touched if {
	found(sample.unit_of("E1", alive), sample.config) == set()
	found(sample.unit_of("E2", alive), sample.config) == set()
	found(sample.unit_of_nobody("human", alive), sample.config) == set()
}

test_a_contract_that_runs_still_gives_access if {
	workers := {"E5": object.union(sample.workers.E5, {"access_end_at": "2026-03-02T09:00:00.000001Z"})}
	result := contractor_ended.finding with input as sample.given(sample.unit_of("E5", alive))
		with data.roster.workers as workers
		with data.access.config as sample.config
	result == set()
}

test_what_a_contractor_only_owned_is_another_rules if {
	found(sample.changed(sample.unit_of("E5", alive), "/principal/kind", "service"), sample.config) == set()
}

test_what_is_settled_stays if {
	access := {"account": sample.account(false), "team": sample.membership({"direct": false})}
	found(sample.unit_of("E5", access), sample.config) == set()
}
