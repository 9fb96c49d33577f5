//go:build browser

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser is Chromium, used by the keyboard.
type browser struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // of one test
	axe  string
	site string // http://host:port
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	axe, err := os.ReadFile(filepath.Join(filepath.Dir(bin), "axe/node_modules/axe-core/axe.min.js"))
	if err != nil {
		t.Fatalf("%v: run the browser tests by make browser", err)
	}
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox)...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, axe: string(axe)}
	b.size(1280, 900)
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// evaluate returns what the page says, again where it was just replaced by another.
func evaluate[T any](b *browser, expression string) (result T) {
	b.t.Helper()
	within(b.t, time.Minute, expression, func() (err error) {
		result, err = chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
		return err
	})
	return result
}

// is evaluates a condition.
func (b *browser) is(condition string) bool {
	b.t.Helper()
	return evaluate[bool](b, "Boolean("+condition+")")
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	return evaluate[string](b, fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector))
}

// wait waits for a condition.
func (b *browser) wait(what, condition string) {
	b.t.Helper()
	within(b.t, time.Minute, what, func() error {
		if !b.is(condition) {
			return fmt.Errorf("the page says %.3000q", b.text("main"))
		}
		return nil
	})
}

func (b *browser) size(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

func (b *browser) open(path string) { b.t.Helper(); b.do(chromedp.Navigate(b.site + path)) }

// press presses a key. That the page is gone before the key is up again is no fault: it was a link.
func (b *browser) press(key string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.KeyEvent(key)); err != nil && !strings.Contains(err.Error(), "navigated or closed") {
		b.t.Fatal(err)
	}
}

// tabTo presses Tab until an element has the focus.
func (b *browser) tabTo(id string) {
	b.t.Helper()
	for range 200 {
		if b.is(fmt.Sprintf("document.activeElement?.id === %q", id)) {
			return
		}
		b.press(kb.Tab)
	}
	b.t.Fatalf("%s can't be reached by Tab at %s", id, b.text("h1"))
}

// enter activates what has this id, by keys alone.
func (b *browser) enter(id string) { b.t.Helper(); b.tabTo(id); b.press(kb.Enter) }

