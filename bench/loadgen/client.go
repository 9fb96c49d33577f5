package loadgen

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// cookie is one cookie, and jar all of a session.
type cookie struct{ name, value string }

type jar []cookie

func (j *jar) set(name, value string) {
	for i := range *j {
		if (*j)[i].name == name {
			(*j)[i].value = value
			return
		}
	}
	*j = append(*j, cookie{name, value})
}

func (j *jar) remove(name string) {
	for i := range *j {
		if (*j)[i].name == name {
			*j = append((*j)[:i], (*j)[i+1:]...)
			return
		}
	}
}

// absorb stores what one Set-Cookie line says; every name is accepted.
func (j *jar) absorb(line string) {
	first, rest, _ := strings.Cut(line, ";")
	name, value, ok := strings.Cut(strings.TrimSpace(first), "=")
	if !ok {
		return
	}
	rest = strings.ToLower(rest)
	if value == "" || strings.Contains(rest, "max-age=0") || strings.Contains(rest, "max-age=-") {
		j.remove(name)
		return
	}
	j.set(name, value)
}

// bare is the jar without what tells a node that others know more: with it, a
// node of nodeserver would ask them instead of showing its own copy.
func (j jar) bare() (plain jar) {
	for _, c := range j {
		if !strings.HasPrefix(c.name, "NSV-") {
			plain = append(plain, c)
		}
	}
	return plain
}

// link is one kept-alive connection.
type link struct {
	conn net.Conn
	in   *bufio.Reader
}

func (l *link) line() ([]byte, error) {
	b, err := l.in.ReadSlice('\n')
	return bytes.TrimRight(b, "\r\n"), err
}

// client is a deliberately small HTTP/1.1 client with a connection to each node.
// One goroutine owns it.
type client struct {
	hosts   []string
	links   []*link
	out     []byte
	in      []byte // the body last read
	timeout time.Duration
}

func newClient(t Target) *client {
	return &client{hosts: t.Nodes, links: make([]*link, len(t.Nodes)), timeout: t.Timeout}
}

func (c *client) close() {
	for node := range c.links {
		c.drop(node)
	}
}

func (c *client) drop(node int) {
	if l := c.links[node]; l != nil {
		_ = l.conn.Close()
		c.links[node] = nil
	}
}

// get sends one GET and reads the answer. The body is valid until the next call.
// An answer other than 200 is an error. Cookies go into j unless frozen.
func (c *client) get(node int, path string, j *jar, frozen bool) ([]byte, error) {
	l, err := c.dial(node)
	if err != nil {
		return nil, err
	}
	c.request(node, path, j)
	if err = l.conn.SetDeadline(time.Now().Add(c.timeout)); err == nil {
		_, err = l.conn.Write(c.out)
	}
	if err != nil {
		c.drop(node)
		return nil, err
	}
	if frozen {
		j = nil
	}
	h, err := c.answer(l, j)
	if err != nil || !h.keep {
		c.drop(node)
	}
	if err == nil && h.status != 200 {
		err = fmt.Errorf("status %d: %.80q", h.status, c.in)
	}
	return c.in, err
}

func (c *client) dial(node int) (*link, error) {
	if l := c.links[node]; l != nil {
		return l, nil
	}
	conn, err := net.DialTimeout("tcp", c.hosts[node], c.timeout)
	if err != nil {
		return nil, err
	}
	c.links[node] = &link{conn, bufio.NewReaderSize(conn, 8192)}
	return c.links[node], nil
}

// request puts the request into c.out.
func (c *client) request(node int, path string, j *jar) {
	b := append(c.out[:0], "GET "...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.hosts[node]...)
	if j != nil {
		for i, k := range *j {
			if i == 0 {
				b = append(b, "\r\nCookie: "...)
			} else {
				b = append(b, "; "...)
			}
			b = append(append(append(b, k.name...), '='), k.value...)
		}
	}
	c.out = append(b, "\r\n\r\n"...)
}

// head is what matters of an answer's head.
type head struct {
	status  int
	keep    bool
	length  int // -1: not said
	chunked bool
}

// answer reads an answer, its body into c.in.
func (c *client) answer(l *link, j *jar) (head, error) {
	c.in = c.in[:0]
	h, err := readHead(l, j)
	switch {
	case err != nil:
	case h.chunked:
		err = c.chunks(l)
	case h.length >= 0:
		err = c.take(l, h.length)
	default:
		h.keep = false
		c.in, err = io.ReadAll(l.in)
	}
	return h, err
}

func readHead(l *link, j *jar) (head, error) {
	h := head{length: -1}
	line, err := l.line()
	if err != nil {
		return h, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return h, fmt.Errorf("status line %q", line)
	}
	h.keep = line[7] == '1'
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return h, fmt.Errorf("status line %q", line)
	}
	for {
		if line, err = l.line(); err != nil || len(line) == 0 {
			return h, err
		}
		h.field(line, j)
	}
}

// field takes note of one header line.
func (h *head) field(line []byte, j *jar) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimSpace(value)
	is := func(s string) bool { return len(name) == len(s) && bytes.EqualFold(name, []byte(s)) }
	switch {
	case is("Content-Length"):
		if n, err := strconv.Atoi(string(value)); err == nil {
			h.length = n
		}
	case is("Set-Cookie"):
		if j != nil {
			j.absorb(string(value))
		}
	case is("Connection"):
		h.keep = h.keep && !bytes.EqualFold(value, []byte("close"))
	case is("Transfer-Encoding"):
		h.chunked = bytes.EqualFold(value, []byte("chunked"))
	}
}

func (c *client) chunks(l *link) error {
	for {
		line, err := l.line()
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(line), 16, 32)
		if err != nil {
			return fmt.Errorf("size of a chunk: %w", err)
		}
		if err := c.take(l, int(size)+2); err != nil {
			return err
		}
		c.in = c.in[:len(c.in)-2]
		if size == 0 {
			return nil
		}
	}
}

// take appends n bytes of the answer to c.in.
func (c *client) take(l *link, n int) error {
	at := len(c.in)
	for cap(c.in) < at+n {
		c.in = append(c.in[:cap(c.in)], 0)
	}
	c.in = c.in[:at+n]
	_, err := io.ReadFull(l.in, c.in[at:])
	return err
}
