package access.rules.separation_of_duties_test

import data.access.lib_test as sample
import data.access.rules.separation_of_duties

found(unit, config) := result if {
	result := separation_of_duties.finding with input as sample.given(unit) with data.access.config as config
}

verdicts(unit) := {[finding.access_id, finding.code] | some finding in found(unit, sample.config)}

role(name) := sample.membership({"role": name})

both := {"a": role("pay"), "b": role("approve"), "c": role("else"), "key": sample.item({"role": "pay"})}

test_both_sides_in_one_hand if {
	found(sample.unit_of("E1", both), sample.config) == {{
		"access_id": "a",
		"code": "separation_of_duties",
		"severity": "high",
		"effect": "review",
		"reason": concat(" ", [
			"must not be held beside another entitlement of the same person:",
			"approve (two pairs of eyes)",
		]),
	}}
}

test_one_side_alone_is_fine if {
	verdicts(sample.unit_of("E1", {"a": role("pay")})) == set()
	verdicts(sample.unit_of("E1", {"b": role("approve")})) == set()
}

test_the_other_side_may_be_elsewhere if {
	unit := sample.changed(sample.unit_of("E1", {"a": role("pay")}), "/held_elsewhere", ["approve"])
	verdicts(unit) == {["a", "separation_of_duties_across"]}
	verdicts(sample.changed(unit, "/held_elsewhere", ["else"])) == set()
}

test_an_entitlement_may_be_named_with_its_provider if {
	verdicts(sample.unit_of("E1", {"a": role("pay"), "b": role("audit")})) == {["a", "separation_of_duties"]}
	unit := sample.unit_of("E1", {"a": role("pay"), "b": role("audit")})
	verdicts(sample.changed(unit, "/principal/provider", "corp-ldap")) == set()
}

test_every_conflict_is_named_once if {
	unit := sample.unit_of("E1", {"a": role("pay"), "b": role("audit"), "c": role("approve")})
	count(found(unit, sample.config)) == 1
	some finding in found(unit, sample.config)
	endswith(finding.reason, "approve (two pairs of eyes), corp-aws:audit (auditors do not pay)")
}

test_machines_have_no_duties if {
	verdicts(sample.changed(sample.unit_of("E1", both), "/principal/kind", "service")) == set()
}

test_without_conflicts_there_is_no_finding if {
	config := object.union(
		object.remove(sample.config, ["separation_of_duties"]),
		{"separation_of_duties": {"effect": "review", "conflicts": {}}},
	)
	found(sample.unit_of("E1", both), config) == set()
}

test_a_provider_may_have_an_effect_of_its_own if {
	config := sample.differing("separation_of_duties", {"effect": "revoke"})
	{finding.effect | some finding in found(sample.unit_of("E1", both), config)} == {"revoke"}
}
