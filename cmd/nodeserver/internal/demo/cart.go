package demo

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
)

// prices are the shop's, in cents (webapps/cart; a test compares). The demo is
// a stranger to the app: it knows what its users do.
var prices = map[string]int{"tea": 650, "cup": 1400, "book": 980, "pen": 2400, "lamp": 4850, "bag": 1950}

// cart is what a visitor expects to find: how many of each, and who they are.
type cart struct {
	items map[string]int
	user  string // "": not logged in
}

// line is the cart as the app tells it, without the node.
func (c cart) line() string {
	user := c.user
	if user == "" {
		user = "-"
	}
	total := 0
	for sku, n := range c.items {
		total += n * prices[sku]
	}
	return fmt.Sprintf("%d %d.%02d %s", c.count(), total/100, total%100, user)
}

func (c cart) count() (n int) {
	for _, i := range c.items {
		n += i
	}
	return n
}

// action is something a visitor does. After it, the cart is as then says.
type action struct {
	name   string
	method string
	path   string // within the app
	then   func(cart) cart
}

// careless tells that a balancer doesn't do it twice: if the node dies
// meanwhile, the page says so, and the visitor has to look.
func (a action) careless() bool { return a.method == http.MethodPost }

var look = action{"look", http.MethodGet, "", func(c cart) cart { return c }}

func addOne(sku string) action {
	return action{"add", http.MethodPost, "add?sku=" + sku, func(c cart) cart { return c.with(sku, c.items[sku]+1) }}
}

func putItems(sku string, n int) action {
	return action{"put", http.MethodPut, fmt.Sprintf("items/%s?quantity=%d", sku, n), func(c cart) cart { return c.with(sku, n) }}
}

func removeAll(sku string) action {
	return action{"remove", http.MethodPost, "remove?sku=" + sku, func(c cart) cart { return c.with(sku, 0) }}
}

func login(user string) action {
	return action{"login", http.MethodPost, "login?user=" + user, func(c cart) cart { return cart{c.items, user} }}
}

var logout = action{"logout", http.MethodPost, "logout", func(cart) cart { return cart{} }}

// with is the cart with that many of an item.
func (c cart) with(sku string, n int) cart {
	items := maps.Clone(c.items)
	if items == nil {
		items = map[string]int{}
	}
	if items[sku] = n; n == 0 {
		delete(items, sku)
	}
	return cart{items, c.user}
}

const mostOfOne = 9

// choose is what a visitor with this cart does next: they fill it, look, take
// something out, log in; then they log out, now and then, and begin anew.
func (c cart) choose(number int, r *rand.Rand) action {
	skus := slices.Sorted(maps.Keys(prices))
	sku := skus[r.IntN(len(skus))]
	d := r.IntN(100)
	switch {
	case d < 20:
		return look
	case d < 28 && c.count() > 0:
		in := slices.Sorted(maps.Keys(c.items))
		return removeAll(in[r.IntN(len(in))])
	case d < 33 && c.user == "" && c.count() > 0:
		return login(fmt.Sprintf("visitor%d", number))
	case d < 35 && c.user != "":
		return logout
	case c.items[sku] >= mostOfOne:
		return putItems(sku, 1)
	case d < 60:
		return addOne(sku)
	}
	return putItems(sku, c.items[sku]+1)
}

// finding is what an answer shows.
type finding int

const (
	good finding = iota
	lostWrite
	lostSession
	wrong
)

// judge compares the app's line with what may be: the cart as it was before,
// and one or more that it may be now; it returns which of these it is. It is pure.
func judge(before cart, a action, may []cart, line string) (finding, cart) {
	for _, c := range may {
		if c.line() == line {
			return good, c
		}
	}
	empty := cart{}.line()
	var items int
	var total, user string
	_, err := fmt.Sscan(line, &items, &total, &user)
	switch {
	case err != nil:
		return wrong, cart{}
	case before.line() != empty && (line == empty || line == a.then(cart{}).line()):
		return lostSession, cart{}
	case line == before.line(), items < may[0].count():
		return lostWrite, cart{}
	}
	return wrong, cart{}
}
