package webapps

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

// The package's own sources travel with it, so that a node can tell a plugin
// built against other ones before it maps the plugin into its process.
//
//go:embed acks.go app.go discard.go doc.go driver.go errors.go listeners.go optional.go session.go sessions.go source.go
//go:embed users.go
var sources embed.FS

// SourceHash identifies the sources of this package that the running binary
// was built from. Nodes and builders of plugins call it; apps don't.
func SourceHash() string {
	h, err := HashSources(sources)
	if err != nil {
		panic(err) // embedded files can be read
	}
	return h
}

// HashSources is the SourceHash of a binary built from the sources in dir:
// a hash of the names and contents of its Go files, tests excepted.
func HashSources(dir fs.FS) (string, error) {
	names, err := fs.Glob(dir, "*.go") // sorted
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintf(h, "%s %d\n%s", name, len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), nil
}
