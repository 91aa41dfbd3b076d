package access.rules.stale_credential_test

import data.access.lib_test as sample
import data.access.rules.stale_credential

found(unit) := result if {
	result := stale_credential.finding with input as sample.given(unit)
		with data.access.config as sample.config
}

verdicts(changes) := {[finding.code, finding.reason] |
	some finding in found(sample.unit_of("E1", {"key": sample.item(changes)}))
}

# 91 days and 90 days before now.
long_ago := "2025-12-01T09:00:00.000000Z"

limit := "2025-12-02T09:00:00.000000Z"

test_an_unused_credential_is_found if {
	found(sample.unit_of("E1", {"key": sample.item({"last_used_at": long_ago})})) == {{
		"access_id": "key",
		"code": "stale_credential",
		"severity": "medium",
		"effect": "review",
		"reason": "unused since 2025-12-01, longer than 90 days",
	}}
}

test_the_limit_itself_is_not_over_it if {
	verdicts({"last_used_at": limit}) == set()
}

test_a_credential_never_used_counts_from_its_creation if {
	verdicts({"last_used_at": null, "created_at": long_ago}) == {[
		"stale_credential_never_used",
		"never used since 2025-12-01, longer than 90 days",
	]}
	verdicts({"last_used_at": null, "created_at": limit}) == set()
}

test_recent_use_outweighs_age if {
	verdicts({"created_at": long_ago}) == set()
}

test_an_unknown_age_is_no_finding if {
	verdicts({"last_used_at": null, "created_at": null}) == set()
}

test_only_configured_kinds_that_are_not_disabled_count if {
	verdicts({"last_used_at": long_ago, "enabled": false}) == set()
	verdicts({"last_used_at": long_ago, "kind": "mfa_device"}) == set()
	verdicts({"last_used_at": long_ago, "type": "grant"}) == set()
	count(verdicts({"last_used_at": long_ago, "enabled": null})) == 1
}

test_break_glass_is_idle_on_purpose if {
	unit := json.patch(
		sample.unit_of("E1", {"key": sample.item({"last_used_at": long_ago})}),
		[{"op": "replace", "path": "/principal/kind", "value": "break_glass"}],
	)
	found(unit) == set()
}

test_a_provider_may_have_limits_of_its_own if {
	unit := sample.unit_of("E1", {"key": sample.item({}), "ssh": sample.item({"kind": "ssh_key", "last_used_at": limit})})
	result := stale_credential.finding with input as sample.given(unit)
		with data.access.config as sample.differing("stale_credential", {
			"effect": "revoke",
			"max_idle_days": 30,
			"kinds": ["ssh_key"],
		})
	{[finding.access_id, finding.effect] | some finding in result} == {["ssh", "revoke"]}
}
