package conf

import (
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
)

// setCookie puts a value into the app's settings of its cookie.
func setCookie(a *config.App, key string, v any) {
	if a.Cookie == nil {
		a.Cookie = &config.Cookie{}
	}
	switch key {
	case "cookie.same_site":
		a.Cookie.SameSite = config.SameSite(v.(string))
	case "cookie.domain":
		a.Cookie.Domain = v.(string)
	case "cookie.max_age":
		a.Cookie.MaxAge = v.(time.Duration)
	case "cookie.secure":
		a.Cookie.Secure = config.Secure(v.(string))
	}
}

// inherit completes what apps say of their cookies by what holds for all.
func (l *loader) inherit(cfg *config.Config) {
	all := cfg.HTTP.Cookie
	for i := range cfg.Apps {
		own := cfg.Apps[i].Cookie
		if own == nil {
			continue
		}
		from, full := l.appFrom[i], all
		if _, given := from["cookie.same_site"]; given {
			full.SameSite = own.SameSite
		}
		if _, given := from["cookie.domain"]; given {
			full.Domain = own.Domain
		}
		if _, given := from["cookie.max_age"]; given {
			full.MaxAge = own.MaxAge
		}
		if _, given := from["cookie.secure"]; given {
			full.Secure = own.Secure
		}
		cfg.Apps[i].Cookie = &full
	}
}

var domainName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{1,62}[A-Za-z0-9]$`)

// checkCookies looks at the attributes of cookies, for all apps and for each.
func (l *loader) checkCookies(cfg config.Config) {
	l.checkCookieName(cfg)
	l.checkCookie(cfg, cfg.HTTP.Cookie, func(key, text string) { l.wrong("http.cookie."+key, text) },
		func(key, text string) { l.warn("http.cookie."+key, text) })
	for i, a := range cfg.Apps {
		if a.Cookie == nil {
			continue
		}
		from := l.appFrom[i]
		for key, value := range map[string]string{"same_site": string(a.Cookie.SameSite), "secure": string(a.Cookie.Secure)} {
			if at, given := from["cookie."+key]; given {
				if err := l.schema.read("app.cookie."+key, value); err != nil {
					l.problem("app.cookie."+key, err.Error(), at)
				}
			}
		}
		// What the app does not say itself has been looked at.
		own := func(keys ...string) (origin, string, bool) {
			for _, key := range keys {
				if at, given := from["cookie."+key]; given {
					return at, key, true
				}
			}
			return origin{}, "", false
		}
		related := map[string][]string{"same_site": {"same_site", "secure"}, "domain": {"domain"}, "max_age": {"max_age"}}
		l.checkCookie(cfg, *a.Cookie, func(key, text string) {
			if at, key, given := own(related[key]...); given {
				l.problem("app.cookie."+key, text, at)
			}
		}, func(key, text string) {
			if at, key, given := own(related[key]...); given {
				l.warnings = append(l.warnings, at.problem("app.cookie."+key, text))
			}
		})
	}
}

// checkCookieName: browsers want of names with these prefixes what not every app's cookie is.
func (l *loader) checkCookieName(cfg config.Config) {
	switch name := strings.ToLower(cfg.Sessions.CookieName); {
	case strings.HasPrefix(name, "__host-"):
		l.wrong(
			"sessions.cookie_name",
			show(cfg.Sessions.CookieName)+": leave __Host- out: the node puts it before the name where browsers accept it, "+
				"over TLS for the app at /",
		)
	case strings.HasPrefix(name, "__secure-") && cfg.HTTP.Cookie.Secure != config.SecureAlways:
		l.wrong(
			"sessions.cookie_name",
			show(cfg.Sessions.CookieName)+` needs http.cookie.secure = "always": browsers drop cookies of that name which are not Secure`,
		)
	}
}

// checkCookie looks at one set of them; bad and odd say what is wrong, and what looks so.
func (l *loader) checkCookie(cfg config.Config, c config.Cookie, bad, odd func(key, text string)) {
	if c.SameSite == config.SameSiteNone && c.Secure != config.SecureAlways {
		bad("same_site", `"none" needs secure = "always" beside it: browsers drop such a cookie where it is not Secure`)
	}
	if _, err := netip.ParseAddr(strings.Trim(c.Domain, "[]")); err == nil {
		bad("domain", show(c.Domain)+" is an address: browsers take names only; leave it out, then the cookie is for the host that gave it")
	} else if c.Domain != "" && !domainName.MatchString(c.Domain) {
		bad(
			"domain",
			show(c.Domain)+` is not a domain with a dot in it, like "example.com", that browsers would take; leave it out, then `+
				`the cookie is `+
				`for the host that gave it`,
		)
	}
	lifetime := cfg.Sessions.AbsoluteLifetime
	switch text := outOfRange(c.MaxAge, durations["http.cookie.max_age"]); {
	case text != "":
		bad("max_age", text)
	case c.MaxAge > 0 && c.MaxAge < time.Second:
		bad("max_age", short(c.MaxAge)+` is less than a second, the least that cookies know; "0s": until the browser ends`)
	case c.MaxAge > lifetime && l.good("sessions.absolute_lifetime"):
		bad(
			"max_age",
			short(c.MaxAge)+" is longer than sessions.absolute_lifetime ("+short(lifetime)+"): the cookie would outlive its session",
		)
	case c.MaxAge > cfg.Sessions.MaxInactive && l.good("sessions.max_inactive"):
		odd(
			"max_age",
			short(c.MaxAge)+" is longer than sessions.max_inactive ("+short(cfg.Sessions.MaxInactive)+
				"): a session that is not used ends before its cookie does",
		)
	}
}
