package console

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/operators"
)

// list is what the page of sessions shows.
type list struct {
	admin.SessionsReply
	Apps           []string
	App, Principal string // what was searched
	ID, Order      string
	Problem        string
	Next, First    string // addresses of pages; empty: there is none
}

// perPage is how many sessions a page has.
const perPage = "50"

func (c *Console) sessions(w http.ResponseWriter, r *http.Request) {
	data := list{App: r.FormValue("app"), Principal: r.FormValue("principal"), ID: r.FormValue("id"), Order: r.FormValue("order")}
	reply, err := c.node.Sessions(func(name string) string {
		if name == "limit" {
			return perPage
		}
		return r.FormValue(name)
	})
	if err != nil {
		data.Problem = err.Error()
	}
	data.SessionsReply = reply
	for name := range c.node.Sample().Sessions {
		data.Apps = append(data.Apps, name)
	}
	slices.Sort(data.Apps)
	page := func(after string) string {
		q := url.Values{}
		for name, value := range map[string]string{
			"app": data.App, "principal": data.Principal, "id": data.ID, "order": data.Order, "after": after,
		} {
			if value != "" {
				q.Set(name, value)
			}
		}
		return "/sessions?" + q.Encode()
	}
	if reply.Cursor != "" {
		data.Next = page(reply.Cursor)
	}
	if r.FormValue("after") != "" {
		data.First = page("")
	}
	c.show(w, r, http.StatusOK, "sessions.html", "Sessions", data)
}

// one is what the page of a session shows.
type one struct {
	admin.SessionReply
	Where  admin.WhereReply
	Values bool // are shown
}

func (c *Console) session(w http.ResponseWriter, r *http.Request) { c.showSession(w, r, false) }

// values shows a session with its values: a change to the guard, since it is for operators, and
// in the audit log.
func (c *Console) values(w http.ResponseWriter, r *http.Request) { c.showSession(w, r, true) }

func (c *Console) showSession(w http.ResponseWriter, r *http.Request, values bool) {
	id := r.PathValue("id")
	reply, err := c.node.Session(id, values)
	if err != nil {
		c.show(w, r, http.StatusNotFound, "error.html", "No such session", err.Error())
		return
	}
	data := one{SessionReply: reply, Values: values}
	if data.Where, err = c.node.Where(r.Context(), id); err != nil {
		c.show(w, r, http.StatusBadRequest, "error.html", "No such session", err.Error())
		return
	}
	c.show(w, r, http.StatusOK, "session.html", "Session "+reply.Session.ID[:min(8, len(reply.Session.ID))], data)
}

// expire ends the sessions that the form names.
func (c *Console) expire(w http.ResponseWriter, r *http.Request) {
	operators.ActOf(r.Context()).Note("by", "console")
	_ = r.PostFormValue("id") // reads the form, if the guard has not
	ids := r.PostForm["id"]
	for _, id := range ids {
		if _, err := c.node.Expire(r.Context(), admin.ExpireRequest{ID: id}); err != nil {
			c.wrong(w, r, http.StatusConflict, err.Error())
			return
		}
	}
	what := "expire"
	if len(ids) == 0 {
		what = "none"
	}
	done(w, r, "/sessions", what)
}
