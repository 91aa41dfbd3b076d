# METADATA
# title: Leavers keep no access
# description: >-
#   A worker whose access has ended holds no live access. What others depend on, and whatever leaves a doubt about the
#   person, goes to a human instead. What the worker only owned is the rule owner_left's, and a contract that merely
#   ran out is contractor_ended's.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: leaver
#   codes:
#     leaver: nothing below applies; the effect is that of the settings
#     leaver_break_glass: the principal is emergency access; review
#     leaver_unknown_kind: nobody has said what the principal is; review
#     leaver_possible_rehire: another roster record may be the same person; review
#     leaver_shared_credential: others depend on the credential; review
#     leaver_last_member: the group would lose its last member; review
#     leaver_ambiguous: several workers match, or only a name does, and one has left; review, once
#     leaver_key_elsewhere: a public key of a worker who has left, on a principal that is not theirs; review
#   severity: critical
#   needs: item
#   controls: ["SOC2 CC6.2", "ISO 27001 A.5.18", "NIST AC-2(3)"]
#   remediation: >-
#     Let the daemon take the access away, or do it by hand. Rotate and hand over what others depend on; name a new
#     member before the last one goes.
#   notes: |-
#     **Who is a leaver.** A worker whose `access_end_at` in the roster has come, to the microsecond. The instant is
#     computed when the roster is read, from the last day and its time zone. A status of `terminated` without an end
#     is no leaver, and neither is anybody who is missing from the roster.
#
#     Of the codes, the first that applies wins, from top to bottom after `leaver`: doubts about the principal come
#     before doubts about the item.
#
#     **At once, and after the grace.** The settings say what is asked from the end of access on, and what from
#     `grace_days` later. An account that is suspended at once can so be deleted a month later, without anybody
#     remembering it: set `account_effect_after_grace` to `revoke`. As it comes, no account is ever deleted.
#
#     **One key, many copies.** A public key that stands on a leaver's principal and elsewhere is not shared: each
#     copy is an object of its own. The leaver's copy goes, and each copy on a principal of somebody else is a
#     `leaver_key_elsewhere` until it is gone. Who held which key is remembered from every cycle, because whoever
#     takes a key off a principal keeps its private half. Until then the verdict on that leaver is `violation`. One
#     object with several holders, and whatever the provider marks as shared, is for a human.
#
#     **No finding:** a grant held through something else (it goes with the direct one), and a disabled account unless
#     `revoke` is asked for it. Disabled keys are found: they can be enabled again.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.leaver

import data.access.lib
import data.access.lib.leaving

id := "leaver"

effects := {
	"account": lib.setting("leaver", "account_effect", usual.account_effect),
	"item": lib.setting("leaver", "item_effect", usual.item_effect),
	"grace_days": lib.setting("leaver", "grace_days", usual.grace_days),
	"account_after_grace": lib.setting("leaver", "account_effect_after_grace", usual.account_effect_after_grace),
	"item_after_grace": lib.setting("leaver", "item_effect_after_grace", usual.item_effect_after_grace),
}

usual := data.access.config.leaver

finding contains {
	"access_id": access_id,
	"code": codes[doubt],
	"severity": "critical",
	"effect": effect,
	"reason": sprintf("access ended on %s: %s", [lib.day(lib.worker.access_end_at), leaving.explanations[doubt]]),
} if {
	lib.gone
	not lib.lapsed(lib.worker)
	not leaving.owned
	some access_id, item in input.unit.access
	doubt := leaving.doubt(item)
	not leaving.settled(item, leaving.asked(item, effects))
	effect := wanted(item, doubt)
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
	not input.unit.principal.kind in lib.machine_kinds
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
	count(item.key_of) > 0
	gone := {holder | some holder in item.key_of; lib.left(data.roster.workers[holder])}
	count(gone) > 0
}

suspects contains candidate if {
	some candidate in input.unit.candidates
	lib.left(data.roster.workers[candidate])
}

wanted(item, "none") := leaving.asked(item, effects)

wanted(_, doubt) := "review" if doubt != "none"

codes := {
	"none": "leaver",
	"break_glass": "leaver_break_glass",
	"last_member": "leaver_last_member",
	"possible_rehire": "leaver_possible_rehire",
	"shared_credential": "leaver_shared_credential",
	"unknown_kind": "leaver_unknown_kind",
}
