# Who may ask the policy engine beside the daemon what. Given to it as a file at its start: never part of the policies
# that decide, and out of reach of what the daemon may write. Without the variable nobody is let in.
package system.authz

default allow := false

# Health is for everybody: it says nothing else.
allow if {
	input.method == "GET"
	input.path == ["health"]
}

# The daemon writes and reads back its policies, their thresholds, the roster and the waivers, and asks for decisions.
allow if {
	daemon
	input.path[0] == "v1"
	input.path[1] == "data"
	input.path[2] in {"access", "roster", "waivers"}
}

# Every module can be read, so that a foreign one is found.
allow if {
	daemon
	input.method == "GET"
	array.slice(input.path, 0, 2) == ["v1", "policies"]
}

allow if {
	daemon
	input.method in {"PUT", "DELETE"}
	array.slice(input.path, 0, 2) == ["v1", "policies"]
	startswith(concat("/", array.slice(input.path, 2, count(input.path))), "access/")
}

daemon if crypto.sha256(input.identity) == opa.runtime().env.ACCESS_RECONCILER_TOKEN_SHA256
