# Promises of the shared helpers, and the sample world that every rule's tests build upon.
package access.lib_test

import data.access.lib

# 2026-03-02T09:00:00Z
now_ns := 1772442000000000000

workers := {
	"E1": {
		"status": "active",
		"kind": "employee",
		"access_end_at": null,
		"access_end_rule": null,
		"manager": null,
		"department": null,
		"department_since": null,
		"former_departments": [],
		"possible_rehire": false,
	},
	"E2": {
		"status": "terminated",
		"kind": "employee",
		"access_end_at": "2026-02-16T15:00:00.000000Z",
		"access_end_rule": "last_day_inclusive:Asia/Tokyo",
		"manager": "E1",
		"department": "sales",
		"department_since": null,
		"former_departments": [],
		"possible_rehire": false,
	},
	"E3": {
		"status": "notice",
		"kind": "contractor",
		"access_end_at": "2026-03-02T09:00:00.000001Z",
		"access_end_rule": "last_day_inclusive:UTC",
		"manager": null,
		"department": null,
		"department_since": null,
		"former_departments": [],
		"possible_rehire": false,
	},
	"E4": {
		"status": "terminated",
		"kind": "employee",
		"access_end_at": "2026-02-16T15:00:00.000000Z",
		"access_end_rule": "last_day_inclusive:UTC",
		"manager": null,
		"department": null,
		"department_since": null,
		"former_departments": [],
		"possible_rehire": true,
	},
	"E5": {
		"status": "active",
		"kind": "contractor",
		"access_end_at": "2026-02-16T15:00:00.000000Z",
		"access_end_rule": "contract_end_inclusive:UTC",
		"manager": "E1",
		"department": "sales",
		"department_since": null,
		"former_departments": [],
		"possible_rehire": false,
	},
	"E6": {
		"status": "notice",
		"kind": "employee",
		"access_end_at": "2026-03-16T09:00:00.000000Z",
		"access_end_rule": "last_day_inclusive:UTC",
		"manager": "E1",
		"department": "sales",
		"department_since": null,
		"former_departments": [],
		"possible_rehire": false,
	},
}

# Thresholds of their own, so that a change of the real ones changes no test.
config := {
	"break_glass_used": {"window_days": 7},
	"contractor_ended": {
		"account_effect": "quarantine",
		"item_effect": "quarantine",
		"grace_days": 30,
		"account_effect_after_grace": "revoke",
		"item_effect_after_grace": "revoke",
	},
	"dormant": {
		"effect": "review",
		"max_idle_days": 60,
		"effect_after_grace": "quarantine",
		"grace_days": 30,
		"kinds": ["human", "external"],
		"statuses_left_out": ["leave"],
	},
	"leaver": {
		"account_effect": "quarantine",
		"item_effect": "revoke",
		"grace_days": 30,
		"account_effect_after_grace": "quarantine",
		"item_effect_after_grace": "revoke",
	},
	"external_collaborator": {"effect": "review", "home_domains": ["example.com"], "worker_kinds": ["service_partner"]},
	"leaver_due": {"days_ahead": 14},
	"mover": {
		"effect": "review",
		"grace_days": 30,
		"teams": {"sales": ["crm", "shared"], "support": ["corp-aws:tickets", "shared"]},
	},
	"privileged_without_mfa": {"effect": "review"},
	"separation_of_duties": {
		"effect": "review",
		"conflicts": {"pay": {"approve": "two pairs of eyes", "corp-aws:audit": "auditors do not pay"}},
	},
	"orphan": {"effect": "quarantine"},
	"stale_credential": {"effect": "review", "max_idle_days": 90, "kinds": ["access_key", "password"]},
	"unowned_service_account": {"effect": "review"},
	"providers": {},
}

# The thresholds with other ones for the sample provider.
differing(section, values) := object.union(config, {"providers": {"corp-aws": {section: values}}})

# An access item of any type with every key present.
item(changes) := object.union(
	{
		"type": "credential",
		"kind": "access_key",
		"enabled": true,
		"privileged": null,
		"direct": null,
		"role": null,
		"resource": null,
		"created_at": "2026-02-01T00:00:00.000000Z",
		"last_used_at": "2026-03-01T00:00:00.000000Z",
		"expires_at": null,
		"shared": false,
		"key_of": [],
		"holders": null,
		"live": true,
	},
	changes,
)

account(enabled) := item({"kind": "account", "enabled": enabled})

membership(changes) := item(object.union(
	{
		"type": "grant",
		"kind": "group_membership",
		"enabled": null,
		"privileged": false,
		"direct": true,
		"role": "developers",
		"resource": "123456789012",
		"last_used_at": null,
		"shared": null,
		"holders": 5,
	},
	changes,
))

principal(kind) := {
	"provider": "corp-aws",
	"provider_type": "aws_iam",
	"scope": "123456789012",
	"kind": kind,
	"enabled": true,
	"privileged": false,
	"mfa": null,
	"home_mail": null,
	"created_at": "2025-01-01T00:00:00.000000Z",
	"last_used_at": null,
	"whole": true,
	"was": [],
}

