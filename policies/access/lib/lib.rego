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

# An instant that is known and has come. Unknown (null) has not.
passed(text) if {
	text != null
	instant(text) <= input.now_ns
}

# Whether somebody's access has ended.
left(someone) if passed(someone.access_end_at)

# The day of an instant in UTC, for reasons.
day(text) := substring(text, 0, 10)

is_account(item) if {
	item.type == "credential"
	item.kind == "account"
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
