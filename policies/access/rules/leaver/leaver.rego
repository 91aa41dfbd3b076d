# METADATA
# title: Leavers keep no access
# description: >-
#   A worker whose access has ended holds no live access. What the worker only owned, what others depend on, and
#   whatever leaves a doubt about the person goes to a human instead.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: leaver
#   codes:
#     - leaver_ambiguous
#     - leaver_break_glass
#     - leaver_key_elsewhere
#     - leaver_last_member
#     - leaver_owned
#     - leaver_possible_rehire
#     - leaver_shared_credential
#     - leaver_unknown_kind
#   severity: critical
#   needs: item
#   controls: ["SOC2 CC6.2", "ISO 27001 A.5.18", "NIST AC-2(3)"]
#   remediation: >-
#     Take the access away. Rotate and hand over what the worker owned or shared; name a new member before the last
#     one goes.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.leaver

import data.access.lib

id := "leaver"

account_effect := data.access.config.leaver.account_effect

finding contains {
	"access_id": access_id,
	"code": verdict,
	"severity": "critical",
	"effect": effect(item, verdict),
	"reason": sprintf("access ended on %s: %s", [lib.day(lib.worker.access_end_at), explanations[verdict]]),
} if {
	lib.left(lib.worker)
	some access_id, item in input.unit.access
	not settled(item)
	verdict := code(item)
}

# Several workers match, or only a name does, and one of those has left: one finding for the principal.
finding contains {
	"access_id": access_id,
	"code": "leaver_ambiguous",
	"severity": "critical",
	"effect": "review",
	"reason": sprintf("may belong to a worker who has left (%s): decide whose it is", [concat(", ", suspects)]),
} if {
	input.unit.worker_id == null
	count(suspects) > 0
	some access_id in lib.representatives
}

# Whoever left and kept the private half of a key signs in wherever the public half stands.
finding contains {
	"access_id": access_id,
	"code": "leaver_key_elsewhere",
	"severity": "critical",
	"effect": "review",
	"reason": sprintf("the public key of a worker who has left (%s) stands here: take it away", [concat(", ", gone)]),
} if {
	some access_id, item in input.unit.access
	gone := {holder | some holder in item.key_of; lib.left(data.roster.workers[holder])}
	count(gone) > 0
}

suspects := {candidate | some candidate in input.unit.candidates; lib.left(data.roster.workers[candidate])}

# A grant held through something else goes away with the direct one.
settled(item) if {
	item.type == "grant"
	item.direct == false
}

# A disabled account is where quarantine leads; only `revoke` goes on to delete it.
settled(item) if {
	lib.is_account(item)
	item.enabled == false
	account_effect != "revoke"
}

# The first that holds: doubts about the principal and the person come before doubts about the item.
code(item) := "leaver_break_glass" if {
	input.unit.principal.kind == "break_glass"
} else := "leaver_unknown_kind" if {
	input.unit.principal.kind == "unknown"
} else := "leaver_owned" if {
	input.unit.principal.kind in {"service", "shared"}
} else := "leaver_owned" if {
	input.unit.correlation.identity == false
} else := "leaver_possible_rehire" if {
	lib.worker.possible_rehire == true
} else := item_code(item)

item_code(item) := "leaver_shared_credential" if {
	item.shared == true
} else := "leaver_last_member" if {
	item.kind == "group_membership"
	item.holders == 1
} else := "leaver"

effect(item, "leaver") := account_effect if lib.is_account(item)

effect(item, "leaver") := "revoke" if not lib.is_account(item)

effect(_, verdict) := "review" if verdict != "leaver"

explanations := {
	"leaver": "the worker has left and still holds this",
	"leaver_break_glass": "emergency access of a worker who has left: hand it over",
	"leaver_last_member": "the worker who has left is the last member: name another one before it goes",
	"leaver_owned": "owned by a worker who has left: rotate it and hand it over",
	"leaver_possible_rehire": "the worker has left, yet another record may be the same person: decide first",
	"leaver_shared_credential": "others depend on this credential of a worker who has left: rotate and hand it over",
	"leaver_unknown_kind": "nobody has said what this principal of a worker who has left is: classify it first",
}
