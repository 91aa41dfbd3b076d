# METADATA
# title: Whoever leaves soon is prepared for
# description: >-
#   A worker whose access ends within the configured number of days is announced, and what would wait for a human on
#   the day is given to one now.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: leaver_due
#   codes:
#     leaver_due: goes by itself when the instant comes; keep, once for each principal
#     leaver_due_owned: the worker only owns the principal; review, once
#     leaver_due_shared_credential: others depend on the credential; review
#     leaver_due_last_member: the group would lose its last member; review
#     leaver_due_break_glass: the principal is emergency access; review
#     leaver_due_in_doubt: an unclassified principal, or perhaps the same person under another record; review
#   severity: info
#   needs: item
#   controls: ["SOC2 CC6.2", "ISO 27001 A.5.18", "NIST AC-2(3)"]
#   remediation: >-
#     Name new owners and members, rotate what is shared and decide what is in doubt, so that nothing but what goes by
#     itself is left on the day.
#   notes: |-
#     Nothing is taken away before the instant: this rule asks for `keep` or `review` and cannot ask for more. `plan
#     --at INSTANT` shows what the day will bring, and `armed` in the JSON document of a cycle says who leaves next.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.leaver_due

import data.access.lib
import data.access.lib.leaving

id := "leaver_due"

days_ahead := lib.setting("leaver_due", "days_ahead", data.access.config.leaver_due.days_ahead)

due if {
	lib.worker.access_end_at != null
	not lib.gone
	lib.instant(lib.worker.access_end_at) - input.now_ns <= days_ahead * lib.nanoseconds_per_day
}

# Goes by itself when the instant comes: told, and asked of nobody.
finding contains {
	"access_id": access_id,
	"code": "leaver_due",
	"severity": "info",
	"effect": "keep",
	"reason": sprintf("access ends on %s: nothing is to be done about what goes by itself", [ends]),
} if {
	due
	not leaving.owned
	some access_id in lib.representatives
}

finding contains {
	"access_id": access_id,
	"code": codes[doubt],
	"severity": "medium",
	"effect": "review",
	"reason": sprintf("access ends on %s: %s", [ends, explanations[doubt]]),
} if {
	due
	not leaving.owned
	some access_id, item in input.unit.access
	item.direct != false
	doubt := leaving.doubt(item)
	doubt != "none"
}

finding contains {
	"access_id": access_id,
	"code": "leaver_due_owned",
	"severity": "medium",
	"effect": "review",
	"reason": sprintf("the owner's access ends on %s: name the next owner", [ends]),
} if {
	due
	leaving.owned
	some access_id in lib.representatives
}

ends := lib.day(lib.worker.access_end_at) if due

codes := {
	"break_glass": "leaver_due_break_glass",
	"last_member": "leaver_due_last_member",
	"possible_rehire": "leaver_due_in_doubt",
	"shared_credential": "leaver_due_shared_credential",
	"unknown_kind": "leaver_due_in_doubt",
}

explanations := {
	"break_glass": "hand this emergency access over before",
	"last_member": "the worker is the last member: name another one before",
	"possible_rehire": "another record may be the same person: decide before",
	"shared_credential": "others depend on this credential: rotate and hand it over before",
	"unknown_kind": "nobody has said what this principal is: classify it before",
}
