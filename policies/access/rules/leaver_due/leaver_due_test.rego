package access.rules.leaver_due_test

import data.access.lib_test as sample
import data.access.rules.leaver_due

found(unit) := result if {
	result := leaver_due.finding with input as sample.given(unit)
		with data.roster.workers as sample.workers
		with data.access.config as sample.config
}

verdicts(unit) := {finding.access_id: [finding.code, finding.effect] | some finding in found(unit)}

alive := {"account": sample.account(true), "key": sample.item({}), "team": sample.membership({})}

test_who_leaves_in_two_weeks_is_announced_once if {
	found(sample.unit_of("E6", alive)) == {{
		"access_id": "account",
		"code": "leaver_due",
		"severity": "info",
		"effect": "keep",
		"reason": "access ends on 2026-03-16: nothing is to be done about what goes by itself",
	}}
}

test_a_microsecond_more_is_too_early if {
	workers := {"E6": object.union(sample.workers.E6, {"access_end_at": "2026-03-16T09:00:00.000001Z"})}
	result := leaver_due.finding with input as sample.given(sample.unit_of("E6", alive))
		with data.roster.workers as workers
		with data.access.config as sample.config
	result == set()
}

test_a_provider_may_look_less_far_ahead if {
	result := leaver_due.finding with input as sample.given(sample.unit_of("E6", alive))
		with data.roster.workers as sample.workers
		with data.access.config as sample.differing("leaver_due", {"days_ahead": 13})
	result == set()
}

test_who_stays_or_has_left_is_not_due if {
	found(sample.unit_of("E1", alive)) == set()
	found(sample.unit_of("E2", alive)) == set()
	found(sample.unit_of_nobody("human", alive)) == set()
}

test_what_would_wait_for_a_human_is_told_now if {
	access := {
		"account": sample.account(true),
		"key": sample.item({"shared": true}),
		"team": sample.membership({"holders": 1}),
		"above": sample.membership({"holders": 1, "direct": false}),
	}
	verdicts(sample.unit_of("E6", access)) == {
		"account": ["leaver_due", "keep"],
		"key": ["leaver_due_shared_credential", "review"],
		"team": ["leaver_due_last_member", "review"],
	}
	some finding in found(sample.unit_of("E6", access))
	finding.reason == "access ends on 2026-03-16: the worker is the last member: name another one before"
	finding.severity == "medium"
}

test_what_is_in_doubt_is_told_now if {
	expected := {"unknown": "leaver_due_in_doubt", "break_glass": "leaver_due_break_glass"}
	every kind, code in expected {
		unit := sample.changed(sample.unit_of("E6", {"key": sample.item({})}), "/principal/kind", kind)
		{finding.code | some finding in found(unit)} == {"leaver_due", code}
	}
}

test_what_the_worker_owns_needs_an_owner if {
	unit := sample.changed(sample.unit_of("E6", alive), "/principal/kind", "service")
	found(unit) == {{
		"access_id": "account",
		"code": "leaver_due_owned",
		"severity": "medium",
		"effect": "review",
		"reason": "the owner's access ends on 2026-03-16: name the next owner",
	}}
	found(sample.changed(sample.unit_of("E1", alive), "/principal/kind", "service")) == set()
	shared := sample.unit_of("E6", {"account": sample.account(true), "key": sample.item({"shared": true})})
	owned := verdicts(sample.changed(shared, "/principal/kind", "service"))
	owned == {"account": ["leaver_due_owned", "review"]}
}
