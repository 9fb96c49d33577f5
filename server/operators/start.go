package operators

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/nodeserver/nodeserver/server/keys"
)

// StartLink makes a code with which a browser can log in once, within 10 minutes, as whoever
// has started the node. Empty: there is no start token, or no browser can log in.
func (g *Guard) StartLink() string {
	if g.cfg.Browsers == nil {
		return ""
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	for h, a := range g.tokens {
		if a.Name == ofStart {
			return g.cfg.Browsers.link(h)
		}
	}
	return ""
}

// ofStart is who sends the token that the node made when it started.
const ofStart = "start-token"

// Start makes a token with the role operator and writes it to a file that only its owner can
// read, so that whoever has started the node can change something at once, and nobody else
// can. It does nothing where the conf names tokens. End removes the file. The address is that
// of the listener for operators.
func (g *Guard) Start(address string) (end func(), err error) {
	if !g.open {
		return func() {}, nil
	}
	path := filepath.Join(places()[0], fileOf(address))
	token := keys.New()
	if err := write(path, token); err != nil {
		return func() {}, fmt.Errorf(
			"no token for changes at %s: %w; set XDG_RUNTIME_DIR to a folder that the node may write to, or name tokens in "+
				"admin.tokens_file",
			address,
			err,
		)
	}
	g.mu.Lock()
	g.tokens[hashOf(token)] = Actor{Name: ofStart, Role: Operator}
	g.mu.Unlock()
	return func() {
		if now, err := os.ReadFile(path); err == nil && string(now) == token+"\n" {
			_ = os.Remove(path) // it opens nothing any more
		}
	}, nil
}

// Find looks for the token that a node of this machine made for its address for operators
// when it started. False: there is none that may be read.
func Find(address string) (keys.Secret, bool) {
	addresses := []string{address}
	if host, port, err := net.SplitHostPort(address); err == nil && strings.EqualFold(host, "localhost") {
		addresses = []string{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)}
	}
	for _, place := range places() {
		for _, a := range addresses {
			text, err := os.ReadFile(filepath.Join(place, fileOf(a)))
			if err != nil {
				continue
			}
			if token, err := keys.Parse(string(text)); err == nil {
				return token, true
			}
		}
	}
	return keys.Secret{}, false
}

// places are the folders for such tokens, the one that a node writes to first.
func places() []string {
	list := []string{"/run/nodeserver"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		list = append([]string{filepath.Join(dir, "nodeserver")}, list...)
	}
	return list
}

// fileOf has the address in its name: nodes of one name may run side by side, two listeners
// at one address don't.
func fileOf(address string) string {
	return strings.ReplaceAll(address, string(filepath.Separator), "_") + ".token"
}

// write writes the file as a whole, for its owner only.
func write(path, token string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".token-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
