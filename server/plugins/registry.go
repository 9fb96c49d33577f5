package plugins

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// databaseSQL is the one package of the standard library that a webapp gets a copy of:
// a driver's name can be registered once, so that the next version of a driver would
// panic in its init. No package of the standard library imports it.
const databaseSQL = "database/sql"

// registries are packages with a table that others put themselves into as the process
// starts, under names that can be taken once or are looked up while requests are
// served. The key is the package, the values those whose importers register. Apps share
// such a package only if the very same packages register in it: its path is also made
// of their hashes, and of the app's where the app's own do.
var registries = map[string][]string{
	databaseSQL: {databaseSQL},
	"google.golang.org/protobuf/reflect/protoregistry": {
		"google.golang.org/protobuf/reflect/protoregistry", "google.golang.org/protobuf/runtime/protoimpl",
		"github.com/golang/protobuf/proto",
	},
	"github.com/gogo/protobuf/proto": {"github.com/gogo/protobuf/proto"},
	"github.com/prometheus/client_golang/prometheus": {
		"github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_golang/prometheus/promauto",
	},
	"google.golang.org/grpc/resolver": {"google.golang.org/grpc/resolver"},
	"google.golang.org/grpc/balancer": {"google.golang.org/grpc/balancer"},
	"google.golang.org/grpc/encoding": {"google.golang.org/grpc/encoding"},
}

// seed notes in each registry what registers there.
func (w *world) seed(app string) error {
	for path, through := range registries {
		r := w.byPath[path]
		if r == nil || r.pinned != "" {
			continue
		}
		h := sha256.New()
		for _, l := range w.all {
			if l.pinned == "" && importsOne(l.listed, through) {
				_, _ = fmt.Fprintln(h, l.content)
			}
		}
		for _, l := range w.ownPkgs {
			registers, err := l.registers(path, through)
			if err != nil {
				return err
			}
			if registers {
				_, _ = fmt.Fprintln(h, app)
			}
		}
		r.seed = sum(h)
	}
	return nil
}

func importsOne(l *listed, paths []string) bool {
	return slices.ContainsFunc(l.Imports, func(i string) bool { return slices.Contains(paths, i) })
}

// registers tells whether a package of the app itself may put something into the
// registry. Most apps open databases; those with a driver of their own are few.
func (l *listed) registers(registry string, through []string) (bool, error) {
	if !importsOne(l, through) || registry != databaseSQL {
		return importsOne(l, through), nil
	}
	for _, name := range slices.Concat(l.GoFiles, l.CgoFiles) {
		text, err := os.ReadFile(filepath.Join(l.Dir, name))
		if err != nil || bytes.Contains(text, []byte(".Register(")) {
			return true, err
		}
	}
	return false, nil
}
