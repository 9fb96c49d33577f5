package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/webapps"
)

// whole is a handler with all that one may have.
type whole struct {
	text   string
	health func(context.Context) error
	close  func(context.Context) error
}

func (h whole) ServeHTTP(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, h.text) }
func (h whole) Health(ctx context.Context) error                 { return h.health(ctx) }
func (h whole) Close(ctx context.Context) error                  { return h.close(ctx) }

// revision is a plugin of the app shop.
func revision(name string, create func(webapps.Context) (http.Handler, error)) plugins.Plugin {
	return plugins.Plugin{File: "shop.so", Revision: name, App: webapps.App{Name: "shop", Version: name, New: create}}
}

func fine(name string) plugins.Plugin { return revision(name, says("shop", name).New) }

// Whatever is wrong with a revision, the one before goes on serving, and the error says why.
func TestRefusedRevisions(t *testing.T) { synctest.Test(t, testRefusedRevisions) }

func testRefusedRevisions(t *testing.T) {
	tab := table(t, io.Discard, says("shop", "first"))
	tab.cfg.Drain, tab.cfg.MaxRevisions = 30*time.Second, 5
	p := tab.Find("shop")
	var done <-chan struct{}
	closed := 0
	release := make(chan struct{})
	for _, c := range []struct {
		create func(webapps.Context) (http.Handler, error)
		want   string
	}{
		{func(webapps.Context) (http.Handler, error) { return nil, errors.New("no database") }, "shop.so: start app shop: no database"},
		{func(webapps.Context) (http.Handler, error) { panic("out of luck") }, "shop.so: start app shop: its New function panicked: out of luck"},
		{func(webapps.Context) (http.Handler, error) { <-release; return nil, nil }, "shop.so: start app shop: its New function has not returned after 30s"}, //nolint:nilnil // it never gets there
		{func(c webapps.Context) (http.Handler, error) {
			done = c.Done()
			return whole{health: func(context.Context) error { return errors.New("the cache is cold") }, close: func(context.Context) error { closed++; return nil }}, nil
		}, "shop.so: app shop is not healthy: the cache is cold"},
	} {
		err := tab.Redeploy(p, revision(c.want, c.create))
		if err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
		if v := p.Current(); v.Origin != "compiled in" {
			t.Errorf("after %q: %s serves", c.want, v.Version)
		}
	}
	close(release)
	select {
	case <-done:
	default:
		t.Error("Done of a revision that is not healthy is open")
	}
	if closed != 1 {
		t.Errorf("a revision that is not healthy was closed %d times", closed)
	}
	if err := tab.Redeploy(p, fine("sixth")); err == nil || !strings.Contains(err.Error(), "5 revisions of app shop are in this process") {
		t.Errorf("%v, want that there are too many", err)
	}
}

// A revision that was replaced hears of it at once, ends its requests, and cleans up then.
func TestReplaced(t *testing.T) { synctest.Test(t, testReplaced) }

func testReplaced(t *testing.T) {
	var log strings.Builder
	tab := table(t, &log, says("shop", "first"))
	tab.cfg.Drain = 30 * time.Second
	p := tab.Find("shop")
	var closed time.Time
	goOn := make(chan struct{})
	var old webapps.Context
	err := tab.Redeploy(p, revision("second", func(c webapps.Context) (http.Handler, error) {
		old = c
		go func() { <-goOn }() // does not heed Done
		return waiting{c.Done(), func() { closed = time.Now() }}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan string)
	go func() {
		_, body := get(tab, "/shop/")
		answered <- body
	}()
	synctest.Wait()
	begun := time.Now()
	if err := tab.Redeploy(p, fine("third")); err != nil {
		t.Fatal(err)
	}
	<-old.Done() // at once: else the request would never end
	if body := <-answered; body != "told" || time.Since(begun) != time.Second {
		t.Errorf("%q after %v", body, time.Since(begun))
	}
	if _, body := get(tab, "/shop/"); body != "third" {
		t.Errorf("%s serves", body)
	}
	synctest.Wait()
	if got := closed.Sub(begun); got != time.Second {
		t.Errorf("cleaned up after %v, want when the last request has ended", got)
	}
	<-time.After(40 * time.Second) // of the bubble
	synctest.Wait()
	if !strings.Contains(
		log.String(),
		`a revision that was replaced has left goroutines running: they should end when Context.Done closes" app=shop revision=second goroutines=1`,
	) {
		t.Errorf("the log: %s", &log)
	}
	close(goOn)
}

// waiting answers a second after it is told to end.
type waiting struct {
	done   <-chan struct{}
	closed func()
}

func (h waiting) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	<-h.done
	<-time.After(time.Second)
	fmt.Fprint(w, "told")
}

func (h waiting) Close(context.Context) error { h.closed(); return nil }

// A stop has each app clean up, and waits for it within limits.
func TestFinish(t *testing.T) { synctest.Test(t, testFinish) }

func testFinish(t *testing.T) {
	var log strings.Builder
	stuck := make(chan struct{})
	app := func(name string, clean func(context.Context) error) webapps.App {
		return webapps.App{Name: name, New: func(webapps.Context) (http.Handler, error) {
			return whole{health: func(context.Context) error { return nil }, close: clean}, nil
		}}
	}
	tab := table(
		t, &log, app("shop", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }),
		app("stuck", func(context.Context) error { <-stuck; return nil }),
	)
	tab.cfg.Drain = 10 * time.Second
	tab.Stop()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tab.Finish(ctx)
	if took := time.Since(begun); took != 11*time.Second {
		t.Errorf("took %v", took)
	}
	for _, want := range []string{"app=shop revision=\"\" err=\"context deadline exceeded\"", `app=stuck revision="" err="its Close function has not returned after 11s"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %s", want, &log)
		}
	}
	close(stuck)
}