# A human principal that is one worker.
unit_of(worker_id, access) := {
	"principal": principal("human"),
	"worker_id": worker_id,
	"correlation": {"state": "matched", "rule": "employee_id", "confidence": 98, "identity": true},
	"candidates": [worker_id],
	"held_elsewhere": [],
	"access": access,
}

# A principal that is nobody's.
unit_of_nobody(kind, access) := {
	"principal": principal(kind),
	"worker_id": null,
	"correlation": {"state": "orphan", "rule": null, "confidence": 0, "identity": false},
	"candidates": [],
	"held_elsewhere": [],
	"access": access,
}

given(unit) := {"unit": unit, "now_ns": now_ns}

changed(unit, path, value) := json.patch(unit, [{"op": "replace", "path": path, "value": value}])

session(changes) := item(object.union({"type": "session", "kind": "session", "enabled": null, "shared": null}, changes))

test_worker_of_a_matched_principal if {
	lib.worker.department == "sales" with input as given(unit_of("E2", {})) with data.roster.workers as workers
}

test_no_worker_of_an_ambiguous_principal if {
	unit := object.union(unit_of("E2", {}), {"correlation": {"state": "ambiguous"}})
	not lib.worker with input as given(unit) with data.roster.workers as workers
}

test_an_instant_has_passed_from_its_first_nanosecond if {
	lib.passed("2026-03-02T09:00:00.000000Z") with input as given({})
	not lib.passed("2026-03-02T09:00:00.000001Z") with input as given({})
}

test_an_unknown_instant_has_not_passed if {
	not lib.passed(null) with input as given({})
}

test_only_an_ended_access_has_left if {
	lib.left(workers.E2) with input as given({})
	not lib.left(workers.E1) with input as given({})
	not lib.left(workers.E3) with input as given({})
}

test_only_a_known_worker_is_gone if {
	lib.gone with input as given(unit_of("E2", {})) with data.roster.workers as workers
	not lib.gone with input as given(unit_of("E1", {})) with data.roster.workers as workers
	not lib.gone with input as given(unit_of_nobody("human", {})) with data.roster.workers as workers
}

test_exactly_so_many_days_are_not_more if {
	not lib.older("2026-02-23T09:00:00.000000Z", 7) with input as given({})
	lib.older("2026-02-23T08:59:59.999999Z", 7) with input as given({})
	not lib.older(null, 7) with input as given({})
}

test_only_a_contracts_end_lapses if {
	lib.lapsed(workers.E5)
	not lib.lapsed(workers.E1)
	not lib.lapsed(workers.E2)
	not lib.lapsed(object.union(workers.E5, {"status": "terminated"}))
	not lib.lapsed(object.union(workers.E2, {"status": "active"}))
}

test_a_threshold_may_differ_by_provider if {
	lib.setting("orphan", "effect", "review") == "review" with input as given(unit_of("E1", {}))
		with data.access.config as config
	lib.setting("orphan", "effect", "review") == "keep" with input as given(unit_of("E1", {}))
		with data.access.config as differing("orphan", {"effect": "keep"})
	elsewhere := changed(unit_of("E1", {}), "/principal/provider", "corp-ldap")
	lib.setting("orphan", "effect", "review") == "review" with input as given(elsewhere)
		with data.access.config as differing("orphan", {"effect": "keep"})
}

test_an_entitlement_goes_by_role_and_by_provider if {
	lib.names(membership({"role": "pay"})) == {"pay", "corp-aws:pay"} with input as given(unit_of("E1", {}))
	not lib.names(item({"role": "pay"})) with input as given(unit_of("E1", {}))
}

test_every_use_that_is_known_counts if {
	unit := unit_of("E1", {
		"a": item({"last_used_at": "2026-02-01T00:00:00.000000Z"}),
		"b": item({"last_used_at": null}),
	})
	lib.uses == {"2026-02-01T00:00:00.000000Z"} with input as given(unit)
	seen := changed(unit, "/principal/last_used_at", "2026-02-02T00:00:00.000000Z")
	lib.uses == {"2026-02-01T00:00:00.000000Z", "2026-02-02T00:00:00.000000Z"} with input as given(seen)
}

test_day_of_an_instant if lib.day("2026-02-16T15:00:00.000000Z") == "2026-02-16"

test_only_the_standing_account_is_an_account if {
	lib.is_account(account(true))
	not lib.is_account(item({}))
	not lib.is_account(item({"kind": "account", "type": "grant"}))
}

test_representatives_are_the_accounts_that_are_not_disabled if {
	access := {"a": account(true), "b": account(null), "c": account(false), "d": item({})}
	lib.representatives == {"a", "b"} with input as given(unit_of("E1", access))
}

test_a_disabled_account_leaves_no_representative if {
	lib.representatives == set() with input as given(unit_of("E1", {"c": account(false), "d": item({})}))
}

test_the_first_item_represents_where_no_account_is_shown if {
	lib.representatives == {"k1"} with input as given(unit_of("E1", {"k2": item({}), "k1": item({})}))
	lib.representatives == set() with input as given(unit_of("E1", {}))
}
