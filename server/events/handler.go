package events

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"unicode"
)

// Key is the attribute of a record that makes it an event; its value is the Kind.
const Key = "event"

// moreKey is the attribute that says how many records like this one were left out.
const moreKey = "more"

// handler hands records to another one, and events to the ring, too.
type handler struct {
	slog.Handler
	ring  *Ring
	attrs []slog.Attr
	group bool // attributes are in a group from here on, and count no more
}

// Handler makes a log handler that remembers events in the ring, and hands all records on to next.
func Handler(r *Ring, next slog.Handler) slog.Handler { return &handler{Handler: next, ring: r} }

// Enabled implements slog.Handler: events are remembered whatever the log's level is.
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || h.Handler.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	h.note(r)
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.Handler = h.Handler.WithAttrs(attrs)
	if !h.group {
		c.attrs = append(slices.Clip(h.attrs), attrs...)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.Handler, c.group = h.Handler.WithGroup(name), true
	return &c
}

// note remembers the record if it is an event.
func (h *handler) note(r slog.Record) {
	e := Event{Time: r.Time, Count: 1, Level: r.Level.String()}
	if !h.group {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == Key {
				e.Kind = Kind(a.Value.String())
			}
			return e.Kind == ""
		})
	}
	sentence, known := Kinds[e.Kind]
	if !known {
		return
	}
	values := map[string]string{}
	for _, a := range h.attrs {
		values[a.Key] = a.Value.String()
	}
	r.Attrs(func(a slog.Attr) bool {
		values[a.Key] = a.Value.String()
		if a.Key == moreKey && a.Value.Kind() == slog.KindInt64 {
			e.Count += int(a.Value.Int64())
		}
		return true
	})
	e.App, e.Text = values["app"], said(sentence, values)
	h.ring.add(e)
}

// maxText is how long a sentence may be, in bytes: what a member or a plugin says is in it.
const maxText = 1000

// said puts the values into the sentence.
func said(sentence string, values map[string]string) string {
	var b strings.Builder
	for sentence != "" {
		i := strings.IndexByte(sentence, '[')
		if i < 0 {
			filled, _ := fill(sentence, values)
			b.WriteString(filled)
			break
		}
		filled, _ := fill(sentence[:i], values)
		b.WriteString(filled)
		part, rest, _ := strings.Cut(sentence[i+1:], "]")
		if filled, all := fill(part, values); all {
			b.WriteString(filled)
		}
		sentence = rest
	}
	text := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(b.String(), "?"), unicode.IsControl), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// fill puts values in place of their names; false: there is none for one of them.
func fill(part string, values map[string]string) (text string, all bool) {
	all = true
	for {
		before, rest, found := strings.Cut(part, "{")
		text += before
		if !found {
			return text, all
		}
		name, after, _ := strings.Cut(rest, "}")
		value := values[name]
		all = all && value != ""
		text, part = text+value, after
	}
}
