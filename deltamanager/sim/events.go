package sim

import "time"

// event is something that happens at an instant of virtual time. Events of one
// instant happen in the order in which they were planned.
type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// events is a heap with four branches, the next event first. Package
// container/heap would allocate for every event, of which a history has 50,000.
type events []event

const branches = 4

func (q *events) push(e event) {
	h := append(*q, e)
	*q = h
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / branches
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

// pop takes the next event out. There must be one.
func (q *events) pop() event {
	h := *q
	top, e := h[0], h[len(h)-1]
	h[len(h)-1] = event{} // lets go of what do holds
	h = h[:len(h)-1]
	*q = h
	for i := 0; i < len(h); {
		least := h.leastBelow(i)
		if least == 0 || !h[least].before(&e) {
			h[i] = e
			break
		}
		h[i] = h[least]
		i = least
	}
	return top
}

// leastBelow is the first of the events right below i, 0 if there is none.
func (q events) leastBelow(i int) int {
	least := 0
	for j := branches*i + 1; j < min(branches*i+1+branches, len(q)); j++ {
		if least == 0 || q[j].before(&q[least]) {
			least = j
		}
	}
	return least
}
