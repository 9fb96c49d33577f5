package keys

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// prefix starts each secret's text; the figure is the notation's version.
const prefix = "nsec1-"

const (
	keySize = 32
	sumSize = 4
)

var (
	// ErrMade says that the text was not made by New: it is invented, or older than that.
	ErrMade = errors.New(`it was not made by "nodeserver secret new", and what people invent can be guessed`)
	// ErrSum says that the text was made by New, but a part of it was changed or lost since.
	ErrSum = errors.New("its checksum is wrong: it was mistyped or cut off; copy the file again")
	// ErrMany says that a file has more than two secrets.
	ErrMany = errors.New("more than two secrets: there are the new one and, until `nodeserver secret retire`, the one of before")
	// ErrSame says that a file has one secret twice.
	ErrSame = errors.New("one secret twice: the second is the one of before, until `nodeserver secret retire`")
)

var notation = base32.StdEncoding.WithPadding(base32.NoPadding)

// Secret is a secret made by New. It never shows itself: fmt and slog print
// "(secret)". The zero value is none.
type Secret struct {
	key [keySize]byte
}

// New draws a secret and returns its text, one line without its end.
func New() string {
	var s Secret
	rand.Read(s.key[:]) // never fails
	return s.Text()
}

// Text is the secret as New wrote it, fit for a file or a header.
func (s Secret) Text() string {
	sum := checksum(s.key)
	return prefix + strings.ToLower(notation.EncodeToString(append(s.key[:], sum[:]...)))
}

// Parse reads the text of a secret; white space around it doesn't count. An
// error wraps ErrMade or ErrSum and holds nothing of the text.
func Parse(text string) (Secret, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(text), prefix)
	if !ok {
		return Secret{}, &textError{ErrMade}
	}
	raw, err := notation.DecodeString(strings.ToUpper(body))
	if err != nil || len(raw) != keySize+sumSize {
		return Secret{}, &textError{ErrSum}
	}
	s := Secret{key: [keySize]byte(raw)}
	if sum := checksum(s.key); [sumSize]byte(raw[keySize:]) != sum {
		return Secret{}, &textError{ErrSum}
	}
	return s, nil
}

// textError is an error of Parse or parseAll, not of the system.
type textError struct{ error }

func (e *textError) Unwrap() error { return e.error }

// parseAll reads the text of one secret or two, one a line.
func parseAll(text string) ([]Secret, error) {
	var list []Secret
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s, err := Parse(line)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	switch {
	case len(list) == 0:
		return nil, &textError{ErrMade}
	case len(list) > 2:
		return nil, &textError{ErrMany}
	case len(list) == 2 && list[0].Equal(list[1]):
		return nil, &textError{ErrSame}
	}
	return list, nil
}

// checksum tells slips from secrets. It needs the secret, so it tells nothing to
// processes that don't have it.
func checksum(key [keySize]byte) [sumSize]byte {
	sum := sha256.Sum256(append([]byte(prefix), key[:]...))
	return [sumSize]byte(sum[:])
}

// Derive is the key for one purpose, the same wherever the secret is: HKDF-SHA256
// (RFC 5869) without salt, the purpose as its info. Keys of different purposes
// tell nothing of each other or of the secret.
func (s Secret) Derive(purpose string) [32]byte {
	key, err := hkdf.Key(sha256.New, s.key[:], nil, purpose, keySize)
	if err != nil {
		panic(fmt.Sprintf("derive a key: %v", err)) // only for lengths beyond HKDF's reach
	}
	return [32]byte(key)
}

// ID is a short name of the secret, for people who compare files and logs: eight digits of a hash
// that gives nothing away.
func (s Secret) ID() string {
	id := s.Derive("nodeserver secret id v1")
	return hex.EncodeToString(id[:4])
}

// Equal tells whether two secrets are the same.
func (s Secret) Equal(o Secret) bool { return subtle.ConstantTimeCompare(s.key[:], o.key[:]) == 1 }

// Format implements fmt.Formatter: no verb shows the secret.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(secret)") }
