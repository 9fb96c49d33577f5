package conf

import (
	"encoding"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
)

// kind is how a key's value is written.
type kind int

const (
	text     kind = iota
	flag          // true, false
	count         // whole number
	size          // number of bytes, or text like "64KiB"
	duration      // text like "250ms"
	list          // list of texts
	table         // anything, handed on as it is
)

// schema is every key there is, as config.Config has them.
type schema struct {
	kinds    map[string]kind         // by section.key; [[app]] has section app
	words    map[string]reflect.Type // of the keys whose values are one of few words, or a list of such
	sections []string                // those below others included: http.cookie
	envs     map[string]string       // variable to key
}

func newSchema() schema {
	s := schema{kinds: map[string]kind{}, words: map[string]reflect.Type{}, envs: map[string]string{}}
	for f := range reflect.TypeFor[config.Config]().Fields() {
		section, t := f.Tag.Get("conf"), f.Type
		s.sections = append(s.sections, section)
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		s.add(section, t)
	}
	return s
}

// add takes the keys of a section over, and the sections in it.
func (s *schema) add(section string, t reflect.Type) {
	for f := range t.Fields() {
		key, t := section+"."+f.Tag.Get("conf"), f.Type
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() == reflect.Struct {
			s.sections = append(s.sections, key)
			s.add(key, t)
			continue
		}
		s.kinds[key] = kindOf(key, t)
		if isWord(t) {
			s.words[key] = t
		} else if t.Kind() == reflect.Slice && isWord(t.Elem()) {
			s.words[key] = t.Elem()
		}
		if !strings.HasPrefix(key, "app.") {
			s.envs[variable(key)] = key
		}
	}
}

// top are the sections that lie in no other.
func (s schema) top() []string {
	return slices.DeleteFunc(slices.Clone(s.sections), func(name string) bool { return strings.Contains(name, ".") })
}

// word is a value that is one of few words, as package config has them.
type word interface {
	encoding.TextUnmarshaler
	Words() []string
}

func isWord(t reflect.Type) bool { return reflect.PointerTo(t).Implements(reflect.TypeFor[word]()) }

func newWord(t reflect.Type) word { return reflect.New(t).Interface().(word) }

// read says what is wrong with a text where the key's values are one of few words.
func (s schema) read(key, text string) error {
	if t := s.words[key]; t != nil {
		return newWord(t).UnmarshalText([]byte(text))
	}
	return nil
}

// kindOf gives whole numbers whose name ends in _bytes the notation of sizes.
func kindOf(key string, t reflect.Type) kind {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return duration
	case t.Kind() == reflect.Bool:
		return flag
	case t.Kind() == reflect.Int && strings.HasSuffix(key, "_bytes"):
		return size
	case t.Kind() == reflect.Int:
		return count
	case t.Kind() == reflect.Slice:
		return list
	case t.Kind() == reflect.Map:
		return table
	}
	return text
}

// known tells whether the key exists.
func (s schema) known(key string) bool {
	_, ok := s.kinds[key]
	return ok
}

// files are the keys that name files and folders.
var files = []string{
	"node.data_dir", "http.tls_cert", "http.tls_key", "admin.tls_cert", "admin.tls_key",
	"admin.tokens_file", "admin.token_file", "cluster.secret_file",
	"balance.nodes_ca", "channel.tls_ca", "channel.tls_cert", "channel.tls_key", "membership.file", "webapps.dir",
	"log.file",
}

// live are the keys whose changes a running node takes over at SIGHUP, and a balancer as far as
// they are for it. What the files of other keys hold is read anew: see docs/OPERATIONS.md.
var live = []string{
	"http.trusted_proxies", "http.max_connections", "http.max_connections_per_address", "http.max_body_bytes",
	"sessions.max_sessions", "sessions.new_per_address", "webapps.watch", "log.level",
}

// Live tells whether a change of the key is taken over at SIGHUP, without a restart.
func Live(key string) bool { return slices.Contains(live, key) }

// later are keys that are planned, with what holds until they are there. To take
// one and do nothing would be a promise that is not kept.
var later = map[string]string{
	"replication.replicas": "every member holds every session",
}

// renamed are keys of before, which are taken for those of now, with a warning.
var renamed = map[string]string{
	"channel.queue_entries": "channel.change_log_entries",
	"replication.gather":    "replication.batch_delay",
}

func isNow(now string) string {
	return "is " + now + " now: write that, the old name goes with the next version"
}

func noEffect(now string) string { return "has no effect in this version: remove it (" + now + ")" }

// variable is the environment's name for a key.
func variable(key string) string {
	return "NODESERVER_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// unknownKey is the complaint about a key that doesn't exist, with the cure.
func (s schema) unknownKey(key string) string {
	if now, ok := later[key]; ok {
		return noEffect(now)
	}
	if near := s.nearest(key); near != "" {
		return "unknown key (did you mean " + near + "?)"
	}
	section, _, dotted := strings.Cut(key, ".")
	if !dotted {
		return "unknown key: keys stand under a section, like [http]"
	}
	var own []string
	for k := range s.kinds {
		if strings.HasPrefix(k, section+".") {
			own = append(own, k[len(section)+1:])
		}
	}
	if own == nil {
		return "unknown key: there is no section " + section
	}
	slices.Sort(own)
	return "unknown key (known are " + strings.Join(own, ", ") + ")"
}

// nearest is the known key that is most like the given one: one that differs
// in a few letters, or the only one of that name in another section.
func (s schema) nearest(key string) string {
	var known, same []string
	_, last, _ := strings.Cut(key, ".")
	for k := range s.kinds {
		known = append(known, k)
		if last != "" && strings.HasSuffix(k, "."+last) {
			same = append(same, k)
		}
	}
	if near := nearest(key, known); near != "" {
		return near
	}
	if len(same) == 1 {
		return same[0]
	}
	return ""
}

// nearest is the word that takes the fewest edits to get to, or none when that
// is more than a slip of the finger or two.
func nearest(word string, words []string) string {
	best, fewest := "", min(3, (len(word)+2)/4)+1
	for _, w := range slices.Sorted(slices.Values(words)) {
		if d := edits(strings.ToLower(word), strings.ToLower(w)); d < fewest {
			best, fewest = w, d
		}
	}
	return best
}

// edits is how many letters must be put in, taken out or changed (Levenshtein).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
