package access.rules.break_glass_used_test

import data.access.lib_test as sample
import data.access.rules.break_glass_used

found(unit, config) := result if {
	result := break_glass_used.finding with input as sample.given(unit) with data.access.config as config
}

codes(unit, config) := {finding.code | some finding in found(unit, config)}

emergency(access) := sample.unit_of_nobody("break_glass", access)

# Seven days before now, and a microsecond more.
limit := "2026-02-23T09:00:00.000000Z"

over := "2026-02-23T08:59:59.999999Z"

used(at) := emergency({"account": sample.item({"kind": "account", "last_used_at": at})})

test_a_use_within_the_window_is_found if {
	found(used(limit), sample.config) == {{
		"access_id": "account",
		"code": "break_glass_used",
		"severity": "high",
		"effect": "review",
		"reason": "emergency access was last used on 2026-02-23: account for it, and rotate what was used",
	}}
	found(used(over), sample.config) == set()
}

test_a_provider_may_have_a_window_of_its_own if {
	config := sample.differing("break_glass_used", {"window_days": 6})
	found(used(limit), config) == set()
}

test_unknown_use_is_no_use if {
	found(used(null), sample.config) == set()
}

test_everybody_else_may_work if {
	found(sample.changed(used(limit), "/principal/kind", "human"), sample.config) == set()
}

signed_in(until) := {"account": sample.account(true), "s": sample.session({
	"last_used_at": null,
	"expires_at": until,
})}

test_an_open_session_is_critical if {
	unit := sample.changed(emergency(signed_in(null)), "/access/account/last_used_at", over)
	found(unit, sample.config) == {{
		"access_id": "s",
		"code": "break_glass_used_now",
		"severity": "critical",
		"effect": "review",
		"reason": "somebody is signed in with emergency access: find out who, and why",
	}}
	open := sample.changed(unit, "/access/s/expires_at", "2026-03-02T09:00:00.000001Z")
	codes(open, sample.config) == {"break_glass_used_now"}
	found(sample.changed(unit, "/access/s/expires_at", "2026-03-02T09:00:00.000000Z"), sample.config) == set()
	found(sample.changed(unit, "/principal/kind", "human"), sample.config) == set()
}
