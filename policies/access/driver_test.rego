# The entry point is complete or undefined. It lives outside `access.rules`, where a test package would be a rule.
package access.driver_test

import data.access.driver
import data.access.lib_test as sample

meta := {"digest": "sha256:00", "count": 4}

config := object.union(sample.config, {"schema": "access.config/v1"})

request := {
	"schema": "access.request/v1",
	"cycle_id": "c",
	"request_id": "c/1",
	"now_ns": sample.now_ns,
	"units": {
		"leaver": sample.unit_of("E2", {"key": sample.item({})}),
		"active": sample.unit_of("E1", {"key": sample.item({})}),
	},
}

decided(asked, roster, waivers) := result if {
	result := driver.decide with input as asked
		with data.roster as roster
		with data.waivers as waivers
		with data.access.config as config
}

roster := {"meta": meta, "workers": sample.workers}

test_a_decision_echoes_what_it_rests_on if {
	decision := decided(request, roster, {"meta": meta})
	object.remove(decision, ["findings", "rules"]) == {
		"schema": "access.decision/v1",
		"cycle_id": "c",
		"request_id": "c/1",
		"now_ns": sample.now_ns,
		"roster": meta,
		"waivers": meta,
		"config": "access.config/v1",
		"evaluated": {"leaver": 1, "active": 1},
	}
}

test_the_rules_are_asked_and_their_tests_are_not if {
	decision := decided(request, roster, {"meta": meta})
	"leaver" in decision.rules
	every rule in decision.rules {
		not endswith(rule, "_test")
	}
}

# Of one rule alone, so that a rule that is added changes nothing here.
test_each_finding_carries_its_rule if {
	decision := decided(request, roster, {"meta": meta})
	[found.access_id | some found in decision.findings.leaver; found.rule == "leaver"] == ["key"]
	every found in decision.findings.active {
		found.rule != "leaver"
	}
}

test_a_missing_document_makes_the_decision_undefined if {
	not decided(request, {}, {"meta": meta})
	not decided(request, roster, {})
	every name in ["cycle_id", "request_id", "now_ns"] {
		not decided(object.remove(request, [name]), roster, {"meta": meta})
	}
}
