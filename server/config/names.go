package config

import (
	"regexp"
	"strings"
)

var appName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// AppName tells whether an app may have this name: it stands in paths, logs and metrics.
func AppName(name string) bool { return appName.MatchString(name) }

var placeName = regexp.MustCompile(`^[a-z0-9-]{1,64}(##[A-Za-z0-9.-]{1,32})?$`)

// PlaceName tells whether an app, or a version of one, may have this name: shop or shop##2.
func PlaceName(name string) bool { return placeName.MatchString(name) }

// SplitPlace takes the name of an app's version apart; without a version it is empty.
func SplitPlace(name string) (app, version string) {
	app, version, _ = strings.Cut(name, "##")
	return app, version
}
