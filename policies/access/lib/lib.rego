# METADATA
# title: What rules share
# description: Every helper looks at one unit, a principal with its access items, in `input.unit`.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
package access.lib

# The worker that the unit's principal belongs to; undefined when it is matched to nobody.
worker := data.roster.workers[input.unit.worker_id] if input.unit.correlation.state == "matched"

# The instant in nanoseconds; a malformed text is an error, which makes the unit undecided.
instant(text) := time.parse_rfc3339_ns(text)

# Written out: as a product it was multiplied anew for every unit.
nanoseconds_per_day := 86400000000000

# An instant that is known and has come. Unknown (null) has not.
passed(text) if {
	text != null
	instant(text) <= input.now_ns
}

# An instant that is known and lies more than so many days back. Exactly so many days are not more.
older(text, days) if {
	text != null
	input.now_ns - instant(text) > days * nanoseconds_per_day
}

# Whether somebody's access has ended.
left(someone) if passed(someone.access_end_at)

# Whether the unit's worker is known and has left; also to be negated, where a call with an unknown worker is undefined.
gone if left(worker)

# Whether it is a contract's end alone that says so, while HR does not call the worker terminated.
lapsed(someone) if {
	someone.status != "terminated"
	someone.access_end_rule != null
	startswith(someone.access_end_rule, "contract_end")
}

# The day of an instant in UTC, for reasons.
day(text) := substring(text, 0, 10)

# A threshold as it is for the unit's provider instance: another one where the config says so, else the usual one.
setting(section, key, usual) := other if {
	other := differing[section][key]
} else := usual

# What the config says of the unit's provider instance alone.
differing := data.access.config.providers[input.unit.principal.provider]

is_account(item) if {
	item.type == "credential"
	item.kind == "account"
}

# Somebody or something that is no person's: at most owned by a worker.
machine_kinds := {"service", "shared"}

# Under which an entitlement is named in the config: its role, alone or with the provider instance before it.
names(item) := {item.role, concat(":", [input.unit.principal.provider, item.role])} if item.type == "grant"

# When the principal or something of it was used, as far as anybody knows. The texts sort as the instants do.
uses contains input.unit.principal.last_used_at if input.unit.principal.last_used_at != null

uses contains item.last_used_at if {
	some item in input.unit.access
	item.last_used_at != null
}

# Where one finding has to stand for the whole principal: its accounts that are not disabled, or, when the provider
# shows no account at all, the first access item.
representatives contains access_id if {
	some access_id, item in input.unit.access
	is_account(item)
	item.enabled != false
}

representatives contains access_id if {
	accounts := [id | some id, item in input.unit.access; is_account(item)]
	count(accounts) == 0
	access_id := min(object.keys(input.unit.access))
}
