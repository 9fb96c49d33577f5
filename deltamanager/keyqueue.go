package deltamanager

// keyQueue is a FIFO of keys without doubles. What does not fit is left out:
// digests will show it.
type keyQueue struct {
	keys []Key
	in   map[Key]struct{}
}

const maxKeyQueue = 1 << 16

func (q *keyQueue) len() int { return len(q.keys) }

func (q *keyQueue) add(k Key) {
	if _, ok := q.in[k]; ok || len(q.keys) >= maxKeyQueue {
		return
	}
	if q.in == nil {
		q.in = make(map[Key]struct{})
	}
	q.in[k] = struct{}{}
	q.keys = append(q.keys, k)
}

func (q *keyQueue) take() Key {
	k := q.keys[0]
	q.keys = q.keys[1:]
	delete(q.in, k)
	if len(q.keys) == 0 {
		q.keys = nil
	}
	return k
}
