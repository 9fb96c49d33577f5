package server

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// idBytes is the length of a session id: 160 random bits (OWASP asks for 64).
const idBytes = 20

// idText is its length as text; maxCookie bounds a cookie worth looking at.
var idText = base64.RawURLEncoding.EncodedLen(idBytes)

const maxCookie = 128

// newID draws a session id: the secret in a user's cookie.
func newID() string {
	var b [idBytes]byte
	rand.Read(b[:]) // never fails: it would end the process
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// tagOf is all that the cluster knows of an id: it finds the session, and can't
// be turned back.
func tagOf(id string) deltamanager.Tag {
	sum := sha256.Sum256([]byte(id))
	return deltamanager.Tag(sum[:16])
}

// splitID takes a cookie's value apart. The route is only ever used to find a
// node. False: no value of ours, not worth a look-up.
func splitID(value string) (id, route string, ok bool) {
	if len(value) < idText || len(value) > maxCookie {
		return "", "", false
	}
	id, rest := value[:idText], value[idText:]
	for i := range len(id) {
		if !idChar(id[i]) {
			return "", "", false
		}
	}
	if rest == "" {
		return id, "", true
	}
	return id, rest[1:], rest[0] == '.'
}

func idChar(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// cookieValues calls each with the values of all cookies of the name, in their
// order (a browser sends the one with the longest path first), until it reports true.
func cookieValues(h http.Header, name string, each func(string) bool) {
	for _, line := range h["Cookie"] {
		for line != "" {
			var part string
			part, line, _ = strings.Cut(line, ";")
			n, value, ok := strings.Cut(strings.Trim(part, " \t"), "=")
			if ok && n == name && each(strings.Trim(value, `"`)) {
				return
			}
		}
	}
}

// cookieName is the configured name; where browsers accept the prefix (over
// TLS, with path "/") it says __Host-, so that no other host of the domain can
// plant one (RFC 6265bis, part 4.1.3).
func cookieName(c Config, path string) string {
	if c.HTTP.TLSCert != "" && path == "/" {
		return "__Host-" + c.Sessions.CookieName
	}
	return c.Sessions.CookieName
}

// setCookie gives the user an id; an empty one takes it away.
func (a *app) setCookie(h http.Header, id string) {
	c := http.Cookie{Name: a.cookie, Path: a.path, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: a.secure}
	if id == "" {
		c.MaxAge = -1
	} else {
		c.Value = id + "." + a.node
	}
	h.Add("Set-Cookie", c.String())
	if h.Get("Cache-Control") == "" { // a shared cache must not give one user's cookie to another
		h.Set("Cache-Control", `no-cache="Set-Cookie, Set-Cookie2"`)
	}
}
