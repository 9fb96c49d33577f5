package plugins

import "regexp"

// identity is what a plugin built by Build says of itself. It is spelt into
// the module path of the staged source, since a path is the one thing that Go
// keeps in every binary, whatever the flags, and that tells revisions apart
// inside a process.
type identity struct {
	name     string // of the webapp's folder
	revision string // hash of its sources
	api      string // hash of the sources of package webapps it was built against
}

// mainPackage is the folder of a plugin's generated main package.
const mainPackage = "plugin_main"

func (i identity) modulePath() string {
	return "webapp/" + i.name + "/" + i.revision + "-" + i.api
}

var identityPath = regexp.MustCompile(`^webapp/([a-z0-9-]+)/([0-9a-f]{12})-([0-9a-f]{12})/` + mainPackage + `$`)

// parseIdentity reads the import path of a plugin's main package.
func parseIdentity(path string) (identity, bool) {
	m := identityPath.FindStringSubmatch(path)
	if m == nil {
		return identity{}, false
	}
	return identity{m[1], m[2], m[3]}, true
}
