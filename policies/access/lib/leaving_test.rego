package access.lib.leaving_test

import data.access.lib.leaving
import data.access.lib_test as sample

of_kind(kind) := sample.changed(sample.unit_of("E2", {}), "/principal/kind", kind)

test_a_machine_is_owned if {
	every kind in ["service", "shared"] {
		leaving.owned with input as sample.given(of_kind(kind))
	}
	every kind in ["human", "external", "unknown", "break_glass"] {
		not leaving.owned with input as sample.given(of_kind(kind))
	}
}

test_an_owner_by_tag_is_no_identity if {
	every kind, expected in {"human": true, "external": true, "unknown": false, "break_glass": false} {
		unit := sample.changed(of_kind(kind), "/correlation/identity", false)
		count([1 | leaving.owned with input as sample.given(unit)]) == count([1 | expected])
	}
}

doubt(unit, item) := result if {
	result := leaving.doubt(item) with input as sample.given(unit) with data.roster.workers as sample.workers
}

test_doubts_come_in_order if {
	shared := sample.item({"shared": true})
	doubt(of_kind("break_glass"), shared) == "break_glass"
	doubt(of_kind("unknown"), shared) == "unknown_kind"
	doubt(sample.unit_of("E4", {}), shared) == "possible_rehire"
	doubt(sample.unit_of("E2", {}), shared) == "shared_credential"
	last := sample.membership({"holders": 1})
	doubt(sample.unit_of("E2", {}), last) == "last_member"
	doubt(sample.unit_of("E2", {}), sample.membership({})) == "none"
	doubt(sample.unit_of("E2", {}), sample.membership({"holders": null})) == "none"
	doubt(sample.unit_of("E2", {}), sample.membership({"kind": "attached_policy", "holders": 1})) == "none"
	every answer in ["break_glass", "unknown_kind", "possible_rehire", "shared_credential", "last_member", "none"] {
		leaving.explanations[answer]
	}
}

effects(days) := {
	"account": "quarantine",
	"item": "review",
	"grace_days": days,
	"account_after_grace": "revoke",
	"item_after_grace": "quarantine",
}

# E2's access ended 13 days and 18 hours before now.
asked(item, days) := result if {
	result := leaving.asked(item, effects(days)) with input as sample.given(sample.unit_of("E2", {}))
		with data.roster.workers as sample.workers
}

test_what_is_asked_grows_after_the_grace if {
	asked(sample.account(true), 14) == "quarantine"
	asked(sample.account(true), 13) == "revoke"
	asked(sample.item({}), 14) == "review"
	asked(sample.item({}), 13) == "quarantine"
}

test_what_is_settled if {
	leaving.settled(sample.membership({"direct": false}), "revoke")
	not leaving.settled(sample.membership({}), "revoke")
	not leaving.settled(sample.item({"direct": false}), "revoke")
	leaving.settled(sample.account(false), "quarantine")
	not leaving.settled(sample.account(false), "revoke")
	not leaving.settled(sample.account(true), "quarantine")
	not leaving.settled(sample.item({"enabled": false}), "quarantine")
}
