package config

import "regexp"

var appName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// AppName tells whether an app may have this name: it stands in paths, logs and metrics.
func AppName(name string) bool { return appName.MatchString(name) }
