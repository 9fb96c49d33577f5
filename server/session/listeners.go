package session

import (
	"fmt"
	"sync"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/webapps"
)

// listeners are an app's, as it asked for them.
type listeners struct {
	mu   sync.RWMutex
	list []webapps.Listener
}

// Listen makes the listener hear of the app's sessions from now on. Safe for concurrent use.
func (a *App) Listen(l webapps.Listener) {
	a.listeners.mu.Lock()
	defer a.listeners.mu.Unlock()
	a.listeners.list = append(a.listeners.list, l)
	a.manager.SetObserving(true)
}

// observed tells the app's listeners what its delta manager reports. A listener
// that panics is logged: it must not take the request, or the node, with it.
func (a *App) observed(e deltamanager.Event) {
	a.listeners.mu.RLock()
	list := a.listeners.list
	a.listeners.mu.RUnlock()
	for _, l := range list {
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
	event := webapps.Event{ID: e.Key.String(), Remote: e.Remote, Get: func(name string, into any) (bool, error) {
		return getValue(a.name, name, e.Value(name), into)
	}}
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
