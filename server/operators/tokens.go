package operators

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"strings"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/keys"
)

// Role is what somebody may do, each including the ones before.
type Role int

// The roles, the least first.
const (
	Anyone   Role = iota // no token is asked for; no token has this role
	Viewer               // look
	Operator             // look and change
)

// String is the role as it stands in a tokens file.
func (r Role) String() string {
	switch r {
	case Viewer:
		return "viewer"
	case Operator:
		return "operator"
	case Anyone:
	}
	return "anyone"
}

// ParseRole reads the role of a token.
func ParseRole(text string) (Role, error) {
	for _, r := range []Role{Viewer, Operator} {
		if text == r.String() {
			return r, nil
		}
	}
	return Anyone, fmt.Errorf("%q is no role: use viewer or operator", text)
}

// Actor is whoever sent a request.
type Actor struct {
	Name string // of their token; empty: they have none, and need none to look
	Role Role
}

// String is the actor as the log shows them.
func (a Actor) String() string {
	if a.Name == "" {
		return "(no token)"
	}
	return a.Name
}

// hash is what is kept of a token.
type hash = [sha256.Size]byte

func hashOf(token string) hash { return sha256.Sum256([]byte(token)) }

var actorName = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)

// Line is the line of a tokens file for a token, as keys.New made it.
func Line(role Role, name, token string) (string, error) {
	if !actorName.MatchString(name) {
		return "", fmt.Errorf("%q is not a name for a token: use 1 to 64 of A-Z a-z 0-9 . _ @ -", name)
	}
	sum := hashOf(token)
	return role.String() + ":" + name + ":" + hex.EncodeToString(sum[:]), nil
}

// readTokensFile reads a tokens file: lines role:name:sha256, blank ones and comments (#)
// between them. An error names the line, and holds nothing of it but the role.
func readTokensFile(path string) (map[hash]Actor, error) {
	text, err := keys.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist: make it with `nodeserver token new NAME --role operator --file %s`", path, path)
	}
	if err != nil {
		return nil, err
	}
	tokens := map[hash]Actor{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		sum, actor, err := parseLine(line)
		if err == nil && tokens[sum] != (Actor{}) {
			err = errors.New("this token is there already, for " + tokens[sum].Name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		tokens[sum] = actor
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf(
			"%s holds no token, so that nobody could use it: `nodeserver token new NAME --role operator --file %s` adds one",
			path,
			path,
		)
	}
	return tokens, nil
}

func parseLine(line string) (sum hash, a Actor, err error) {
	parts := strings.Split(line, ":")
	if len(parts) != 3 {
		return sum, a, errors.New("this is not role:name:sha256, as `nodeserver token new NAME --role ROLE` prints it")
	}
	if a.Role, err = ParseRole(parts[0]); err != nil {
		return sum, a, err
	}
	if a.Name = parts[1]; !actorName.MatchString(a.Name) {
		return sum, a, errors.New("the name of the token won't do: use 1 to 64 of A-Z a-z 0-9 . _ @ -")
	}
	raw, err := hex.DecodeString(parts[2])
	if err != nil || len(raw) != len(sum) {
		return sum, a, errors.New("the third part is not a SHA-256 in 64 hexadecimal digits: was it cut off?")
	}
	return hash(raw), a, nil
}

// ofTokenFile is who sends the token of admin.token_file.
const ofTokenFile = "admin.token_file"

// readTokens reads the tokens that the conf names, with who has them. None: the conf names
// no file.
func readTokens(c config.Admin, secretFile string) (map[hash]Actor, error) {
	tokens := map[hash]Actor{}
	if c.TokensFile != "" {
		list, err := readTokensFile(c.TokensFile)
		if err == nil {
			err = oneUseEach(list, secretFile)
		}
		if err != nil {
			return nil, fmt.Errorf("admin.tokens_file: %w", err)
		}
		maps.Copy(tokens, list)
	}
	if c.TokenFile != "" { // package cluster has compared it with the secret
		token, err := keys.ReadSecret(c.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("admin.token_file: %w", err)
		}
		tokens[hashOf(token.Text())] = Actor{Name: ofTokenFile, Role: Operator}
	}
	return tokens, nil
}

// refresh reads the tokens file again if it has changed. One that can't be read changes
// nothing.
func (g *Guard) refresh() {
	file := g.cfg.Admin.TokensFile
	if file == "" || !g.looking.TryLock() { // somebody else does it
		return
	}
	defer g.looking.Unlock()
	now := keys.State(file)
	if now == g.file {
		return
	}
	g.file = now
	tokens, err := readTokens(g.cfg.Admin, g.cfg.SecretFile)
	if err != nil {
		g.log.Warn("the tokens of before stay in force", "err", err)
		return
	}
	g.mu.Lock()
	g.tokens = tokens
	g.mu.Unlock()
	g.log.Info("tokens read anew", "event", "conf", "what", "the operators' tokens", "file", file, "tokens", len(tokens))
}

// oneUseEach refuses the cluster's secret as a token: a person that gets it for one could do
// the other.
func oneUseEach(tokens map[hash]Actor, secretFile string) error {
	if secretFile == "" {
		return nil
	}
	secrets, err := keys.ReadSecrets(secretFile)
	if err != nil {
		return fmt.Errorf("cluster.secret_file: %w", err)
	}
	for _, secret := range secrets {
		a, ok := tokens[hashOf(secret.Text())]
		if !ok {
			continue
		}
		return fmt.Errorf(
			"the token of %s is the secret in cluster.secret_file, so that an operator's token would make a member: make another "+
				"with `nodeserver token new %s --role %s`",
			a.Name,
			a.Name,
			a.Role,
		)
	}
	return nil
}
