package keys_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/keys"
)

func TestParse(t *testing.T) {
	t.Parallel()
	good := keys.New()
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{"as made", good, nil},
		{"with its line's end", good + "\n", nil},
		{"in capitals", "nsec1-" + strings.ToUpper(good[6:]), nil},
		{"empty", "", keys.ErrMade},
		{"32 times a", strings.Repeat("a", 32), keys.ErrMade},
		{"64 hex digits", strings.Repeat("0123456789abcdef", 4), keys.ErrMade},
		{"base64 of 32 bytes, as versions before made it", "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=", keys.ErrMade},
		{"the prefix alone", "nsec1-", keys.ErrSum},
		{"invented behind the prefix", "nsec1-" + strings.Repeat("a", 58), keys.ErrSum},
		{"cut off", good[:len(good)-1], keys.ErrSum},
		{"twice", good + good, keys.ErrSum},
		{"two lines", good + "\n" + good, keys.ErrSum},
	} {
		if _, err := keys.Parse(tt.text); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// Each letter of a secret, replaced by each other one, is found.
func TestParseFindsEachSlip(t *testing.T) {
	t.Parallel()
	good := keys.New()
	for i := len("nsec1-"); i < len(good)-1; i++ { // two bits of the last letter stand for nothing
		for _, c := range "abcdefghijklmnopqrstuvwxyz234567" {
			if slip := good[:i] + string(c) + good[i+1:]; slip != good {
				if _, err := keys.Parse(slip); !errors.Is(err, keys.ErrSum) {
					t.Fatalf("letter %d replaced by %c: %v", i, c, err)
				}
			}
		}
	}
}

func TestDerive(t *testing.T) {
	t.Parallel()
	text := keys.New()
	a, errA := keys.Parse(text)
	b, errB := keys.Parse(text)
	other, errO := keys.Parse(keys.New())
	if err := errors.Join(errA, errB, errO); err != nil {
		t.Fatal(err)
	}
	switch x := a.Derive("x"); {
	case x != b.Derive("x"):
		t.Error("two nodes with one secret have different keys")
	case x == a.Derive("y"), x == other.Derive("x"), x == [32]byte{}:
		t.Error("one key for two purposes, two secrets, or nothing")
	}
	if !a.Equal(b) || a.Equal(other) {
		t.Error("secrets are compared wrongly")
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	t.Parallel()
	text := keys.New()
	s, err := keys.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	in := struct{ S keys.Secret }{s}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, s, &s, in)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("it", "secret", s, "in", in)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("it", "secret", s, "in", in)
	if err := json.NewEncoder(&out).Encode(in); err != nil {
		t.Fatal(err)
	}
	raw := fmt.Sprint(s.Derive("x"))
	for _, part := range []string{text[6:], text[6:20], raw} {
		if strings.Contains(out.String(), part) {
			t.Errorf("it is shown: %s", out.String())
		}
	}
}

func TestReadSecrets(t *testing.T) {
	t.Parallel()
	a, b := keys.New(), keys.New()
	for _, c := range []struct {
		name, text string
		n          int
		want       error
	}{
		{"one", a + "\n", 1, nil},
		{"two", a + "\n\n# of before\n" + b, 2, nil},
		{"none", "# nothing\n", 0, keys.ErrMade},
		{"three", a + "\n" + b + "\n" + keys.New(), 0, keys.ErrMany},
		{"one twice", a + "\n" + a + "\n", 0, keys.ErrSame},
		{"one and a slip", a + "\n" + b[:20] + "\n", 0, keys.ErrSum},
	} {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := keys.ReadSecrets(file)
		if len(list) != c.n || !errors.Is(err, c.want) || err != nil && !strings.HasPrefix(err.Error(), file+": ") {
			t.Errorf("%s: %d secrets, %v", c.name, len(list), err)
		}
		if c.n > 0 && (list[0].Text() != a || len(list[0].ID()) != 8) {
			t.Errorf("%s: the first is another one", c.name)
		}
	}
}
