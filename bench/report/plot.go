package report

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/nodeserver/nodeserver/bench/record"
)

var (
	oursColor   = color.RGBA{R: 0x1b, G: 0x7f, B: 0x5c, A: 0xff}
	othersColor = color.RGBA{R: 0x9a, G: 0xa5, B: 0xb1, A: 0xff}
)

// Plots draws the plots into a folder.
func Plots(dir string, f *record.File) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range []struct {
		file, title, work, value string
	}{
		{"bench-cpu-sticky.svg", "CPU µs per /inc, all processes (sticky, 64 workers)", sticky, "cpu_us"},
		{"bench-cpu-random.svg", "CPU µs per /inc, all processes (random node, 64 workers)", random, "cpu_us"},
		{"bench-p99.svg", "p99 of /inc, ms (sticky, 64 workers)", sticky, "p99_ms"},
		{"bench-wire.svg", "TCP payload per /inc, bytes, all connections (sticky, 64 workers)", sticky, "wire_bytes"},
	} {
		if err := bars(filepath.Join(dir, p.file), p.title, f, p.work, p.value); err != nil {
			return fmt.Errorf("draw %s: %w", p.file, err)
		}
	}
	if err := scalePlot(filepath.Join(dir, "bench-scale.svg"), f); err != nil {
		return fmt.Errorf("draw bench-scale.svg: %w", err)
	}
	return nil
}

// bars draws a bar for each kind, the first on top, with a line from the least to
// the most.
func bars(path, heading string, f *record.File, work, value string) error {
	var names []string
	var spreads []record.Spread
	var isOurs []bool
	ids := kinds(f, "load")
	for _, id := range slices.Backward(ids) {
		s := f.Of("load", id, own(id, work), value)
		if s.N == 0 || s.Max == 0 {
			continue
		}
		names = append(names, title(f, id))
		spreads = append(spreads, s)
		isOurs = append(isOurs, strings.HasPrefix(id, "nodeserver"))
	}
	if len(names) == 0 {
		return nil
	}
	p := plot.New()
	p.Title.Text = heading
	p.X.Min = 0
	p.X.Tick.Marker = plot.TickerFunc(ticks)
	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	p.Add(grid)
	for i, s := range spreads {
		if err := bar(p, i, s, isOurs[i]); err != nil {
			return err
		}
	}
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4
	return save(p, path, 8*vg.Inch, vg.Length(len(names))*0.32*vg.Inch+vg.Inch)
}

// ticks are the usual ones with numbers as short as in the tables.
func ticks(least, most float64) []plot.Tick {
	list := plot.DefaultTicks{}.Ticks(least, most)
	for i, t := range list {
		if t.Label != "" {
			list[i].Label = number(t.Value)
		}
	}
	return list
}

func bar(p *plot.Plot, at int, s record.Spread, ours bool) error {
	b, err := plotter.NewBarChart(plotter.Values{s.Median}, 14)
	if err != nil {
		return err
	}
	b.Horizontal, b.XMin, b.LineStyle.Width = true, float64(at), 0
	b.Color = othersColor
	if ours {
		b.Color = oursColor
	}
	p.Add(b)
	y := float64(at)
	line, err := plotter.NewLine(plotter.XYs{{X: s.Min, Y: y}, {X: s.Max, Y: y}})
	if err != nil {
		return err
	}
	line.Width = 1.5
	label, err := plotter.NewLabels(plotter.XYLabels{XYs: []plotter.XY{{X: s.Max, Y: y}}, Labels: []string{"  " + number(s.Median)}})
	if err != nil {
		return err
	}
	label.TextStyle[0].YAlign = draw.YCenter
	p.Add(line, label)
	p.X.Max = max(p.X.Max, s.Max*1.12)
	return nil
}

// scalePlot draws the cost of a request over the number of members.
func scalePlot(path string, f *record.File) error {
	var points plotter.XYs
	for _, w := range f.Works("scale", async) {
		n, err := strconv.Atoi(w)
		if s := f.Of("scale", async, w, "cpu_us"); err == nil && s.N > 0 {
			points = append(points, plotter.XY{X: float64(n), Y: s.Median})
		}
	}
	if len(points) == 0 {
		return nil
	}
	p := plot.New()
	p.Title.Text = "CPU µs per /inc, all members together"
	p.X.Label.Text, p.Y.Label.Text = "members", "CPU µs"
	p.X.Min, p.Y.Min = 0, 0
	p.Y.Tick.Marker = plot.TickerFunc(ticks)
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, dots.Color, line.Width = oursColor, oursColor, 2
	dots.Shape = draw.CircleGlyph{}
	p.Add(plotter.NewGrid(), line, dots)
	return save(p, path, 6*vg.Inch, 3.2*vg.Inch)
}

func save(p *plot.Plot, path string, w, h vg.Length) error {
	c := vgsvg.New(w, h)
	p.BackgroundColor = color.White
	const margin = 8
	p.Draw(draw.Crop(draw.New(c), margin, -margin, margin, -margin))
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = c.WriteTo(out)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}
