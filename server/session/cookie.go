package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/maphash"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/forward"
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
func cookieHash(id string) deltamanager.CookieHash {
	sum := sha256.Sum256([]byte(id))
	return deltamanager.CookieHash(sum[:16])
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

// eachCookie calls each with all cookies, in their order: a browser sends the
// one with the longest path first.
func eachCookie(h http.Header, each func(name, value string)) {
	for _, line := range h["Cookie"] {
		for line != "" {
			var part string
			part, line, _ = strings.Cut(line, ";")
			if name, value, ok := strings.Cut(strings.Trim(part, " \t"), "="); ok {
				each(strings.TrimRight(name, " \t"), strings.Trim(value, `"`))
			}
		}
	}
}

// attributes are what an app's cookies are like.
type attributes struct {
	name string // of the session cookie
	// What follows the values of session cookies, of read-your-writes cookies, and of one that is taken
	// away: "; Path=…".
	session, token, ended string
}

// sameSite are the words for it in net/http.
var sameSite = map[config.SameSite]http.SameSite{
	config.SameSiteLax: http.SameSiteLaxMode, config.SameSiteStrict: http.SameSiteStrictMode, config.SameSiteNone: http.SameSiteNoneMode,
}

// newAttributes makes those for users of secure connections, or for the others. Where
// browsers accept the prefix (Secure, with path "/" and no Domain) the name says __Host-, so that
// no other host of the domain can plant one (RFC 6265bis, part 4.1.3).
func newAttributes(c Config, secure bool) attributes {
	secure = secure || c.Cookies.Secure == config.SecureAlways
	site := http.SameSiteLaxMode
	if s, ok := sameSite[c.Cookies.SameSite]; ok {
		site = s
	}
	tail := func(age int) string {
		c := http.Cookie{
			Name:     "n",
			Value:    "v",
			Path:     c.Path,
			Domain:   c.Cookies.Domain,
			MaxAge:   age,
			HttpOnly: true,
			SameSite: site,
			Secure:   secure,
		}
		return strings.TrimPrefix(c.String(), "n=v")
	}
	a := attributes{name: c.Cookie, session: tail(0), token: tail(int(deltamanager.TokenLife.Seconds())), ended: tail(-1)}
	if secure && c.Path == "/" && c.Cookies.Domain == "" {
		a.name = "__Host-" + c.Cookie
	}
	return a
}

// cookies are the attributes for this request's user.
func (v *visit) cookies() *attributes {
	secure, told := forward.Secure(v.header)
	if !told {
		secure = v.app.secure
	}
	if secure {
		return &v.app.overTLS
	}
	return &v.app.plain
}

// setCookie gives the user an id; an empty one takes it away.
func (v *visit) setCookie(h http.Header, id string) {
	if c := v.cookies(); id == "" {
		v.app.addCookie(h, c.name+"="+c.ended)
	} else {
		v.app.addCookie(h, c.name+"="+id+"."+v.app.node+c.session+v.keptFor())
	}
}

// keptFor says how long the browser is to keep the session's cookie: never beyond the time
// when the session ends, whatever is done with it.
func (v *visit) keptFor() string {
	age := v.app.maxAge
	if age == 0 {
		return ""
	}
	age = min(age, v.app.lifetime-time.Since(v.current.view.Created()))
	return "; Max-Age=" + strconv.Itoa(max(1, int(age/time.Second)))
}

const notCookies = `no-cache="Set-Cookie, Set-Cookie2"`

func (a *App) addCookie(h http.Header, line string) {
	h["Set-Cookie"] = append(h["Set-Cookie"], line)
	for _, v := range h["Cache-Control"] {
		v = strings.ToLower(v)
		if strings.Contains(v, "no-store") || strings.Contains(v, "private") || strings.Contains(v, `no-cache="set-cookie`) {
			return
		}
	}
	// A shared cache must not give one user's cookie to another, whatever else the app says.
	h.Add("Cache-Control", notCookies)
}

// keepPrivate tells caches about an answer that may depend on its user's session: it
// is for who sends the same cookie (RFC 9110, part 12.5.5), and for no shared
// cache unless the app says otherwise (RFC 9111, part 5.2.2.7).
func (a *App) keepPrivate(h http.Header) {
	if len(h["Cache-Control"]) == 0 {
		h["Cache-Control"] = a.private
	}
	if vary := h["Vary"]; len(vary) == 0 {
		h["Vary"] = a.varies
	} else if !variesByCookie(vary) {
		h.Add("Vary", "Cookie")
	}
}

// variesByCookie tells whether a field Vary has Cookie, or all fields.
func variesByCookie(vary []string) bool {
	for _, line := range vary {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Cookie") {
				return true
			}
		}
	}
	return false
}

