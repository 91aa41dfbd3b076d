# METADATA
# title: A contract that ran out gives no access
# description: >-
#   Somebody who is no employee, whose contract has ended by its date and whom HR has not called terminated, holds no
#   live access. Contracts are often prolonged late, so this rule has effects and a grace period of its own.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: contractor_ended
#   codes:
#     contractor_ended: nothing leaves a doubt; the effect is that of the settings
#     contractor_ended_in_doubt: shared, last member, emergency access, unclassified or perhaps rehired; review
#   severity: high
#   needs: item
#   controls: ["SOC2 CC6.2", "ISO 27001 A.5.18", "NIST AC-2(3)", "ISO 27001 A.5.19"]
#   remediation: >-
#     Ask whoever is responsible for the contract. Prolong it in HR if the work goes on, which ends the finding and,
#     by `undo`, the suspension; otherwise let the access go.
#   notes: |-
#     **Which contracts.** Those of workers whose end of access was computed from `contract_end_date` (see [the
#     roster](../roster.md)) and whose status is not `terminated`. Once HR says `terminated`, the rule
#     [leaver](leaver.md) takes over.
#
#     **At once, and after the grace.** To suspend a contractor at once and to take the access away only when nobody
#     has prolonged the contract for a month, set `item_effect` to `quarantine` and leave `item_effect_after_grace` at
#     `revoke`. As long as items are only suspended with their account the verdict on that worker is `violation`, for
#     they are still there.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.contractor_ended

import data.access.lib
import data.access.lib.leaving

id := "contractor_ended"

effects := {
	"account": lib.setting("contractor_ended", "account_effect", usual.account_effect),
	"item": lib.setting("contractor_ended", "item_effect", usual.item_effect),
	"grace_days": lib.setting("contractor_ended", "grace_days", usual.grace_days),
	"account_after_grace": lib.setting("contractor_ended", "account_effect_after_grace", usual.account_effect_after_grace),
	"item_after_grace": lib.setting("contractor_ended", "item_effect_after_grace", usual.item_effect_after_grace),
}

usual := data.access.config.contractor_ended

finding contains {
	"access_id": access_id,
	"code": verdict.code,
	"severity": "high",
	"effect": verdict.effect,
	"reason": sprintf("the contract ran out on %s: %s", [lib.day(lib.worker.access_end_at), verdict.reason]),
} if {
	lib.gone
	lib.lapsed(lib.worker)
	not leaving.owned
	some access_id, item in input.unit.access
	effect := leaving.asked(item, effects)
	not leaving.settled(item, effect)
	verdict := judged(leaving.doubt(item), effect)
}

judged("none", effect) := {
	"code": "contractor_ended",
	"effect": effect,
	"reason": "access stands on it no longer; prolong the contract in HR if work goes on",
}

judged(doubt, _) := {
	"code": "contractor_ended_in_doubt",
	"effect": "review",
	"reason": leaving.explanations[doubt],
} if {
	doubt != "none"
}
