package events

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// logger writes records of level Warn on to a text, and remembers events.
func logger() (*slog.Logger, *Ring, *strings.Builder) {
	var text strings.Builder
	r := NewRing("n1", "ab")
	return slog.New(Handler(r, slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}))).With("node", "n1"), r, &text
}

func texts(r *Ring) (list []string) {
	events, _ := r.After(0)
	for _, e := range events {
		list = append(list, strconv.Itoa(e.Count)+" "+e.Text)
	}
	return list
}

func wantTexts(t *testing.T, r *Ring, want ...string) {
	t.Helper()
	if got := strings.Join(texts(r), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

// A record is an event by its attribute, whatever the log's level is, and nothing gets into it
// but what its sentence names.
func TestRecordsBecomeEvents(t *testing.T) {
	log, r, text := logger()
	log.Info("no event", "member", "n2")
	log.Info("x", Key, "joined", "member", "n2#0001", "addr", "127.0.0.1:1", "token", "nsec1-secret")
	log.With("app", "cart").Warn("y", Key, "ended", "sessions", 3)
	log.Error("z", Key, "notready", "err", errors.New("two\nlines \x1b[31m"))
	log.Error("z", Key, "notready")
	log.Info("w", Key, "nonsense")
	log.WithGroup("g").Info("v", Key, "joined")
	wantTexts(t, r, "1 n2#0001 has joined, at 127.0.0.1:1", "1 no other member hosts app cart: its 3 sessions have ended",
		"1 n1 serves no users: two lines  [31m", "1 n1 serves no users")
	if strings.Contains(text.String(), "joined") || !strings.Contains(text.String(), "msg=y") {
		t.Errorf("log:\n%s", text)
	}
	list, _ := r.After(0)
	if e := list[1]; e.Node != "n1" || e.Incarnation != "ab" || e.App != "cart" || e.Level != "WARN" || e.Kind != "ended" || e.Seq != 2 {
		t.Errorf("%+v", e)
	}
}

// What repeats is counted, as long as it does so within a minute.
func TestRepeatedEventsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, r, _ := logger()
		refused := func(args ...any) {
			log.Warn("x", append([]any{Key, "refused", "addr", "a", "err", "no"}, args...)...)
		}
		refused()
		log.Info("y", Key, "stopping")
		refused()
		refused("more", 40)
		wantTexts(t, r, "1 n1 was asked to stop", "43 a node was refused at a: no")
		list, _ := r.After(2)
		if len(list) != 1 || list[0].Seq != 4 {
			t.Errorf("after 2: %+v", list)
		}
		<-time.After(2 * time.Minute)
		refused()
		if got := texts(r); len(got) != 3 || !strings.HasPrefix(got[2], "1 ") {
			t.Errorf("%q", got)
		}
		list, _ = r.After(4)
		if len(list) != 1 || !list[0].First.Equal(list[0].Time) {
			t.Errorf("after 4: %+v", list)
		}
	})
}

func TestRingIsBounded(t *testing.T) {
	log, r, _ := logger()
	for i := range Size + 100 {
		log.Info("x", Key, "joined", "member", "n"+strconv.Itoa(i))
	}
	list, _ := r.After(0)
	if len(list) != Size || list[0].Seq != 101 || list[Size-1].Seq != Size+100 {
		t.Errorf("%d events, from %d", len(list), list[0].Seq)
	}
}

// Events come in order, from where the reader was; of another life, from its start.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, r, _ := logger()
		log.Info("x", Key, "started", "version", "1")
		log.Info("x", Key, "stopping")
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		done := make(chan error)
		go func() {
			done <- r.Follow(ctx, Position{"ab", 1}, true, func(e Event) error {
				got = append(got, e.Text)
				return nil
			})
		}()
		synctest.Wait()
		log.Info("x", Key, "stopped")
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || strings.Join(got, "; ") != "n1 was asked to stop; n1 has stopped" {
			t.Errorf("%v, %q", err, got)
		}
		all := 0
		if err := r.Follow(t.Context(), Position{"other", 99}, false, func(Event) error { all++; return nil }); err != nil || all != 3 {
			t.Errorf("another life: %d, %v", all, err)
		}
	})
}

func TestPositions(t *testing.T) {
	p := Positions{"n2": {"ab", 7}, "n1": {"00cd", 1}}
	again, err := ParsePositions(p.String())
	if err != nil || again.String() != "n1.00cd.1,n2.ab.7" {
		t.Errorf("%v, %v", again, err)
	}
	p.Read(Event{Node: "n2", Incarnation: "ab", Seq: 3})
	p.Read(Event{Node: "n1", Incarnation: "ef", Seq: 1})
	if p.String() != "n1.ef.1,n2.ab.7" {
		t.Error(p)
	}
	for _, wrong := range []string{"n1", "n1.ab", "n1.ab.x", ".ab.1", ",", "n1.ab.-1"} {
		if p, err := ParsePositions(wrong); err == nil {
			t.Errorf("%q: %v", wrong, p)
		}
	}
}

// Each kind in the source has a sentence, each sentence is used, and the operators' page names it.
func TestKindsAreThoseOfTheSource(t *testing.T) {
	used, call := map[Kind]bool{}, regexp.MustCompile(`"event", "([a-z]+)"`)
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range call.FindAllSubmatch(source, -1) {
			used[Kind(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for k := range used {
		if Kinds[k] == "" {
			t.Errorf("a record of kind %q has no sentence", k)
		}
	}
	for k := range Kinds {
		if !used[k] {
			t.Errorf("no record is of kind %q", k)
		}
		if !strings.Contains(string(page), "`"+string(k)+"`") {
			t.Errorf("docs/OPERATIONS.md does not name %q", k)
		}
	}
}