// tokenPrefix begins the names of read-your-writes cookies: NSV-NODE says what of
// NODE's writes the user has seen. Only a member can make one, and only for one
// session; whoever steals one can do nothing with it.
const tokenPrefix = "NSV-"

// tokenText is the length of a token's value: clock, incarnation and MAC in base64url. While two secrets
// are in force there are two MACs.
const (
	tokenText = tokenBytes * 8 / 6
	twoText   = (twoBytes*8 + 5) / 6

	tokenBytes = 8 + 8 + len(deltamanager.MAC{})
	twoBytes   = tokenBytes + len(deltamanager.MAC{})
)

// maxTokens is how many read-your-writes cookies of one request are looked at.
const maxTokens = 64

// parseToken reads a read-your-writes cookie. Whether a member made it is not known yet: that takes the
// session's cookie hash, and is only asked if the token says something.
func parseToken(name, value string) (t deltamanager.Token, ok bool) {
	node, ok := strings.CutPrefix(name, tokenPrefix)
	if !ok || len(value) != tokenText && len(value) != twoText {
		return t, false
	}
	var text [twoText]byte
	var b [twoBytes]byte
	copy(text[:], value)
	n, err := base64.RawURLEncoding.Strict().Decode(b[:], text[:len(value)])
	if err != nil || n != tokenBytes && n != twoBytes {
		return t, false
	}
	t.Name = node
	t.Stamp = deltamanager.Stamp{Clock: binary.BigEndian.Uint64(b[:]), Incarnation: binary.BigEndian.Uint64(b[8:])}
	copy(t.MAC[:], b[16:])
	copy(t.Other[:], b[tokenBytes:])
	return t, true
}

// setTokens gives the user the tokens, as cookies that live as long as they matter.
func (v *visit) setTokens(h http.Header, tokens []deltamanager.Token) {
	tail := v.cookies().token
	for _, t := range tokens {
		var b [twoBytes]byte
		binary.BigEndian.PutUint64(b[:], t.Stamp.Clock)
		binary.BigEndian.PutUint64(b[8:], t.Stamp.Incarnation)
		copy(b[16:], t.MAC[:])
		copy(b[tokenBytes:], t.Other[:])
		var text [twoText]byte
		size := tokenBytes
		if t.Other != (deltamanager.MAC{}) {
			size = twoBytes
		}
		n := base64.RawURLEncoding.EncodedLen(size)
		base64.RawURLEncoding.Encode(text[:n], b[:size])
		v.app.addCookie(h, tokenPrefix+t.Name+"="+string(text[:n])+tail)
	}
}

// Asker implements deltamanager.Asker by the client's address: a number that is the same for one
// client as long as the node runs. All clients of a proxy that is not trusted are one.
func (v *visit) Asker() uint64 {
	addr, ok := v.client()
	if !ok {
		return 0
	}
	return maphash.Comparable(askerSeed, listen.Client(addr))
}

// client is the address of the request's user, as far as it is known.
func (v *visit) client() (netip.Addr, bool) {
	if a, ok := forward.Client(v.header); ok {
		return a, true
	}
	if c, ok := v.ctx.Value(connectionKey{}).(*connection); ok {
		return c.remote.Unmap(), true
	}
	return netip.Addr{}, false
}

var askerSeed = maphash.MakeSeed()
