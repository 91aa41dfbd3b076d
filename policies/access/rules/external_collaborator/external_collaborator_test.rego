package access.rules.external_collaborator_test

import data.access.lib_test as sample
import data.access.rules.external_collaborator

workers := object.union(sample.workers, {
	"X1": object.union(sample.workers.E3, {"manager": "E1"}),
	"X2": object.union(sample.workers.E1, {"kind": "service_partner"}),
})

found(unit, config) := result if {
	result := external_collaborator.finding with input as sample.given(unit)
		with data.roster.workers as workers
		with data.access.config as config
}

codes(unit) := {finding.code | some finding in found(unit, sample.config)}

alive := {"account": sample.account(true)}

outside(worker_id) := sample.changed(sample.unit_of(worker_id, alive), "/principal/kind", "external")

test_people_from_outside_are_counted if {
	found(outside("X1"), sample.config) == {{
		"access_id": "account",
		"code": "external_collaborator",
		"severity": "info",
		"effect": "keep",
		"reason": "somebody from outside has access",
	}}
}

test_no_end_and_no_sponsor_are_told if {
	codes(outside("X2")) == {
		"external_collaborator",
		"external_collaborator_no_end",
		"external_collaborator_no_sponsor",
	}
	{[finding.severity, finding.effect] | some finding in found(outside("X2"), sample.config)} == {
		["info", "keep"],
		["medium", "review"],
	}
}

test_administrator_rights_are_critical if {
	unit := sample.changed(outside("X1"), "/principal/privileged", true)
	count(codes(unit)) == 2
	some finding in found(unit, sample.config)
	finding.code == "external_collaborator_privileged"
	finding.severity == "critical"
	finding.effect == "review"
}

test_mail_elsewhere_is_from_outside if {
	every kind in ["human", "unknown"] {
		unit := sample.changed(sample.unit_of("X1", alive), "/principal/kind", kind)
		codes(sample.changed(unit, "/principal/home_mail", false)) == {"external_collaborator"}
		codes(sample.changed(unit, "/principal/home_mail", true)) == set()
		codes(unit) == set()
	}
	machine := sample.changed(sample.unit_of("X1", alive), "/principal/kind", "service")
	codes(sample.changed(machine, "/principal/home_mail", false)) == set()
}

test_a_kind_of_worker_is_from_outside if {
	"external_collaborator" in codes(sample.unit_of("X2", alive))
	codes(sample.unit_of("E1", alive)) == set()
	codes(sample.changed(sample.unit_of("X2", alive), "/correlation/identity", false)) == set()
	config := sample.differing("external_collaborator", {"worker_kinds": []})
	found(sample.unit_of("X2", alive), config) == set()
}

test_a_stranger_is_only_counted if {
	codes(sample.unit_of_nobody("external", alive)) == {"external_collaborator"}
}

test_a_leaver_from_outside_is_the_leaver_rules if {
	codes(outside("E2")) == set()
}

test_a_provider_may_have_an_effect_of_its_own if {
	config := sample.differing("external_collaborator", {"effect": "quarantine"})
	{finding.effect | some finding in found(outside("X2"), config)} == {"keep", "quarantine"}
}
