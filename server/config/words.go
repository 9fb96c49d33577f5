package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Values that are one of few words have types of their own, so that code that reads one compares
// it with a constant. Their UnmarshalText refuses any other word and names those allowed; their
// Words are these, in the order in which people shall read them.

// Acks is what a write waits for. Empty, for an app: as [replication] says.
type Acks string

// What a write waits for, from nothing to all other members that host the app.
const (
	AcksAsync    Acks = "async"
	AcksOne      Acks = "one"
	AcksMajority Acks = "majority"
	AcksAll      Acks = "all"
)

// Words are the values allowed.
func (Acks) Words() []string { return words(AcksAsync, AcksOne, AcksMajority, AcksAll) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Acks) UnmarshalText(text []byte) error { return read(a, text) }

// OnAckTimeout is what becomes of a write that too few members have applied in time.
type OnAckTimeout string

// Its user is answered as if they had, or that they have not.
const (
	Proceed OnAckTimeout = "proceed"
	Fail    OnAckTimeout = "fail"
)

// Words are the values allowed.
func (OnAckTimeout) Words() []string { return words(Proceed, Fail) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *OnAckTimeout) UnmarshalText(text []byte) error { return read(o, text) }

// JoinPolicy is what a node does that can't get the sessions from the others in join_timeout.
type JoinPolicy string

// It goes on waiting, or serves without them.
const (
	JoinWait  JoinPolicy = "wait"
	JoinServe JoinPolicy = "serve"
)

// Words are the values allowed.
func (JoinPolicy) Words() []string { return words(JoinWait, JoinServe) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (j *JoinPolicy) UnmarshalText(text []byte) error { return read(j, text) }

// Level is the level that the word stands for.
func (l LogLevel) Level() (level slog.Level) {
	_ = level.UnmarshalText([]byte(l)) // a LogLevel is one of its words, which slog knows
	return level
}

// Freshness is whether users carry what they have seen from node to node.
type Freshness string

// They do, or they don't.
const (
	FreshnessOn  Freshness = "on"
	FreshnessOff Freshness = "off"
)

// Words are the values allowed.
func (Freshness) Words() []string { return words(FreshnessOn, FreshnessOff) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Freshness) UnmarshalText(text []byte) error { return read(f, text) }

// AccessLog is whether, and how, a line is written for each request.
type AccessLog string

// None is, or one in the common log format with more at its end, or one in JSON.
const (
	AccessOff    AccessLog = "off"
	AccessCommon AccessLog = "common"
	AccessJSON   AccessLog = "json"
)

// Words are the values allowed.
func (AccessLog) Words() []string { return words(AccessOff, AccessCommon, AccessJSON) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *AccessLog) UnmarshalText(text []byte) error { return read(a, text) }

// ProxyProtocol is whether trusted proxies say whose connections they pass on.
type ProxyProtocol string

// They don't, they may, or they must.
const (
	ProxyOff      ProxyProtocol = "off"
	ProxyOptional ProxyProtocol = "optional"
	ProxyRequired ProxyProtocol = "required"
)

// Words are the values allowed.
func (ProxyProtocol) Words() []string { return words(ProxyOff, ProxyOptional, ProxyRequired) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *ProxyProtocol) UnmarshalText(text []byte) error { return read(p, text) }

// SameSite is whether browsers send the cookie with requests that other sites begin.
type SameSite string

// With navigations by GET only, never, or always.
const (
	SameSiteLax    SameSite = "lax"
	SameSiteStrict SameSite = "strict"
	SameSiteNone   SameSite = "none"
)

// Words are the values allowed.
func (SameSite) Words() []string { return words(SameSiteLax, SameSiteStrict, SameSiteNone) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *SameSite) UnmarshalText(text []byte) error { return read(s, text) }

// Secure is whether browsers send the cookie over TLS only.
type Secure string

// For users who come over TLS, or for all.
const (
	SecureAuto   Secure = "auto"
	SecureAlways Secure = "always"
)

// Words are the values allowed.
func (Secure) Words() []string { return words(SecureAuto, SecureAlways) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secure) UnmarshalText(text []byte) error { return read(s, text) }

// Provider is a way to find members.
type Provider string

// The ways to find members, see package membership.
const (
	ProviderMDNS   Provider = "mdns"
	ProviderStatic Provider = "static"
	ProviderDNS    Provider = "dns"
	ProviderFile   Provider = "file"
)

// Words are the values allowed.
func (Provider) Words() []string {
	return words(ProviderMDNS, ProviderStatic, ProviderDNS, ProviderFile)
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Provider) UnmarshalText(text []byte) error { return read(p, text) }

// LogLevel is the least level that is logged.
type LogLevel string

// Levels, in the order of what they leave out.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// Words are the values allowed.
func (LogLevel) Words() []string { return words(LogDebug, LogInfo, LogWarn, LogError) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *LogLevel) UnmarshalText(text []byte) error { return read(l, text) }

// LogFormat is how lines of the log are written.
type LogFormat string

// For people, or for programs.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Words are the values allowed.
func (LogFormat) Words() []string { return words(LogText, LogJSON) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *LogFormat) UnmarshalText(text []byte) error { return read(l, text) }

func words[T ~string](all ...T) []string {
	list := make([]string, len(all))
	for i, w := range all {
		list[i] = string(w)
	}
	return list
}

// read sets a word, if it is one of those allowed.
func read[T interface {
	~string
	Words() []string
}](to *T, text []byte) error {
	allowed := (*to).Words()
	if !slices.Contains(allowed, string(text)) {
		return fmt.Errorf("%q is none of %s", text, strings.Join(allowed, ", "))
	}
	*to = T(text)
	return nil
}
