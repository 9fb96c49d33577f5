// Package conf reads the configuration of a node: from a TOML file, the
// environment and the command line to a config.Config. It is the only package
// that knows viper.
//
// # Layers
//
// Later ones win, key by key:
//
//	default      nodeserver.toml, built in: every key, its default, a comment
//	file         TOML; relative paths in it are relative to its folder
//	environment  NODESERVER_SECTION_KEY; lists separated by commas; empty counts as unset
//	--set        section.key=value, as in the environment
//
// Settings of single webapps ([[app]]) come from the file only. go-toml parses,
// since it knows where things stand; each value is converted to its Go type
// where it was read, so that a complaint can name the place; viper lays the
// typed layers over each other and fills the struct. (Viper alone lower-cases
// the keys of maps, converts "soon" to false and 3 to 3ns, ignores keys it
// doesn't know, and knows no line numbers.)
//
// # What can go wrong
//
// Load gathers every problem of all layers and returns them together as an
// *Error: one line each, with the place, the key and what to do:
//
//	conf/node1.toml:12:13: channel.heartbeat: "soon" is not a duration (like 250ms)
//	conf/node1.toml:9:1: channel.hartbeat: unknown key (did you mean channel.heartbeat?)
//	NODESERVER_HTTP_ADDRESS: http.address: ":99999": the port must be 0 to 65535
//	--set replication.acks=some: "some" is none of async, one, majority, all
//
// A problem with a key points at the key, one with a value at the value. What
// is allowed but looks wrong is a warning, in Origins.
//
// Load looks at the texts only: it opens no file but the one it is given, no
// socket and no interface. Whether a certificate can be read or a port is free
// turns out when the server starts.
//
// The function holds no state and may be called from any goroutine.
package conf
