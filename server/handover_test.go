package server

import (
	"testing"
	"time"
)

// W10, during a split: the node that stops is the only one that has what another has
// written, and that dies right after. The node that stays has all that was answered.
func TestW10StopHandsOverWhatOthersWrote(t *testing.T) {
	for _, d := range []time.Duration{500 * time.Millisecond, 10 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				nodes := b.cluster(3, values(), acksOf("all"))
				old, born := b.users(20), b.users(20)
				each(len(old), 8, func(i int) { old[i].want(nodes[0].node, set("a", "1"), "") })
				b.whole(time.Second, nodes...)
				b.apart(nodes[0], nodes[2])
				pass(d)
				each(len(old), 8, func(i int) {
					old[i].want(nodes[0].node, set("a", "2"), "")
					born[i].want(nodes[0].node, set("b", "1"), "")
				})
				begin := time.Now()
				nodes[1].stop()
				t.Logf("stopped within %v", time.Since(begin))
				b.crash(nodes[0])
				everywhere(old, nodes[2:], "/test/all", "a=2 ")
				everywhere(born, nodes[2:], "/test/all", "b=1 ")
			})
		})
	}
}
