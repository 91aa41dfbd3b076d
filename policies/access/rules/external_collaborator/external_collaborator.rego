# METADATA
# title: Access from outside has an end and a sponsor
# description: >-
#   People from outside are counted; those with administrator rights, without an end of their access or without
#   anybody who answers for them are given to a human. From outside is who the provider calls external, whose mail is
#   at none of the home domains, or whose kind in the roster is among those configured.
# schemas:
#   - input: schema["rule_input.schema"]
#   - data.roster.workers: schema["workers.schema"]
#   - data.access.config: schema["config.schema"]
# custom:
#   code: external_collaborator
#   codes:
#     external_collaborator: somebody from outside has access; keep, so that they are counted
#     external_collaborator_privileged: and administrator rights; critical; the effect is that of the settings
#     external_collaborator_no_end: the roster gives no end of access; the effect is that of the settings
#     external_collaborator_no_sponsor: the roster names no manager; the effect is that of the settings
#   severity: info
#   needs: item
#   controls: ["SOC2 CC6.2", "SOC2 CC6.3", "ISO 27001 A.5.19", "NIST AC-2(3)", "NIST AC-6"]
#   remediation: >-
#     Put an end and a manager into HR for them, take administrator rights away, or end the collaboration.
#   notes: |-
#     Somebody from outside who matches no worker is the rule [orphan](orphan.md)'s; here they are only counted. Mail
#     domains are compared when the question is put to the policies: no address ever reaches a rule. As it comes no
#     home domain is set, so mail says nothing.
#   effective_on: "2026-01-01T00:00:00Z"
package access.rules.external_collaborator

import data.access.lib

id := "external_collaborator"

effect := lib.setting("external_collaborator", "effect", data.access.config.external_collaborator.effect)

worker_kinds := lib.setting(
	"external_collaborator",
	"worker_kinds",
	data.access.config.external_collaborator.worker_kinds,
)

external if input.unit.principal.kind == "external"

external if {
	input.unit.principal.kind in {"human", "unknown"}
	input.unit.principal.home_mail == false
}

external if {
	input.unit.correlation.identity
	lib.worker.kind in worker_kinds
}

finding contains {
	"access_id": access_id,
	"code": verdict.code,
	"severity": verdict.severity,
	"effect": verdict.effect,
	"reason": verdict.reason,
} if {
	external
	not lib.gone
	some verdict in verdicts
	some access_id in lib.representatives
}

verdicts contains {
	"code": "external_collaborator",
	"severity": "info",
	"effect": "keep",
	"reason": "somebody from outside has access",
}

verdicts contains {
	"code": "external_collaborator_privileged",
	"severity": "critical",
	"effect": effect,
	"reason": "somebody from outside has administrator rights",
} if {
	input.unit.principal.privileged
}

verdicts contains {
	"code": "external_collaborator_no_end",
	"severity": "medium",
	"effect": effect,
	"reason": "nobody has said until when somebody from outside has access: set an end in HR",
} if {
	lib.worker.access_end_at == null
}

verdicts contains {
	"code": "external_collaborator_no_sponsor",
	"severity": "medium",
	"effect": effect,
	"reason": "nobody of the house answers for somebody from outside: name a manager in HR",
} if {
	lib.worker.manager == null
}
