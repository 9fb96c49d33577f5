package conf

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
)

// setApp puts a value into the app's settings.
func (l *loader) setApp(app int, key string, v any, err error, at origin) {
	if err != nil {
		l.problem("app."+key, err.Error(), at)
		return
	}
	a := &l.apps[app]
	switch key {
	case "name":
		a.Name = v.(string)
	case "path":
		a.Path = v.(string)
	case "acks":
		a.Acks = config.Acks(v.(string))
	case "max_inactive":
		a.MaxInactive = v.(time.Duration)
	case "config":
		a.Config = v.(map[string]any)
	default:
		setCookie(a, key, v)
	}
	l.appFrom[app][key] = at
}

var appPath = regexp.MustCompile(`^/([A-Za-z0-9._~-]+/)*$`)

// checkApps looks at each [[app]].
func (l *loader) checkApps(cfg config.Config) {
	names, paths := map[string]int{}, map[string]int{}
	for i, a := range cfg.Apps {
		from := l.appFrom[i]
		bad := func(key, text string) { l.problem("app."+key, text, from[key]) }
		if _, named := from["name"]; !named {
			l.problem("app.name", "missing: say which webapp the settings are for", from[""])
		} else if !config.AppName(a.Name) {
			bad("name", show(a.Name)+" is not a webapp's name: use 1 to 64 of a-z 0-9 -")
		} else if line, twice := names[a.Name]; twice {
			bad("name", show(a.Name)+" has an [[app]] in line "+itoa(line)+" already")
		} else {
			names[a.Name] = from["name"].line
		}
		if a.Path != "" && !appPath.MatchString(a.Path) {
			bad("path", show(a.Path)+" is not a path like \"/shop/\": it starts and ends with a slash")
		} else if line, twice := paths[a.Path]; twice && a.Path != "" {
			bad("path", show(a.Path)+" is taken by the [[app]] in line "+itoa(line))
		} else {
			paths[a.Path] = from[""].line
		}
		if err := l.schema.read("app.acks", string(a.Acks)); a.Acks != "" && err != nil {
			bad("acks", err.Error())
		}
		if _, given := from["max_inactive"]; given {
			if text := outOfRange(a.MaxInactive, durations["sessions.max_inactive"]); text != "" {
				bad("max_inactive", text)
			}
		}
		if _, err := json.Marshal(a.Config); err != nil {
			bad("config", "can't be handed to the webapp as JSON: "+err.Error())
		}
	}
}

// appValues lists what is set of each app, by name.
func (l *loader) appValues(cfg config.Config) []Origin {
	var list []Origin
	for i, a := range cfg.Apps {
		values := map[string]any{"path": a.Path, "acks": string(a.Acks), "max_inactive": a.MaxInactive}
		if c := a.Cookie; c != nil {
			values["cookie.same_site"], values["cookie.domain"], values["cookie.max_age"], values["cookie.secure"] = string(
				c.SameSite,
			), c.Domain, c.MaxAge, string(c.Secure)
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if at, ok := l.appFrom[i][key]; ok {
				list = append(list, Origin{Key: "app." + a.Name + "." + key, Value: show(values[key]), From: at.source()})
			}
		}
		if at, ok := l.appFrom[i]["config"]; ok {
			// Names only: a webapp's settings may hold its secrets.
			names := slices.Sorted(maps.Keys(a.Config))
			list = append(list, Origin{Key: "app." + a.Name + ".config", Value: "{" + strings.Join(names, ", ") + "}", From: at.source()})
		}
	}
	return list
}
