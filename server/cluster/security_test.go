//go:build unix

package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/keys"
)

// What a conf names as secret must be one, must be nobody else's to read or
// change, and must have one use.
func TestSecurityRefusesBadSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text+"\n"), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := keys.New()
	good, copied, other := file("good", text, 0o600), file("copied", text, 0o600), file("other", keys.New(), 0o600)
	for _, c := range []struct{ name, secret, token, want string }{
		{"good", good, other, ""},
		{"32 times a", file("a", strings.Repeat("a", 32), 0o600), "", "cluster.secret_file: DIR/a: it was not made by"},
		{"mistyped", file("slip", text[:9]+"8"+text[10:], 0o600), "", "cluster.secret_file: DIR/slip: its checksum is wrong"},
		{"open", file("open", text, 0o604), "", "cluster.secret_file: DIR/open can be read by others (mode 0604)"},
		{"token of a person", good, file("token", "open sesame open sesame", 0o600), "admin.token_file: DIR/token: it was not made by"},
		{"one file for both", good, good, "admin.token_file: DIR/good holds the same secret as cluster.secret_file"},
		{"one secret for both", good, copied, "admin.token_file: DIR/copied holds the same secret as cluster.secret_file"},
	} {
		var cfg config.Config
		cfg.Channel.Address = "127.0.0.1:0"
		cfg.Cluster.SecretFile, cfg.Admin.TokenFile = c.secret, c.token
		_, err := Security(cfg, "n1")
		if got := ""; (err == nil) != (c.want == "") {
			t.Errorf("%s: %v", c.name, err)
		} else if err != nil {
			if got = strings.ReplaceAll(err.Error(), dir, "DIR"); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
			}
			if strings.Contains(got, text[6:]) || strings.Contains(got, "sesame") {
				t.Errorf("%s: the secret is in the error: %s", c.name, got)
			}
		}
	}
}
