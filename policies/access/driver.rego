# METADATA
# title: The one entry point, every rule over every unit of a request
# description: >-
#   `decide` names each document that a decision rests on in its head, so that a missing one makes the decision
#   undefined instead of clean. The caller compares every echo with what it sent.
# schemas:
#   - input: schema["input.schema"]
#   - data.access.config: schema["config.schema"]
package access.driver

# METADATA
# entrypoint: true
decide := {
	"schema": "access.decision/v1",
	"cycle_id": input.cycle_id,
	"request_id": input.request_id,
	"now_ns": input.now_ns,
	"roster": data.roster.meta,
	"waivers": data.waivers.meta,
	"config": data.access.config.schema,
	"rules": rules,
	"evaluated": {key: count(unit.access) | some key, unit in input.units},
	"findings": {key: found | some key, unit in input.units; found := findings(unit)},
}

rules contains rule if data.access.rules[rule].id

# The context is bound before the comprehension: inside it, something missing would read as "no findings".
findings(unit) := found if {
	context := {"unit": unit, "now_ns": input.now_ns}
	found := of_one_unit with input as context
}

# All rules look at a unit under one context, so that what they share is worked out once.
of_one_unit contains stamped if {
	some rule
	some finding in data.access.rules[rule].finding
	stamped := object.union(finding, {"rule": rule})
}
