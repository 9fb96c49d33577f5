package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// shop is the source of an app that tells its revision and counts its user's visits.
func shop(revision, inNew string) string {
	return strings.NewReplacer("REVISION", revision, "IN_NEW", inNew).Replace(`
type handler struct{ c webapps.Context }

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := 0
	if err := webapps.SessionOf(r).Update("n", &n, func() error { n++; return nil }); err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	if r.URL.Path == "/wait" {
		<-h.c.Done()
	}
	w.Write([]byte("REVISION "))
	w.Write([]byte{byte('0' + n/100), byte('0' + n/10%10), byte('0' + n%10)})
}

func (h handler) Health(context.Context) error { return nil }

func (h handler) Close(context.Context) error {
	h.c.Logger().Info("cleaned up", "mine", "REVISION")
	return nil
}

func Webapp() webapps.App {
	return webapps.App{Name: "shop", Version: "REVISION", New: func(c webapps.Context) (http.Handler, error) {
		IN_NEW
		return handler{c}, nil
	}}
}
`)
}

// put puts a plugin into its place as nodeserver build does: renamed, whole.
func put(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(filepath.Dir(to), ".fresh")
	if err := os.WriteFile(fresh, b, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, to); err != nil {
		t.Fatal(err)
	}
}

// count is how often the node's log has the text.
func (l *logBuffer) count(text string) int { return strings.Count(l.String(), text) }

// While users come, an app is redeployed again and again through the watched folder: no request
// fails, no session is lost, and once the node says so no answer is from a revision before.
func TestRedeploy(t *testing.T) {
	t.Parallel()
	var builds []string
	colours := []string{"red", "green", "blue"}
	for _, revision := range colours {
		builds = append(builds, filepath.Join(plugin(t, "shop", shop(revision, "")), "shop.so"))
	}
	broken := filepath.Join(plugin(t, "shop", shop("broken", `if true { return nil, os.ErrDeadlineExceeded }`)), "shop.so")
	dir := t.TempDir()
	file := filepath.Join(dir, "shop.so")
	put(t, builds[0], file)
	n := lone(t, "webapps.dir="+dir, "webapps.drain=2s")
	n.start()
	within(t, startLimit, "ready", func() error { return n.sees(n) })

	var now atomic.Int64 // how often it was redeployed
	stop := make(chan struct{})
	var users sync.WaitGroup
	var requests atomic.Int64
	for range 8 {
		users.Go(func() {
			u, last := new(user), 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := now.Load()
				r, _ := http.NewRequest(http.MethodGet, "http://"+n.http+"/shop/", nil)
				u.send(r)
				w, err := n.client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(w.Body)
				_ = w.Body.Close()
				u.keep(w.Cookies())
				var revision string
				var visits int
				if _, e := fmt.Sscanf(string(body), "%s %d", &revision, &visits); err != nil || e != nil || w.StatusCode != http.StatusOK {
					t.Errorf("%s %q %v %v", w.Status, body, err, e)
					return
				}
				requests.Add(1)
				if visits != (last+1)%1000 {
					t.Errorf("visit %d after %d", visits, last)
				}
				last = visits
				if revision == colours[(before+2)%3] { // the next one may have come meanwhile
					t.Errorf("%q after redeployment %d is of the revision before", body, before)
				}
				if visits == 999 {
					u, last = new(user), 0
				}
			}
		})
	}
	swap := func(what string, put func(build string)) {
		i := int(now.Load()) + 1
		put(builds[i%3])
		within(t, 10*time.Second, what, func() error {
			if n.log.count(`msg="app redeployed"`) < i {
				return errEarly
			}
			return nil
		})
		now.Add(1)
	}
	for range 50 {
		swap("redeployed", func(build string) { put(t, build, file) })
	}
	swap("copied slowly in place", func(build string) {
		b, err := os.ReadFile(build)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 {
			k := min(len(b), 2<<20)
			if _, err := out.Write(b[:k]); err != nil {
				t.Fatal(err)
			}
			b = b[k:]
			until(time.Now().Add(300 * time.Millisecond)) // others must not read it meanwhile
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	})
	swap("link swapped", func(build string) {
		fresh := filepath.Join(dir, ".link")
		if err := os.Symlink(build, fresh); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(fresh, file); err != nil {
			t.Fatal(err)
		}
	})
	put(t, broken, file)
	within(t, 10*time.Second, "the broken one is refused", func() error {
		if n.log.count("app not redeployed; the revision before goes on serving") != 1 {
			return errEarly
		}
		return nil
	})
	said, err := exec.Command(n.exe, "apps", "list", "--admin", n.admin).Output()
	if text := string(said); err != nil || !regexp.MustCompile(`shop +n\d +/shop/ +serving`).MatchString(text) ||
		!strings.Contains(text, "shop was not redeployed at ") || !strings.Contains(text, "start app shop: i/o timeout") {
		t.Errorf("apps list: %v\n%s", err, said)
	}
	swap("after a broken one", func(build string) { put(t, build, file) })
	close(stop)
	users.Wait()
	within(t, 10*time.Second, "all but one have cleaned up", func() error {
		if got := n.log.count(`msg="cleaned up"`); got != int(now.Load()) {
			return fmt.Errorf("%d of %d %w", got, now.Load(), errEarly)
		}
		return nil
	})
	n.signal(syscall.SIGTERM)
	if code := n.exit(10 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := n.log.count(`msg="cleaned up"`); got != int(now.Load())+1 {
		t.Errorf("%d clean-ups of %d revisions", got, now.Load()+1)
	}
	if got := n.log.count("level=ERROR"); got != 1 {
		t.Errorf("%d complaints, want one, of the broken revision", got)
	}
	t.Logf("%d redeployments, %d requests", now.Load(), requests.Load())
}
