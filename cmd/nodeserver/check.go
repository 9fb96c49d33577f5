package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/conf"
)

func newCheckCommand(e env) *cobra.Command {
	var file string
	var sets []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check --conf FILE [--set KEY=VALUE]...",
		Short: "Say what is wrong with a configuration, or what is in force and why",
		Long: `Say what is wrong with a configuration or, if nothing is, print all of it with the place
where each value comes from. "changed by SIGHUP" stands at those that a running node or
balancer takes over when it gets that signal; others need a restart.`,
		Args: cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			_, origins, err := conf.Load(file, sets, e.environ)
			if asJSON {
				return checkJSON(e.stdout, origins, err)
			}
			if err != nil {
				return err
			}
			for _, w := range origins.Warnings {
				put(e.stderr, "warning: %s\n", w)
			}
			return printValues(e.stdout, origins.Values)
		},
	}
	confFlags(c, &file, &sets)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	must(c.MarkFlagRequired("conf"))
	return c
}

// printValues prints the configuration as TOML with the origins as comments.
func printValues(w io.Writer, values []conf.Origin) error {
	var text strings.Builder
	section, width := "", 0
	for _, v := range values {
		width = max(width, min(len(name(v.Key))+len(v.Value)+3, 60))
	}
	for _, v := range values {
		key := name(v.Key)
		if s := strings.TrimSuffix(v.Key, "."+key); s != section {
			if section != "" {
				text.WriteString("\n")
			}
			section = s
			fmt.Fprintf(&text, "[%s]\n", s)
		}
		live := ""
		if conf.Live(v.Key) {
			live = "; changed by SIGHUP"
		}
		fmt.Fprintf(&text, "%-*s  # %s%s\n", width, key+" = "+v.Value, v.From, live)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// name is the last word of section.key.
func name(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// checkReply is what check --json prints.
type checkReply struct {
	Schema   string      `json:"schema"` // nodeserver.check/1
	Good     bool        `json:"good"`
	Problems []checkLine `json:"problems"`
	Warnings []checkLine `json:"warnings"`
	Values   []checkRow  `json:"values"` // none if there are problems
}

type checkLine struct {
	Place string `json:"place"`
	Key   string `json:"key,omitempty"`
	Text  string `json:"text"`
}

type checkRow struct {
	Key   string `json:"key"`
	Value string `json:"value"` // as TOML
	From  string `json:"from"`
	Live  bool   `json:"live"` // a change is taken over at SIGHUP
}

func checkJSON(w io.Writer, origins *conf.Origins, err error) error {
	reply := checkReply{
		Schema:   "nodeserver.check/1",
		Good:     err == nil,
		Problems: []checkLine{},
		Warnings: []checkLine{},
		Values:   []checkRow{},
	}
	var wrong *conf.Error
	switch {
	case errors.As(err, &wrong):
		reply.Problems = checkLines(wrong.Problems)
	case err != nil:
		return err
	default:
		reply.Warnings = checkLines(origins.Warnings)
		for _, v := range origins.Values {
			reply.Values = append(reply.Values, checkRow{Key: v.Key, Value: v.Value, From: v.From, Live: conf.Live(v.Key)})
		}
	}
	if err := printJSON(w, reply); err != nil {
		return err
	}
	if wrong != nil {
		return errSilent
	}
	return nil
}

func checkLines(problems []conf.Problem) []checkLine {
	lines := []checkLine{}
	for _, p := range problems {
		lines = append(lines, checkLine{Place: p.Place, Key: p.Key, Text: p.Text})
	}
	return lines
}

// printJSON prints the value for people and programs.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
