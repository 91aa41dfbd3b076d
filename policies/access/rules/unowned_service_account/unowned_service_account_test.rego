package access.rules.unowned_service_account_test

import data.access.lib_test as sample
import data.access.rules.unowned_service_account

found(unit, config) := result if {
	result := unowned_service_account.finding with input as sample.given(unit) with data.access.config as config
}

alive := {"account": sample.account(true), "key": sample.item({})}

test_a_machine_of_nobody_is_found_once if {
	every kind in ["service", "shared"] {
		found(sample.unit_of_nobody(kind, alive), sample.config) == {{
			"access_id": "account",
			"code": "unowned_service_account",
			"severity": "high",
			"effect": "review",
			"reason": "no worker answers for this principal: name an owner",
		}}
	}
}

test_administrator_rights_make_it_critical if {
	unit := sample.changed(sample.unit_of_nobody("service", alive), "/principal/privileged", true)
	found(unit, sample.config) == {{
		"access_id": "account",
		"code": "unowned_service_account_privileged",
		"severity": "critical",
		"effect": "review",
		"reason": "no worker answers for this principal, which has administrator rights: name an owner",
	}}
}

test_a_provider_may_have_an_effect_of_its_own if {
	config := sample.differing("unowned_service_account", {"effect": "keep"})
	{finding.effect | some finding in found(sample.unit_of_nobody("service", alive), config)} == {"keep"}
}

test_an_owner_or_a_person_is_nothing_of_this_rule if {
	found(sample.changed(sample.unit_of("E1", alive), "/principal/kind", "service"), sample.config) == set()
	every kind in ["human", "external", "unknown", "break_glass"] {
		found(sample.unit_of_nobody(kind, alive), sample.config) == set()
	}
}
