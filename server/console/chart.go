package console

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
)

// What the charts show.
const (
	sampleTime = 5 * time.Second
	shown      = 15 * time.Minute
	samples    = int(shown/sampleTime) + 1
)

// history holds the samples of the last minutes.
type history struct {
	mu   sync.Mutex
	list []admin.Sample // the oldest first
}

func (h *history) add(s admin.Sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, s)
	if n := len(h.list) - samples; n > 0 {
		h.list = slices.Delete(h.list, 0, n)
	}
}

func (h *history) all() []admin.Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.list)
}

// chart is lines over the last minutes, as a template draws them.
type chart struct {
	Title, Unit string
	Top, Middle string // labels of the axis
	Lines       []line
}

// line is one of them: a path in a box that is 900 wide (seconds) and 100 high.
type line struct {
	Name, Now, Most string
	Path            string
}

// point is a value at a time.
type point struct {
	at    time.Time
	value float64
}

// series are values over time, by name.
type series map[string][]point

// rate is how much a counter grows in a second.
func rate(past []admin.Sample, name string, counter func(admin.Sample) int64) series {
	list := []point{}
	for i := 1; i < len(past); i++ {
		took := past[i].At.Sub(past[i-1].At).Seconds()
		list = append(list, point{past[i].At, float64(max(0, counter(past[i])-counter(past[i-1]))) / took})
	}
	return series{name: list}
}

// level is what a map of each sample has, by name.
func level[V int | int64 | float64](past []admin.Sample, of func(admin.Sample) map[string]V) series {
	all := series{}
	for _, s := range past {
		for name, v := range of(s) {
			all[name] = append(all[name], point{s.At, float64(v)})
		}
	}
	return all
}

// maxLines is how many lines a chart has at most: those with the highest values.
const maxLines = 6

// draw makes a chart that ends now.
func draw(title, unit string, all series, now time.Time) chart {
	most := func(list []point) (m float64) {
		for _, p := range list {
			m = max(m, p.value)
		}
		return m
	}
	names := slices.Sorted(maps.Keys(all))
	if len(names) > maxLines {
		slices.SortStableFunc(names, func(a, b string) int { return int(most(all[b]) - most(all[a])) })
		names = slices.Sorted(slices.Values(names[:maxLines]))
	}
	highest := 0.0
	for _, name := range names {
		highest = max(highest, most(all[name]))
	}
	top := ceiling(highest)
	c := chart{Title: title, Unit: unit, Top: number(top), Middle: number(top / 2)}
	for _, name := range names {
		list := all[name]
		l := line{Name: name, Most: number(most(list)), Path: trace(list, top, now)}
		if len(list) > 0 {
			l.Now = number(list[len(list)-1].value)
		}
		c.Lines = append(c.Lines, l)
	}
	return c
}

// trace is a line through the points. Where samples are missing, it has a gap.
func trace(list []point, top float64, now time.Time) string {
	var d strings.Builder
	var before time.Time
	for _, p := range list {
		verb := "L"
		if p.at.Sub(before) > 3*sampleTime {
			verb = "M"
		}
		before = p.at
		x := (shown - now.Sub(p.at)).Seconds()
		if x >= 0 {
			fmt.Fprintf(&d, "%s%.0f %.1f", verb, x, 100-100*p.value/top)
		}
	}
	return strings.Replace(d.String(), "L", "M", 1)
}

// ceiling is the next round number, so that an axis has labels that can be read.
func ceiling(v float64) float64 {
	for unit := 1.0; ; unit *= 10 {
		for _, n := range []float64{1, 2, 4, 6, 10} {
			if v <= n*unit {
				return n * unit
			}
		}
	}
}

// number is a value in few digits.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', 1, 64) + "M"
	case v >= 1e4:
		return strconv.FormatFloat(v/1e3, 'f', 0, 64) + "k"
	case v >= 10 || v == float64(int64(v)):
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}
