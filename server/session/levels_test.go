package session

import (
	"testing"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/webapps"
)

// The levels and limits that authors know are those of the conf and of the delta manager.
func TestLevelsAndLimitsAreOne(t *testing.T) {
	words := config.Acks("").Words()
	if len(words) != len(levels)-1 {
		t.Errorf("the conf has %v, authors %d levels", words, len(levels)-1)
	}
	for _, word := range words {
		if level, err := webapps.ParseAcks(word); err != nil || levels[level].String() != word {
			t.Errorf("%s: %v is the delta manager's %v, %v", word, level, levels[level], err)
		}
	}
	if webapps.MaxAttributes != deltamanager.MaxNames || webapps.MaxNameBytes != deltamanager.MaxName {
		t.Error("the limits differ")
	}
}
