package events

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Position is how far the events of a node's life were read.
type Position struct {
	Incarnation string // hex
	Seq         uint64 // of the last one
}

// Positions are how far the events of several nodes were read, by node.
type Positions map[string]Position

// maxPositions bounds what a client may hand in.
const maxPositions = 256

// String is NAME.INCARNATION.SEQ of each node, with commas between.
func (p Positions) String() string {
	var list []string
	for _, node := range slices.Sorted(maps.Keys(p)) {
		list = append(list, node+"."+p[node].Incarnation+"."+strconv.FormatUint(p[node].Seq, 10))
	}
	return strings.Join(list, ",")
}

// ParsePositions reads what String has written.
func ParsePositions(text string) (Positions, error) {
	p := Positions{}
	if text == "" {
		return p, nil
	}
	parts := strings.Split(text, ",")
	if len(parts) > maxPositions {
		return nil, fmt.Errorf("a position has the nodes of one cluster, %d at most", maxPositions)
	}
	for _, part := range parts {
		node, rest, _ := strings.Cut(part, ".")
		incarnation, seq, _ := strings.Cut(rest, ".")
		n, err := strconv.ParseUint(seq, 10, 64)
		if node == "" || incarnation == "" || err != nil {
			return nil, fmt.Errorf("%.60q is no position among events: use the id of one that came before", part)
		}
		p[node] = Position{incarnation, n}
	}
	return p, nil
}

// Read notes that an event was read, in whichever order.
func (p Positions) Read(e Event) {
	if was := p[e.Node]; was.Incarnation != e.Incarnation || was.Seq < e.Seq {
		p[e.Node] = Position{e.Incarnation, e.Seq}
	}
}
