// Package cart is a small shop: a page to put things into a cart, to take them
// out, to log in and out. The cart is in the user's session, so the node that
// serves them may be killed at any time, and the next one goes on.
//
// It is the sample to copy from when an app has forms and users; webapps/counter
// is the smaller one. No money and no password is asked for: any name logs in.
//
// # What the session holds
//
// One attribute per item: "cart/SKU" is its quantity. So two tabs that change
// different items at once, on whatever nodes, keep both changes; had the cart
// been one attribute, one of the tabs would have lost. Of two changes of the
// same item on two nodes one wins, everywhere the same. On one node Update lets
// them add up. Who logged in is Session.Principal; logging in changes the
// session id and keeps the cart, logging out ends the session. Just looking
// makes no session.
//
// # Requests
//
//	GET  /                              the page
//	POST /add      sku=SKU [n=N]        N more of it, 1 unless given; less if N < 0
//	POST /remove   sku=SKU              none of it
//	PUT  /items/SKU?quantity=N          exactly N of it
//	POST /login    user=NAME            1 to 32 of A-Z a-z 0-9 . _ -, a letter or digit first
//	POST /logout
//
// Browsers use POST and are sent back to the page. PUT is for programs: it can
// be repeated without harm, so a balancer may send it to another node when
// the first has died over it. Wrong input answers 400, an unknown SKU 404,
// both with a reason in a line, and changes nothing.
//
// # Answers for programs
//
// With ?format=text, a form field format=text or an Accept that begins with
// text/plain, every request above answers one line, which is stable:
//
//	ITEMS TOTAL USER NODE
//
// ITEMS is the sum of all quantities, TOTAL their price with two decimals, USER
// who is logged in or "-", NODE the name of the node; as in "3 27.00 ann n1".
// After a logout it is "0 0.00 - NODE".
//
// # Other sites' forms
//
// SameSite=Lax keeps the session cookie out of other sites' POST requests, but
// a sister site (another host of the same domain) counts as the same one. So
// http.CrossOriginProtection also refuses, with 403, whatever a browser says
// comes from another origin. No token is needed in the forms.
package cart
