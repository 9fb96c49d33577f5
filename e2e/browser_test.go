//go:build browser

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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

// is evaluates a condition.
func (b *browser) is(condition string) bool {
	b.t.Helper()
	yes, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+condition+")"))
	if err != nil {
		b.t.Fatalf("%s: %v", condition, err)
	}
	return yes
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector)))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// wait waits for a condition.
func (b *browser) wait(what, condition string) {
	b.t.Helper()
	within(b.t, time.Minute, what, func() error {
		yes, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+condition+")"))
		if err == nil && !yes {
			err = fmt.Errorf("the page says %.3000q", b.text("main"))
		}
		return err
	})
}

func (b *browser) size(width, height int64) { b.t.Helper(); b.do(chromedp.EmulateViewport(width, height)) }

func (b *browser) open(path string) { b.t.Helper(); b.do(chromedp.Navigate(b.site + path)) }

func (b *browser) press(key string) { b.t.Helper(); b.do(chromedp.KeyEvent(key)) }

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
	c := loopback(t)
	for _, n := range c {
		n.args = append(n.args, "--set", "node.data_dir="+t.TempDir())
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

	c[2].kill()
	b.wait("the page tells by itself that a node is gone", "document.getElementById('verdict').textContent.includes('n3 is gone')")
	b.everyLook("overview-gone")
}
