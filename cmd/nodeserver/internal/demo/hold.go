package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/nodeserver/nodeserver/server/console"
	"github.com/nodeserver/nodeserver/server/operators"
)

// reviveAfter is how long a node that was killed in the console stays away.
const reviveAfter = 8 * time.Second

// hold lets visitors come until ctx ends, and starts nodes again that somebody has killed.
func (s *show) hold(ctx context.Context) error {
	for _, n := range s.cluster.nodes {
		link, err := s.cluster.consoleOf(ctx, n)
		if err != nil {
			return fmt.Errorf("console of %s: %w", n.name, err)
		}
		s.line.say(n.name, "console, for one browser: %s", link)
	}
	s.line.say("demo", "kill nodes in the console, and see what follows; Ctrl-C ends all")
	gone := map[*member]time.Time{}
	for sleep(ctx, time.Second/5) {
		for _, n := range s.cluster.nodes {
			at, known := gone[n]
			switch {
			case !n.process.Ended():
			case !known:
				gone[n] = time.Now()
				s.line.say(n.name, "was killed")
			case time.Since(at) > reviveAfter:
				delete(gone, n)
				if err := s.cluster.startNode(n); err != nil {
					return err
				}
				s.line.say(n.name, "started again, with nothing in memory; a new link: nodeserver console --admin %s", n.admin)
			}
		}
	}
	return nil
}

// consoleOf gets a link that logs a browser in to the console of a node.
func (c *cluster) consoleOf(ctx context.Context, n *member) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.admin+"/api/v1/console", http.NoBody)
	if err != nil {
		return "", err
	}
	if token, ok := operators.Find(n.admin); ok {
		r.Header.Set("Authorization", "Bearer "+token.Text())
	}
	answer, err := c.admin.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the node answers %s", answer.Status)
	}
	var reply console.LinkReply
	err = json.NewDecoder(answer.Body).Decode(&reply)
	return "http://" + n.admin + reply.Path, err
}
