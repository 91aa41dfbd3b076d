# METADATA
# title: Somebody's access ends, or has ended
# description: >-
#   What the rules about leavers share: which principals are the worker's own, what leaves a doubt, and what is asked.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
package access.lib.leaving

import data.access.lib

# As in `lib`, whose rules the in-process engine does not work out from within a function of another package.
worker := data.roster.workers[input.unit.worker_id] if input.unit.correlation.state == "matched"

# The worker answers for the principal and is not it: it is handed over, never taken away.
owned if input.unit.principal.kind in lib.machine_kinds

owned if {
	input.unit.correlation.identity == false
	not input.unit.principal.kind in {"break_glass", "unknown"}
}

# What stands between an access item and its removal. The first that holds: doubts about the principal and the person
# come before doubts about the item.
doubt(item) := "break_glass" if {
	input.unit.principal.kind == "break_glass"
} else := "unknown_kind" if {
	input.unit.principal.kind == "unknown"
} else := "possible_rehire" if {
	worker.possible_rehire == true
} else := item_doubt(item)

item_doubt(item) := "shared_credential" if {
	item.shared == true
} else := "last_member" if {
	item.kind == "group_membership"
	item.holders == 1
} else := "none"

explanations := {
	"none": "the worker has left and still holds this",
	"break_glass": "emergency access of a worker who has left: hand it over",
	"last_member": "the worker who has left is the last member: name another one before it goes",
	"possible_rehire": "the worker has left, yet another record may be the same person: decide first",
	"shared_credential": "others depend on this credential of a worker who has left: rotate and hand it over",
	"unknown_kind": "nobody has said what this principal of a worker who has left is: classify it first",
}

# What is asked for an access item, of the effects at once and after the grace period.
asked(item, effects) := effects.account_after_grace if {
	lib.is_account(item)
	graced(effects)
} else := effects.account if {
	lib.is_account(item)
} else := effects.item_after_grace if {
	graced(effects)
} else := effects.item

graced(effects) if lib.older(worker.access_end_at, effects.grace_days)

# A grant held through something else goes away with the direct one.
settled(item, _) if {
	item.type == "grant"
	item.direct == false
}

# A disabled account is where quarantine leads; only `revoke` goes on to delete it.
settled(item, effect) if {
	lib.is_account(item)
	item.enabled == false
	effect != "revoke"
}
