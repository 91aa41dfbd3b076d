# METADATA
# title: What a leaver owned is rotated and handed over
# description: >-
#   Service and shared principals, and others that a worker answers for without being them, are handed over when that
#   worker has left. Their credentials are rotated, because whoever left may know them. Nothing of it is deleted.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: owner_left
#   codes:
#     owner_left: the account or a grant of what the worker owned; review
#     owner_left_credential: a key or other secret that the worker may know; review, critical
#     owner_left_of_several: several workers answer for a machine and one of them has left; review, once
#   severity: high
#   needs: item
#   controls: ["SOC2 CC6.2", "SOC2 CC6.3", "ISO 27001 A.5.17", "ISO 27001 A.5.18", "NIST AC-2(3)", "NIST IA-5"]
#   remediation: >-
#     Rotate each credential, then name the new owner (owner tag at the provider, or the explicit map). The finding is
#     gone in the next cycle.
#   notes: |-
#     Who owns what comes from owner and created-by tags and attributes, and from the explicit map: see the page of
#     each provider. Whether a principal is owned or is the worker is the correlation's `identity`. The planner never
#     acts on these: an account of a machine is `not_personal`, an owner is `not_identity`.
#
#     **No finding:** a grant held through something else, and a disabled account. A disabled key is found: it can be
#     enabled again.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.owner_left

import data.access.lib
import data.access.lib.leaving

id := "owner_left"

finding contains {
	"access_id": access_id,
	"code": verdict.code,
	"severity": verdict.severity,
	"effect": "review",
	"reason": sprintf("its owner left on %s: %s", [lib.day(lib.worker.access_end_at), verdict.reason]),
} if {
	lib.gone
	leaving.owned
	some access_id, item in input.unit.access
	not leaving.settled(item, "review")
	verdict := judged(item)
}

# Several answer for it, and one of those has left.
finding contains {
	"access_id": access_id,
	"code": "owner_left_of_several",
	"severity": "high",
	"effect": "review",
	"reason": sprintf("an owner has left (%s): rotate what they know, and name who answers", [concat(", ", gone)]),
} if {
	input.unit.worker_id == null
	input.unit.principal.kind in lib.machine_kinds
	count(gone) > 0
	some access_id in lib.representatives
}

gone contains candidate if {
	some candidate in input.unit.candidates
	lib.left(data.roster.workers[candidate])
}

judged(item) := {
	"code": "owner_left_credential",
	"severity": "critical",
	"reason": "they may know this secret: rotate it and hand it over",
} if {
	item.type == "credential"
	not lib.is_account(item)
} else := {
	"code": "owner_left",
	"severity": "high",
	"reason": "name who answers for it now",
}
