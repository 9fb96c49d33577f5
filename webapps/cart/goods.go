package cart

import (
	"fmt"

	"github.com/nodeserver/nodeserver/webapps"
)

// item is something to buy.
type item struct {
	SKU   string
	Name  string
	About string
	Price cents
}

// goods are what the shop sells, in the page's order.
var goods = []item{
	{"tea", "Green tea", "First harvest, 100 g", 650},
	{"cup", "Stoneware cup", "Holds 300 ml, and heat", 1400},
	{"book", "Blank book", "192 pages, sewn", 980},
	{"pen", "Fountain pen", "Steel nib, refillable", 2400},
	{"lamp", "Reading lamp", "Warm light, long arm", 4850},
	{"bag", "Canvas bag", "Carries all of the above", 1950},
}

// maxQuantity of one item in a cart.
const maxQuantity = 99

func find(sku string) (item, bool) {
	for _, i := range goods {
		if i.SKU == sku {
			return i, true
		}
	}
	return item{}, false
}

// attribute is where the session keeps an item's quantity.
func attribute(sku string) string { return "cart/" + sku }

// cents is an amount of money.
type cents int

func (c cents) String() string { return fmt.Sprintf("%d.%02d", c/100, c%100) }

// line is an item in a cart.
type line struct {
	item
	Quantity int
}

// Sum is the line's price.
func (l line) Sum() cents { return l.Price * cents(l.Quantity) }

// Full tells that no more of the item may be added.
func (l line) Full() bool { return l.Quantity >= maxQuantity }

// contents are a cart as it is now.
type contents struct {
	Lines []line
	Items int
	Total cents
}

// read gets the cart from a session. It asks for what the shop sells, so an
// item that is no longer sold is no longer in the cart.
func read(s *webapps.Session) (contents, error) {
	var c contents
	for _, i := range goods {
		n, _, err := webapps.Get[int](s, attribute(i.SKU))
		if err != nil {
			return c, err
		}
		if n > 0 {
			l := line{i, n}
			c.Lines = append(c.Lines, l)
			c.Items += n
			c.Total += l.Sum()
		}
	}
	return c, nil
}
