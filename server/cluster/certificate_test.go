//go:build unix

package cluster

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

func TestKeyForHTTPSIsPrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(os.WriteFile(cert, nil, 0o600), os.WriteFile(key, nil, 0o600), os.Chmod(key, 0o644)); err != nil {
		t.Fatal(err)
	}
	want := "http.tls_key: " + key + " can be read by others (mode 0644): run `chmod 600 " + key + "`"
	if _, err := ForHTTPS("http", cert, key, slog.New(slog.DiscardHandler)); err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}
