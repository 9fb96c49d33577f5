// Package record is what a benchmark leaves behind: one JSON file with every
// single run, the machine and the versions. Tables and plots are made from it, so
// that they can be made again, and doubted.
package record

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Schema names the format of a File.
const Schema = "nodeserver.bench/1"

// File is one benchmark.
type File struct {
	Schema   string            `json:"schema"`
	Command  string            `json:"command"`
	Profile  string            `json:"profile"` // quick or full
	Started  time.Time         `json:"started"`
	Ended    time.Time         `json:"ended"`
	Machine  Machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Titles   map[string]string `json:"titles"`  // of the kinds, by id
	Missing  map[string]string `json:"missing"` // kinds that could not run, and why
	Notes    []string          `json:"notes"`   // what was left out or went wrong
	Runs     []Run             `json:"runs"`
	More     []Session         `json:"more,omitempty"` // benchmarks that Add added
}

// Session is a benchmark whose runs were added to those of another.
type Session struct {
	Command    string    `json:"command"`
	Profile    string    `json:"profile"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended"`
	Nodeserver string    `json:"nodeserver"` // version
}

// Machine is what it ran on.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory_bytes"`
	System string `json:"system"`
	Kernel string `json:"kernel"`
}

// Run is one measurement.
type Run struct {
	What   string             `json:"what"` // load, memory, join, lag, failover or scale
	Kind   string             `json:"kind"` // of cluster
	Work   string             `json:"work"`
	Round  int                `json:"round"`
	Values map[string]float64 `json:"values"`
	Error  string             `json:"error,omitempty"`
}

// Values are the numbers of a result, by their JSON names.
func Values(result any) map[string]float64 {
	b, err := json.Marshal(result)
	if err != nil {
		panic(fmt.Sprintf("result %T: %v", result, err)) // they are plain structs
	}
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		panic(fmt.Sprintf("result %T: %v", result, err))
	}
	values := map[string]float64{}
	for k, v := range all {
		if n, ok := v.(float64); ok {
			values[k] = round(n)
		}
	}
	return values
}

// round keeps five digits: more are noise.
func round(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	scale := math.Pow(10, 4-math.Floor(math.Log10(math.Abs(v))))
	if scale < 1 {
		return math.Round(v)
	}
	return math.Round(v*scale) / scale
}

// Save writes the file, whole or not at all, and its folder where there is none.
func (f *File) Save(path string) error {
	b, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Load reads a file.
func Load(path string) (*File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{}
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("read results %s: %w", path, err)
	}
	if f.Schema != Schema {
		return nil, fmt.Errorf("read results %s: schema is %q, want %q", path, f.Schema, Schema)
	}
	return f, nil
}

// Spread is a median and its range over N runs; N is 0 where there is none.
type Spread struct {
	Median, Min, Max float64
	N                int
}

// SpreadOf is the spread of the values.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Clone(values)
	slices.Sort(v)
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (m + v[len(v)/2-1]) / 2
	}
	return Spread{m, v[0], v[len(v)-1], len(v)}
}

// Of is the spread of a value over the good runs of a cell.
func (f *File) Of(what, kind, work, value string) Spread {
	var all []float64
	for _, r := range f.runs(what, kind, work) {
		if v, ok := r.Values[value]; ok {
			all = append(all, v)
		}
	}
	return SpreadOf(all)
}

// Sum is the sum of a value over all runs of a cell, and how many there were.
func (f *File) Sum(what, kind, work, value string) (sum float64, n int) {
	for _, r := range f.runs(what, kind, work) {
		sum += r.Values[value]
		n++
	}
	return sum, n
}

// Ratio is the spread of the quotients of a value in two cells, each of the same
// round.
func (f *File) Ratio(what, value, kind, work, baseKind, baseWork string) Spread {
	base := map[int]float64{}
	for _, r := range f.runs(what, baseKind, baseWork) {
		base[r.Round] = r.Values[value]
	}
	var all []float64
	for _, r := range f.runs(what, kind, work) {
		if b := base[r.Round]; b > 0 {
			all = append(all, r.Values[value]/b)
		}
	}
	return SpreadOf(all)
}

// Beyond is the spread of the differences of a value in two works of a kind, each
// of the same round.
func (f *File) Beyond(what, value, kind, work, baseWork string) Spread {
	base := map[int]float64{}
	for _, r := range f.runs(what, kind, baseWork) {
		base[r.Round] = r.Values[value]
	}
	var all []float64
	for _, r := range f.runs(what, kind, work) {
		if b, ok := base[r.Round]; ok {
			all = append(all, r.Values[value]-b)
		}
	}
	return SpreadOf(all)
}

// Quotient is the spread of a value divided by another of the same run.
func (f *File) Quotient(what, kind, work, value, by string) Spread {
	var all []float64
	for _, r := range f.runs(what, kind, work) {
		if b := r.Values[by]; b > 0 {
			all = append(all, r.Values[value]/b)
		}
	}
	return SpreadOf(all)
}

// Failed is how many runs of a cell went wrong; they are in no other figure.
func (f *File) Failed(what, kind, work string) (n int) {
	for _, r := range f.Runs {
		if r.What == what && r.Kind == kind && r.Work == work && r.Error != "" {
			n++
		}
	}
	return n
}

// Add adds the runs of another file. Its rounds stay its own: no ratio is made of
// a run here and one there. What was missing in one only was not missing.
func (f *File) Add(more *File) {
	last := 0
	for _, r := range f.Runs {
		last = max(last, r.Round)
	}
	for _, r := range more.Runs {
		r.Round += last
		f.Runs = append(f.Runs, r)
	}
	maps.DeleteFunc(f.Missing, func(id, _ string) bool { return more.Missing[id] == "" && len(more.Works("load", id)) > 0 })
	for id, why := range more.Missing {
		if len(f.Works("load", id)) == 0 {
			f.Missing[id] = why
		}
	}
	maps.Copy(f.Titles, more.Titles)
	f.Notes = append(f.Notes, more.Notes...)
	f.More = append(
		append(f.More, Session{more.Command, more.Profile, more.Started, more.Ended, more.Versions["nodeserver"]}),
		more.More...)
}

// Works are the works of a cell's kind in the order they were first run; with
// kind "" of all.
func (f *File) Works(what, kind string) (works []string) {
	for _, r := range f.Runs {
		if r.What == what && (kind == "" || r.Kind == kind) && !slices.Contains(works, r.Work) {
			works = append(works, r.Work)
		}
	}
	return works
}

func (f *File) runs(what, kind, work string) (list []Run) {
	for _, r := range f.Runs {
		if r.What == what && r.Kind == kind && r.Work == work && r.Error == "" {
			list = append(list, r)
		}
	}
	return list
}
