package session

import (
	"fmt"
	"sync"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/codec"
)

// Listeners are those of one revision of an app, as it asked for them. They hear of the app's
// sessions from App.Hear on. Safe for concurrent use.
type Listeners struct {
	app  *App
	mu   sync.RWMutex
	list []webapps.Listener
}

// NewListeners makes an empty list for the app.
func (a *App) NewListeners() *Listeners { return &Listeners{app: a} }

// Listen adds a listener.
func (l *Listeners) Listen(one webapps.Listener) {
	l.mu.Lock()
	l.list = append(l.list, one)
	l.mu.Unlock()
	l.app.observe()
}

func (l *Listeners) all() []webapps.Listener {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.list
}

// Hear makes these listeners, and no others, hear of the app's sessions from now on.
func (a *App) Hear(l *Listeners) {
	a.listeners.Store(l)
	a.observe()
}

// observe has the manager report only while somebody listens, since reports cost.
func (a *App) observe() {
	a.observing.Lock()
	defer a.observing.Unlock()
	a.manager.SetObserving(len(a.listeners.Load().all()) > 0)
}

// observed tells the app's listeners what its delta manager reports. A listener
// that panics is logged: it must not take the request, or the node, with it.
func (a *App) observed(e deltamanager.Event) {
	for _, l := range a.listeners.Load().all() {
		if !e.Remote || l.Everywhere {
			a.tell(l, e)
		}
	}
}

func (a *App) tell(l webapps.Listener, e deltamanager.Event) {
	defer func() {
		if p := recover(); p != nil {
			a.panics.Add(1)
			a.log.Error("listener panicked", "sid", e.Key.String(), "err", fmt.Sprint(p))
		}
	}()
	event := webapps.NewEvent(a.name, e.Key.String(), e.Remote, codec.Values{}, e.Value)
	switch e.Kind {
	case deltamanager.Created:
		call(l.Created, event)
	case deltamanager.IDChanged:
		call(l.IDChanged, event)
	case deltamanager.AttributeChanged:
		if l.AttributeChanged != nil {
			l.AttributeChanged(event, e.Name)
		}
	case deltamanager.Invalidated, deltamanager.Expired:
		why := webapps.Invalidated
		if e.Kind == deltamanager.Expired {
			why = webapps.Expired
		}
		if l.Destroyed != nil {
			l.Destroyed(event, why)
		}
	}
}

func call(f func(webapps.Event), e webapps.Event) {
	if f != nil {
		f(e)
	}
}
