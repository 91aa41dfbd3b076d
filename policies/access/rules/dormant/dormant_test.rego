package access.rules.dormant_test

import data.access.lib_test as sample
import data.access.rules.dormant

found(unit, config) := result if {
	result := dormant.finding with input as sample.given(unit)
		with data.roster.workers as sample.workers
		with data.access.config as config
}

# 60 days, a microsecond more, 90 days and a microsecond more before now.
limit := "2026-01-01T09:00:00.000000Z"

over := "2026-01-01T08:59:59.999999Z"

grace := "2025-12-02T09:00:00.000000Z"

over_grace := "2025-12-02T08:59:59.999999Z"

used(at) := {"account": sample.account(true), "key": sample.item({"last_used_at": at})}

# The account's own last use is that of `sample.item`: take it away, so that the key alone counts.
idle(at) := sample.changed(sample.unit_of("E1", used(at)), "/access/account/last_used_at", at)

effects(unit, config) := {finding.effect | some finding in found(unit, config)}

test_an_account_that_sleeps_is_found_once if {
	found(idle(over), sample.config) == {{
		"access_id": "account",
		"code": "dormant",
		"severity": "medium",
		"effect": "review",
		"reason": "nothing of it was used since 2026-01-01, longer than 60 days",
	}}
}

test_the_limit_itself_is_not_over_it if {
	found(idle(limit), sample.config) == set()
}

test_more_is_asked_after_the_grace if {
	effects(idle(grace), sample.config) == {"review"}
	effects(idle(over_grace), sample.config) == {"quarantine"}
}

test_a_provider_may_have_limits_of_its_own if {
	others := {"effect": "keep", "max_idle_days": 30, "effect_after_grace": "revoke", "grace_days": 5, "kinds": ["human"]}
	config := sample.differing("dormant", others)
	effects(idle("2026-01-29T00:00:00.000000Z"), config) == {"keep"}
	effects(idle("2026-01-20T00:00:00.000000Z"), config) == {"revoke"}
	found(sample.changed(idle(over), "/principal/kind", "external"), config) == set()
	away := sample.differing("dormant", {"statuses_left_out": ["active"]})
	found(idle(over), away) == set()
}

test_any_use_wakes_it if {
	found(sample.changed(idle(over), "/principal/last_used_at", limit), sample.config) == set()
	found(sample.changed(idle(over), "/access/key/last_used_at", limit), sample.config) == set()
}

add(key) := json.patch(idle(over), [{"op": "add", "path": "/access/new", "value": key}])

test_a_new_credential_counts_from_its_creation if {
	fresh := sample.item({"last_used_at": null, "created_at": limit})
	found(add(fresh), sample.config) == set()
	count(found(add(object.union(fresh, {"enabled": false})), sample.config)) == 1
	count(found(add(object.union(fresh, {"created_at": over})), sample.config)) == 1
	count(found(add(object.union(fresh, {"created_at": null})), sample.config)) == 1
	count(found(add(object.union(fresh, {"last_used_at": over})), sample.config)) == 1
	count(found(add(sample.membership({"created_at": limit})), sample.config)) == 1
}

test_unknown_use_is_not_never if {
	unit := sample.changed(idle(null), "/access/key/created_at", over_grace)
	found(unit, sample.config) == set()
}

test_only_people_who_may_sign_in_sleep if {
	found(sample.changed(idle(over), "/principal/kind", "service"), sample.config) == set()
	found(sample.changed(idle(over), "/principal/enabled", false), sample.config) == set()
	count(found(sample.changed(idle(over), "/principal/enabled", null), sample.config)) == 1
}

test_leavers_and_those_on_leave_are_excused if {
	found(sample.changed(idle(over), "/worker_id", "E2"), sample.config) == set()
	workers := {"E1": object.union(sample.workers.E1, {"status": "leave"})}
	result := dormant.finding with input as sample.given(idle(over))
		with data.roster.workers as workers
		with data.access.config as sample.config
	result == set()
}

test_a_person_of_nobody_sleeps_as_well if {
	orphan := json.patch(sample.unit_of_nobody("human", used(over)), [{
		"op": "replace",
		"path": "/access/account/last_used_at",
		"value": over,
	}])
	count(found(orphan, sample.config)) == 1
}
