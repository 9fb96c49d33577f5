package events

// Kind is what sort of thing has happened.
type Kind string

// Kinds of events with their sentences. {name} stands for an attribute of the record; what is in
// brackets is left out if an attribute in it is lacking.
var Kinds = map[Kind]string{
	"started":  "{node} has started, version {version}",
	"stopping": "{node} was asked to stop",
	"stopped":  "{node} has stopped",
	"ready":    "{node} serves users; members: {members}",
	"notready": "{node} serves no users[: {err}][, {why}]",
	"waiting":  "{node} is not ready yet: {why}",
	"paused":   "{node} did not run for over 2 s, and compares its sessions of {app} before it serves again",
	"draining": "{node} drains: its users go to other nodes",
	"undrain":  "{node} no longer drains: users may come",

	"joined":     "{member} has joined, at {addr}",
	"alive":      "{member} answers again",
	"suspect":    "{member} is suspect: {why}",
	"left":       "{member} has {why}",
	"gone":       "{member} is gone: {why}",
	"refused":    "a node was refused[: {member}] at {addr}: {err}",
	"turnedaway": "{node} was refused by the member at {addr}: {err}",
	"finding":    "members can't be found by {provider}: {err}",
	"found":      "members can be found by {provider} again",

	"repaired": "a comparison with other members brought {sessions} sessions of {app} to what they are there",

	"catalog":     "{operator} changed what the cluster hosts: app {app}[, version {version}]",
	"deployed":    "app {app}[, version {version}] was deployed on {node}[ in {dur}]",
	"notdeployed": "app {app} is not served by {node}: {err}",
	"notreplaced": "app {app} was not redeployed on {node}, the revision before serves: {err}",
	"serves":      "app {app} serves users on {node}, with {sessions} sessions",
	"halted":      "app {app} is stopped on {node} by an operator, with {sessions} sessions",
	"resumed":     "app {app} is started on {node} by an operator, with {sessions} sessions",
	"undeploying": "app {app} is being undeployed from {node}: {why}",
	"undeployed":  "app {app} was undeployed from {node}",
	"ended":       "no other member hosts app {app}: its {sessions} sessions have ended",

	"change": "{actor}: {action}, {result}",
	"conf":   "{node} has read anew: {what}",
}
