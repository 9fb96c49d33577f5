package console

import (
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Info is what the process knows of itself.
type Info struct {
	Link   func(link string)       // gets a link that logs a browser in when the node starts; nil: nobody does
	Values []Value                 // the configuration in force
	Lines  func() []string         // the last lines of the log; nil: they are not kept
	Kill   func(node string) error // ends a node as kill -9 does, in demonstrations; nil: there is no button for that
}

// Value is a key of the configuration.
type Value struct {
	Key   string // section.key
	Value string // as TOML
	From  string // default, file and line, variable, command line
}

// process is what the page of the node shows.
type process struct {
	Facts    []fact
	Sections []section
	Lines    []string
	PProf    bool
}

type fact struct{ Name, Value string }

// section are the keys of one section.
type section struct {
	Name   string
	Values []Value
}

var started = time.Now()

func (c *Console) process(w http.ResponseWriter, r *http.Request) {
	data := process{Sections: sections(c.cfg.Values), Facts: c.facts()}
	for _, v := range c.cfg.Values {
		data.PProf = data.PProf || v.Key == "admin.pprof" && v.Value == "true"
	}
	if c.cfg.Lines != nil {
		data.Lines = c.cfg.Lines()
	}
	c.show(w, r, http.StatusOK, "node.html", "Node "+c.cfg.Name, data)
}

// facts are about the process and its build.
func (c *Console) facts() []fact {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	host, _ := os.Hostname() // empty: it has none
	list := []fact{
		{"Node", c.cfg.Name},
		{"Machine", host},
		{"Process", strconv.Itoa(os.Getpid())},
		{"Up for", age(time.Since(started))},
		{"Version", c.cfg.Version},
		{"Go", runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH},
		{"Memory from the system", number(float64(m.Sys)/(1<<20)) + " MiB"},
		{"Goroutines", strconv.Itoa(runtime.NumGoroutine())},
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, s := range build.Settings {
			if s.Key == "vcs.revision" || s.Key == "vcs.time" || s.Key == "vcs.modified" {
				list = append(list, fact{"Source, " + strings.TrimPrefix(s.Key, "vcs."), s.Value})
			}
		}
	}
	return list
}

// sections puts the values in order. What webapps are given may hold secrets, and is not shown.
func sections(values []Value) (list []section) {
	for _, v := range values {
		i := strings.LastIndexByte(v.Key, '.')
		name := v.Key[:max(i, 0)]
		if strings.HasPrefix(v.Key, "app.") && strings.Contains(v.Key, ".config") {
			v.Value = "(not shown)"
		}
		v.Key = v.Key[i+1:]
		if n := len(list); n == 0 || list[n-1].Name != name {
			list = append(list, section{Name: name})
		}
		last := &list[len(list)-1]
		last.Values = append(last.Values, v)
	}
	return list
}