// accessible looks for what people who don't use a mouse or a screen can't use.
func (b *browser) accessible(what string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[json.RawMessage](b.axe+"; true"))
		return err
	}))
	type violation struct {
		ID, Help string
		Nodes    []struct {
			HTML           string
			FailureSummary string
		}
	}
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]violation]("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', "+
		"'wcag21aa', 'wcag22aa', 'best-practice']}).then(r => r.violations)", chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, v := range found {
		for _, n := range v.Nodes {
			b.t.Errorf("%s: %s (%s)\n%s\n%s", what, v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
	if b.is("document.documentElement.scrollWidth > document.documentElement.clientWidth") {
		b.t.Errorf("%s: the page is wider than the window", what)
	}
}

// shot takes a picture of the page, for people to look at, if SHOTS says where.
func (b *browser) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("SHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// everyLook looks at the present page in light and dark, and at the width of a phone.
func (b *browser) everyLook(page string) {
	b.t.Helper()
	for _, look := range []struct {
		name, scheme  string
		width, height int64
	}{{"light", "light", 1280, 900}, {"dark", "dark", 1280, 900}, {"phone", "light", 390, 844}, {"small", "dark", 360, 640}, {"4k", "light", 3840, 2160}} {
		b.size(look.width, look.height)
		b.scheme(look.scheme)
		b.accessible(page + ", " + look.name)
		b.shot(page + "-" + look.name)
	}
	b.size(1280, 900)
}

func (b *browser) scheme(scheme string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// logIn logs the browser in to a node by the link of nodeserver console.
func (b *browser) logIn(n *node) {
	b.t.Helper()
	out, err := exec.CommandContext(b.t.Context(), n.exe, "console", "--admin", n.admin).Output()
	if err != nil {
		b.t.Fatal(err)
	}
	link := strings.TrimSpace(string(out))
	b.site = "http://" + n.admin
	b.do(chromedp.Navigate(link))
	b.everyLook("login")
	b.enter("enter")
	b.wait("logged in", "document.getElementById('logout')")
	b.do(chromedp.Navigate(link)) // it was for once
	b.enter("enter")
	b.wait("the link is used up", "document.getElementById('problem')?.textContent.includes('once')")
	b.open("/")
}

// An operator sees the cluster in a browser, without a mouse.
func TestBrowser(t *testing.T) {
	c, demo := loopback(t), t.TempDir()
	for _, n := range c {
		n.args = append(n.args, "--set", "node.data_dir="+t.TempDir(), "--demo", demo)
		n.start()
	}
	c.await(t, startLimit)
	b := newBrowser(t)
	b.logIn(c[0])
	b.wait("all is well", "document.getElementById('verdict').textContent.includes('All is well')")
	for range 50 {
		if status, _, _, err := new(user).at(c[0], "/cart/"); err != nil || status != http.StatusOK {
			t.Fatal(status, err)
		}
	}
	b.wait("charts", "document.querySelectorAll('figure li b').length > 3")
	b.everyLook("overview")

	b.scheme("light")
	b.enter("theme-dark")
	b.wait("dark", "getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 26)'")
	b.enter("theme-auto")
	b.wait("light", "getComputedStyle(document.body).backgroundColor === 'rgb(246, 245, 241)'")

	b.sessions(c)
	b.webapps(shopBuilds(t, "", "red", "green"))
	b.open("/node")
	b.wait("the log", "document.getElementById('lines').textContent.includes('node started')")
	b.everyLook("node")

	b.open("/")
	b.enter("kill-n3")
	b.wait("the page tells by itself that a node is gone", "document.getElementById('verdict').textContent.includes('n3 is gone')")
	b.everyLook("overview-gone")
	b.open("/events")
	b.wait("the time line", "document.getElementById('events').textContent.includes('is gone')")
	b.everyLook("events")
	b.tabTo("q")
	b.do(chromedp.KeyEvent("suspect"))
	b.press(kb.Enter)
	b.wait("events are searched", "location.search.includes('suspect') && !document.getElementById('events').textContent.includes('has started')")
	b.enter("logout")
	b.wait("logged out", "location.pathname === '/login'")
}

// sessions looks for the sessions of a user, and ends one.
func (b *browser) sessions(c cluster) {
	b.t.Helper()
	for i := range 60 {
		name, n := fmt.Sprintf("guest%02d", i), c[i%3]
		if i == 7 {
			name = "anna"
		}
		answer, err := n.client.PostForm("http://"+n.http+"/cart/login", url.Values{"user": {name}})
		if err != nil {
			b.t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
			b.t.Fatal(answer.Status, err)
		}
	}
	b.open("/sessions")
	b.wait("sessions", "document.querySelectorAll('#rows input').length === 50")
	b.everyLook("sessions")
	b.enter("next")
	b.wait("the next page", "document.getElementById('first') && document.querySelectorAll('#rows input').length >= 10")
	b.tabTo("principal")
	b.do(chromedp.KeyEvent("anna"))
	b.press(kb.Enter)
	b.wait("the user's session alone", "document.querySelectorAll('#rows input').length === 1")
	id := evaluate[string](b, "document.querySelector('#rows input').value")
	b.enter("show-" + id)
	b.wait("it is the same at all nodes", "document.querySelectorAll('.mark.good').length === 3")
	b.enter("values")
	b.wait("values", "document.querySelector('td code')")
	b.everyLook("session")
	b.open("/sessions?principal=anna")
	b.tabTo("choose-" + id)
	b.press(" ")
	b.enter("expire")
	b.wait("ended", "document.querySelector('.notice')?.textContent.includes('have ended')")
	b.open("/sessions?principal=anna")
	b.wait("it is gone", "document.getElementById('rows').textContent.includes('No session')")
}

// webapps deploys two builds of an app by upload, and goes back to the first.
func (b *browser) webapps(builds []string) {
	b.t.Helper()
	for _, file := range builds {
		b.open("/webapps")
		b.tabTo("plugin")
		b.do(chromedp.SetUploadFiles("#plugin", []string{file}))
		b.enter("deploy-button")
		b.wait("deployed", "document.getElementById('outcome')?.textContent.includes('All nodes serve shop')")
	}
	b.shot("steps")
	b.enter("back")
	b.wait("webapps", "document.getElementById('rollback-shop')")
	b.everyLook("webapps")
	b.enter("rollback-shop")
	b.wait("rolled back", "document.getElementById('outcome')?.textContent.includes('All nodes serve shop')")
	b.accessible("the page of the steps")
}
