package webapps_test

import (
	"os"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
)

// A file missing from the embed directive would let a plugin built against
// another version of it through to the loader.
func TestSourceHashCoversEveryFile(t *testing.T) {
	got, err := webapps.HashSources(os.DirFS("."))
	if err != nil || got != webapps.SourceHash() {
		t.Errorf("hash of the folder %s, %v; embedded %s: is a file missing in source.go's go:embed?", got, err, webapps.SourceHash())
	}
}
