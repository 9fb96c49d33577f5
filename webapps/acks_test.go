package webapps_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
)

func TestAcksAreWords(t *testing.T) {
	for word, level := range map[string]webapps.Acks{
		"async": webapps.AcksAsync, "one": webapps.AcksOne, "majority": webapps.AcksMajority, "all": webapps.AcksAll,
	} {
		got, err := webapps.ParseAcks(word)
		if got != level || err != nil || level.String() != word {
			t.Errorf("%s is %v, %v", word, got, err)
		}
		var config struct{ Acks webapps.Acks }
		text, err := json.Marshal(level)
		if err != nil || string(text) != `"`+word+`"` {
			t.Errorf("%s as JSON: %s, %v", word, text, err)
		}
		if err := json.Unmarshal([]byte(`{"Acks": "`+word+`"}`), &config); err != nil || config.Acks != level {
			t.Errorf("%s in a config: %v, %v", word, config.Acks, err)
		}
	}
	for _, word := range []string{"", "two", "All"} {
		if got, err := webapps.ParseAcks(word); got != 0 || err == nil ||
			!strings.HasSuffix(err.Error(), "want async, one, majority or all") {
			t.Errorf("%q: %v, %v", word, got, err)
		}
	}
	for _, none := range []webapps.Acks{0, webapps.AcksAll + 1} {
		if text, err := json.Marshal(none); err == nil {
			t.Errorf("no level as JSON: %s", text)
		}
	}
	if got := webapps.Acks(9).String(); got != "Acks(9)" {
		t.Error(got)
	}
}

// A session that a request can't have holds nothing, and says why.
func TestNoSession(t *testing.T) {
	s := webapps.NoSession("shop", webapps.ErrRequestOver)
	s.SetMaxInactive(1)
	_ = s.SetPrincipal("ann")
	s.Remove("n")
	s.Acks(webapps.AcksOne)
	s.Invalidate()
	_, found, read := webapps.Get[int](s, "n")
	for want, err := range map[string]error{
		`app shop: read attribute "n": the request is over`:   read,
		`app shop: set attribute "n": the request is over`:    s.Set("n", 1),
		`app shop: update attribute "n": the request is over`: s.Update("n", new(int), nil),
		`app shop: change session id: the request is over`:    s.ChangeID(),
		`app shop: commit session: the request is over`:       s.Commit(t.Context()),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if found || !s.IsNew() || s.ID() != "" || s.Names() != nil || s.Principal() != "" || !s.Created().IsZero() ||
		!s.LastAccess().IsZero() ||
		s.MaxInactive() != 0 {
		t.Error("it holds something")
	}
	if err := webapps.NoSession("", webapps.ErrRequestOver).Set("n", 1); err.Error() != `set attribute "n": the request is over` {
		t.Error(err)
	}
}
