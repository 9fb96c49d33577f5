package conf_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/conf"
)

// A file may begin with the mark of UTF-8; what is no configuration file by its size or its encoding
// is refused with what to do.
func TestFileAsText(t *testing.T) {
	const good = "[node]\nname = \"n1\"\n"
	for what, c := range map[string]struct{ text, wrong string }{
		"plain":       {good, ""},
		"with a BOM":  {"\xef\xbb\xbf" + good, ""},
		"of 1 MiB":    {good + strings.Repeat("#", 1<<20-len(good)), ""},
		"longer":      {good + strings.Repeat("#", 1<<20), "is longer than 1 MiB, which no configuration file is"},
		"UTF-16":      {"\xff\xfe[\x00n\x00", "is UTF-16 text: save it as UTF-8"},
		"UTF-16, big": {"\xfe\xff\x00[\x00n", "is UTF-16 text: save it as UTF-8"},
	} {
		t.Run(what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "n1.toml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, _, err := conf.Load(file, nil, nil)
			switch {
			case c.wrong == "" && (err != nil || cfg.Node.Name != "n1"):
				t.Errorf("node %q, %v", cfg.Node.Name, err)
			case c.wrong != "" && (err == nil || !strings.HasSuffix(err.Error(), file+" "+c.wrong)):
				t.Errorf("%v, want %q", err, c.wrong)
			}
		})
	}
}
