//go:build unix

package plugins

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A plugin that others could have put there is not even looked at.
func TestOpenRefusesWhatOthersCanChange(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "webapps")
	file := filepath.Join(dir, "app.so")
	err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, []byte("no plugin"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		mode os.FileMode
		want string
	}{
		{file, 0o666, file + " can be changed by others (mode 0666): run `chmod go-w " + file + "`"},
		{dir, 0o777, dir + " can be changed by others (mode 0777): run `chmod go-w " + dir + "`"},
		{dir, 0o700, "not a plugin"}, // goes on, and finds that it is none
	} {
		if err := os.Chmod(c.path, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := NewLoader().Open(file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
		if err := os.Chmod(c.path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
