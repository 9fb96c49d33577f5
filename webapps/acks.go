package webapps

import (
	"fmt"
	"strconv"
)

// Acks is the ack level of a write: how many other nodes must have applied it before
// its request is answered. The zero value is no level. As text, in JSON and in an app's
// config, a level is the word that [replication] acks in the node's conf has for it.
type Acks uint8

// The ack levels.
const (
	AcksAsync    Acks = iota + 1 // "async": none
	AcksOne                      // "one": one other node
	AcksMajority                 // "majority": with this node, more than half of those that host the app
	AcksAll                      // "all": all other nodes that host the app
)

var acksWords = [...]string{AcksAsync: "async", AcksOne: "one", AcksMajority: "majority", AcksAll: "all"}

// String is the level's word.
func (a Acks) String() string {
	if !a.valid() {
		return "Acks(" + strconv.Itoa(int(a)) + ")"
	}
	return acksWords[a]
}

func (a Acks) valid() bool { return a > 0 && int(a) < len(acksWords) }

// ParseAcks returns the level with the word; the error lists the words there are.
func ParseAcks(word string) (Acks, error) {
	for a := AcksAsync; a.valid(); a++ {
		if acksWords[a] == word {
			return a, nil
		}
	}
	return 0, fmt.Errorf("ack level %q: want async, one, majority or all", word)
}

// MarshalText implements encoding.TextMarshaler.
func (a Acks) MarshalText() ([]byte, error) {
	if !a.valid() {
		return nil, fmt.Errorf("%v is no ack level", a)
	}
	return []byte(acksWords[a]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Acks) UnmarshalText(word []byte) (err error) {
	*a, err = ParseAcks(string(word))
	return err
}
