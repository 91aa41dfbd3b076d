package access.rules.privileged_without_mfa_test

import data.access.lib_test as sample
import data.access.rules.privileged_without_mfa

found(unit, config) := result if {
	result := privileged_without_mfa.finding with input as sample.given(unit)
		with data.roster.workers as sample.workers
		with data.access.config as config
}

administrator(access) := json.patch(sample.unit_of("E1", access), [
	{"op": "replace", "path": "/principal/privileged", "value": true},
	{"op": "replace", "path": "/principal/mfa", "value": false},
])

alive := {"account": sample.account(true), "password": sample.item({"kind": "password"})}

test_a_password_alone_is_critical if {
	found(administrator(alive), sample.config) == {{
		"access_id": "account",
		"code": "privileged_without_mfa",
		"severity": "critical",
		"effect": "review",
		"reason": "a password alone opens administrator rights: register a second factor",
	}}
}

test_keys_alone_are_said_to_be_so if {
	keys := {"account": sample.account(true), "key": sample.item({})}
	off := {"account": sample.account(true), "password": sample.item({"kind": "password", "enabled": false})}
	every access in [keys, off] {
		{[finding.code, finding.severity] | some finding in found(administrator(access), sample.config)} == {[
			"privileged_without_mfa_no_password",
			"high",
		]}
	}
}

test_unknown_is_not_none if {
	found(sample.changed(administrator(alive), "/principal/mfa", null), sample.config) == set()
	found(sample.changed(administrator(alive), "/principal/mfa", true), sample.config) == set()
}

test_only_administrators_who_may_sign_in_count if {
	found(sample.changed(administrator(alive), "/principal/privileged", false), sample.config) == set()
	found(sample.changed(administrator(alive), "/principal/enabled", false), sample.config) == set()
	count(found(sample.changed(administrator(alive), "/principal/enabled", null), sample.config)) == 1
	count(found(sample.changed(administrator(alive), "/principal/kind", "external"), sample.config)) == 1
	every kind in ["service", "shared", "break_glass", "unknown"] {
		found(sample.changed(administrator(alive), "/principal/kind", kind), sample.config) == set()
	}
}

test_a_leaver_needs_no_second_factor if {
	found(sample.changed(administrator(alive), "/worker_id", "E2"), sample.config) == set()
}

test_a_provider_may_have_an_effect_of_its_own if {
	config := sample.differing("privileged_without_mfa", {"effect": "quarantine"})
	{finding.effect | some finding in found(administrator(alive), config)} == {"quarantine"}
}
