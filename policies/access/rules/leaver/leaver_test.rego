package access.rules.leaver_test

import data.access.lib_test as sample
import data.access.rules.leaver

config(effect) := object.union(sample.config, {"leaver": {"account_effect": effect}})

found(unit, account_effect) := result if {
	result := leaver.finding with input as sample.given(unit)
		with data.roster.workers as sample.workers
		with data.access.config as config(account_effect)
}

# What was found, as access id -> [code, effect].
verdicts(unit) := {finding.access_id: [finding.code, finding.effect] | some finding in found(unit, "quarantine")}

alive := {"account": sample.account(true), "key": sample.item({}), "team": sample.membership({})}

test_everything_of_a_leaver_is_asked_for if {
	verdicts(sample.unit_of("E2", alive)) == {
		"account": ["leaver", "quarantine"],
		"key": ["leaver", "revoke"],
		"team": ["leaver", "revoke"],
	}
}

test_a_session_and_a_disabled_key_go_too if {
	access := {"session": sample.item({"type": "session", "kind": "session"}), "key": sample.item({"enabled": false})}
	verdicts(sample.unit_of("E2", access)) == {"session": ["leaver", "revoke"], "key": ["leaver", "revoke"]}
}

test_every_finding_is_complete if {
	some finding in found(sample.unit_of("E2", {"key": sample.item({})}), "quarantine")
	finding == {
		"access_id": "key",
		"code": "leaver",
		"severity": "critical",
		"effect": "revoke",
		"reason": "access ended on 2026-02-16: the worker has left and still holds this",
	}
}

test_nobody_else_is_touched if {
	found(sample.unit_of("E1", alive), "quarantine") == set()
	found(sample.unit_of_nobody("human", alive), "quarantine") == set()
	found(sample.unit_of("nobody", alive), "quarantine") == set()
}

test_the_last_microsecond_of_access_is_kept if {
	found(sample.unit_of("E3", alive), "quarantine") == set()
}

test_termination_without_an_end_is_no_leaver if {
	workers := {"E9": object.union(sample.workers.E1, {"status": "terminated"})}
	result := leaver.finding with input as sample.given(sample.unit_of("E9", alive))
		with data.roster.workers as workers
		with data.access.config as config("quarantine")
	result == set()
}

test_an_indirect_grant_goes_with_its_direct_one if {
	verdicts(sample.unit_of("E2", {"team": sample.membership({"direct": false})})) == {}
}

test_a_disabled_account_is_settled_unless_it_is_to_be_deleted if {
	unit := sample.unit_of("E2", {"account": sample.account(false)})
	found(unit, "quarantine") == set()
	found(unit, "review") == set()
	some finding in found(unit, "revoke")
	finding.effect == "revoke"
}

test_an_account_of_unknown_state_is_asked_for if {
	verdicts(sample.unit_of("E2", {"account": sample.account(null)})) == {"account": ["leaver", "quarantine"]}
}

test_what_others_depend_on_goes_to_review if {
	access := {"key": sample.item({"shared": true}), "team": sample.membership({"holders": 1})}
	verdicts(sample.unit_of("E2", access)) == {
		"key": ["leaver_shared_credential", "review"],
		"team": ["leaver_last_member", "review"],
	}
}

test_the_only_holder_of_a_policy_is_no_last_member if {
	grant := sample.membership({"kind": "attached_policy", "holders": 1})
	verdicts(sample.unit_of("E2", {"policy": grant})) == {"policy": ["leaver", "revoke"]}
}

test_kinds_that_are_no_person_go_to_review if {
	expected := {
		"break_glass": "leaver_break_glass",
		"unknown": "leaver_unknown_kind",
	}
	every kind, code in expected {
		unit := sample.changed(sample.unit_of("E2", alive), "/principal/kind", kind)
		verdicts(unit) == {"account": [code, "review"], "key": [code, "review"], "team": [code, "review"]}
	}
}

test_an_external_person_leaves_like_any_other if {
	unit := sample.changed(sample.unit_of("E2", {"key": sample.item({})}), "/principal/kind", "external")
	verdicts(unit) == {"key": ["leaver", "revoke"]}
}

test_what_a_leaver_only_owned_is_another_rules if {
	owned := sample.changed(sample.unit_of("E2", alive), "/correlation/identity", false)
	found(owned, "quarantine") == set()
	found(sample.changed(sample.unit_of("E2", alive), "/principal/kind", "service"), "quarantine") == set()
}

test_a_contract_that_ran_out_is_another_rules if {
	found(sample.unit_of("E5", alive), "quarantine") == set()
}

after(days, unit) := {finding.access_id: finding.effect |
	some finding in leaver.finding with input as sample.given(unit)
		with data.roster.workers as sample.workers
		with data.access.config as sample.differing("leaver", {
			"account_effect": "review",
			"item_effect": "quarantine",
			"grace_days": days,
			"account_effect_after_grace": "revoke",
			"item_effect_after_grace": "review",
		})
}

test_a_provider_may_have_effects_and_a_grace_of_its_own if {
	unit := sample.unit_of("E2", {"account": sample.account(true), "key": sample.item({})})
	after(14, unit) == {"account": "review", "key": "quarantine"}
	after(13, unit) == {"account": "revoke", "key": "review"}
}

test_a_possible_rehire_goes_to_review if {
	verdicts(sample.unit_of("E4", alive)) == {
		"account": ["leaver_possible_rehire", "review"],
		"key": ["leaver_possible_rehire", "review"],
		"team": ["leaver_possible_rehire", "review"],
	}
}

test_a_leavers_key_on_somebody_elses_principal_goes_to_review if {
	copy := {"key": sample.item({"kind": "ssh_key", "key_of": ["E1", "E2", "E9"]})}
	every unit in [sample.unit_of("E1", copy), sample.unit_of_nobody("shared", copy)] {
		found(unit, "quarantine") == {{
			"access_id": "key",
			"code": "leaver_key_elsewhere",
			"severity": "critical",
			"effect": "review",
			"reason": "the public key of a worker who has left (E2) stands here: take it away",
		}}
	}
}

test_a_key_of_somebody_who_stays_is_nothing_of_this_rule if {
	found(sample.unit_of("E1", {"key": sample.item({"key_of": ["E3"]})}), "quarantine") == set()
}

test_one_case_for_a_principal_that_might_be_a_leaver if {
	unit := json.patch(sample.unit_of("E2", alive), [
		{"op": "replace", "path": "/correlation/state", "value": "ambiguous"},
		{"op": "replace", "path": "/worker_id", "value": null},
		{"op": "replace", "path": "/candidates", "value": ["E1", "E2"]},
	])
	verdicts(unit) == {"account": ["leaver_ambiguous", "review"]}
	verdicts(sample.changed(unit, "/correlation/state", "orphan")) == {"account": ["leaver_ambiguous", "review"]}
	found(sample.changed(unit, "/candidates", ["E1", "E3"]), "quarantine") == set()
	found(sample.changed(unit, "/principal/kind", "service"), "quarantine") == set()
}
