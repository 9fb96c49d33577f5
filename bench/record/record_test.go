package record

import (
	"path/filepath"
	"reflect"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3, 1}},
		{[]float64{5, 1, 3}, Spread{3, 1, 5, 3}},
		{[]float64{4, 1, 2, 3}, Spread{2.5, 1, 4, 4}},
	} {
		if got := SpreadOf(c.in); got != c.want {
			t.Errorf("SpreadOf(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

// Ratios are made within a round: here each is 2, though the medians' quotient is
// not, and a round that lacks one of the two doesn't count.
func TestRatio(t *testing.T) {
	f := &File{}
	for round, v := range []float64{10, 30, 100} {
		f.Runs = append(f.Runs, Run{What: "load", Kind: "a", Work: "w", Round: round, Values: map[string]float64{"x": v}})
		if round > 0 {
			f.Runs = append(f.Runs, Run{What: "load", Kind: "b", Work: "v", Round: round, Values: map[string]float64{"x": 2 * v}})
		}
	}
	f.Runs = append(f.Runs, Run{What: "load", Kind: "b", Work: "v", Round: 0, Error: "broke", Values: map[string]float64{"x": 1}})
	if got, want := f.Ratio("load", "x", "b", "v", "a", "w"), (Spread{2, 2, 2, 2}); got != want {
		t.Errorf("ratio %v, want %v", got, want)
	}
}

func TestValues(t *testing.T) {
	type inner struct {
		P50 float64 `json:"p50_ms"`
	}
	got := Values(struct {
		N     int     `json:"n"`
		X     float64 `json:"x"`
		Large float64 `json:"large"`
		First string  `json:"first"`
		inner
	}{3, 1.23456789, 1234567.8, "text", inner{0.5}})
	delete(got, "p50_ms") // not exported, so not in JSON
	if want := map[string]float64{"n": 3, "x": 1.2346, "large": 1234568}; !reflect.DeepEqual(got, want) {
		t.Errorf("values %v, want %v", got, want)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results", "f.json")
	f := &File{Schema: Schema, Runs: []Run{{What: "load", Kind: "a", Values: map[string]float64{"x": 1}}}}
	if err := f.Save(path); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(path); err != nil || !reflect.DeepEqual(got.Runs, f.Runs) {
		t.Errorf("read back %+v, %v", got, err)
	}
	f.Schema = "other/1"
	if err := f.Save(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("read a file of another schema")
	}
}

// What is added counts in spreads, in no ratio with what was there, and shows that
// a kind was not missing after all.
func TestAdd(t *testing.T) {
	a := &File{Titles: map[string]string{}, Missing: map[string]string{"b": "not here"}}
	a.Runs = []Run{{What: "load", Kind: "a", Work: "w", Round: 1, Values: map[string]float64{"x": 10}}}
	b := &File{Command: "again", Notes: []string{"late"}}
	b.Runs = []Run{
		{What: "load", Kind: "b", Work: "w", Round: 1, Values: map[string]float64{"x": 40}},
		{What: "load", Kind: "a", Work: "w", Round: 1, Values: map[string]float64{"x": 20}},
		{What: "load", Kind: "a", Work: "w", Round: 2, Error: "broke"},
	}
	a.Add(b)
	if got, want := a.Of("load", "a", "w", "x"), (Spread{15, 10, 20, 2}); got != want {
		t.Errorf("spread %v, want %v", got, want)
	}
	if got, want := a.Ratio("load", "x", "b", "w", "a", "w"), (Spread{2, 2, 2, 1}); got != want {
		t.Errorf("ratio %v, want %v", got, want)
	}
	if len(a.Missing) > 0 || len(a.More) != 1 || a.More[0].Command != "again" || len(a.Notes) != 1 || a.Failed("load", "a", "w") != 1 {
		t.Errorf("added to %+v", a)
	}
}
